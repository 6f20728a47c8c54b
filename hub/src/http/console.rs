//! A small page to try queries on, served only where asked for. Everything is in it: no outside assets.

use axum::response::Html;

/// The page.
pub async fn page() -> Html<&'static str> {
    Html(include_str!("console.html"))
}

//! `GraphiQL`, served by the hub itself from a folder where npm has put it: nothing is fetched from elsewhere.

use std::path::Path;

use anyhow::Context;
use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;

/// Where a file lies in the folder, under which name it is served, and what it is.
const FILES: [(&str, &str, &str); 4] = [
    ("react/umd/react.production.min.js", "/graphiql/react.js", "text/javascript; charset=utf-8"),
    ("react-dom/umd/react-dom.production.min.js", "/graphiql/react-dom.js", "text/javascript; charset=utf-8"),
    ("graphiql/graphiql.min.js", "/graphiql/graphiql.js", "text/javascript; charset=utf-8"),
    ("graphiql/graphiql.min.css", "/graphiql/graphiql.css", "text/css; charset=utf-8"),
];

/// What npm is to install, and how the folder is made.
const INSTALL: &str = "npm install --prefix graphiql graphiql@3 react@18 react-dom@18";

/// The page and its files, read into memory.
#[derive(Debug, Clone)]
pub struct Graphiql(Vec<(&'static str, &'static str, bytes::Bytes)>);

impl Graphiql {
    /// Reads `node_modules`, or a folder that has one.
    ///
    /// # Errors
    /// When a file is missing; says how to get it.
    pub fn load(folder: &Path) -> anyhow::Result<Self> {
        let inner = folder.join("node_modules");
        let folder = if inner.is_dir() { inner } else { folder.to_path_buf() };
        let read = |(file, route, kind): (&str, &'static str, &'static str)| {
            let path = folder.join(file);
            let content = std::fs::read(&path)
                .with_context(|| format!("{} cannot be read; make it with: {INSTALL}", path.display()))?;
            Ok((route, kind, bytes::Bytes::from(content)))
        };
        Ok(Self(FILES.into_iter().map(read).collect::<anyhow::Result<_>>()?))
    }

    /// The page at `/graphiql` and its files.
    pub fn routes<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let mut router = Router::new().route("/graphiql", get(async || Html(include_str!("graphiql.html"))));
        for (route, kind, content) in self.0 {
            router = router.route(route, get(async move || ([(header::CONTENT_TYPE, kind)], content)));
        }
        router
    }
}

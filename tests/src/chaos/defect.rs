//! Defects that are put into a real gateway on purpose, by a library that is loaded before it: negative controls.

use std::path::{Path, PathBuf};

use super::process::tool;

/// What the library does.
const SOURCE: &str = include_str!("defect.c");
/// The library that makes every sync do nothing.
const EATMYDATA: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/libeatmydata.so", "/usr/lib/aarch64-linux-gnu/libeatmydata.so"];

/// The environment in which a gateway has a defect: `eatmydata`, or one that `defect.c` names.
///
/// # Errors
/// When it cannot be had here, and why.
pub async fn environment(control: &str, folder: &Path) -> Result<Vec<(String, String)>, String> {
    let preload = |library: PathBuf| ("LD_PRELOAD".to_owned(), library.display().to_string());
    if control == "eatmydata" {
        let found = EATMYDATA.iter().find(|path| Path::new(path).exists());
        let library = found.ok_or("libeatmydata is missing: apt-get install eatmydata")?;
        return Ok(vec![preload(PathBuf::from(library))]);
    }
    let (source, library) = (folder.join("defect.c"), folder.join("defect.so"));
    std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
    let (from, to) = (source.display().to_string(), library.display().to_string());
    tool("cc", &["-shared", "-fPIC", "-O1", "-o", &to, &from, "-ldl", "-lpthread"]).await?;
    Ok(vec![preload(library), ("ROLLCALL_DEFECT".to_owned(), control.to_owned())])
}

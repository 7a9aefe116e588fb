//! The chapters of the book that come from code: routes, options, metrics, the command line, and the numbers that were
//! measured. `cargo xtask docs` writes them; a test fails when what lies there is not what comes from the code.

mod command;
mod metrics;
mod numbers;
mod options;
mod routes;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

pub use metrics::{Series, served};
pub use options::programs;

/// First line of every chapter that is written here.
pub const MARK: &str = "<!-- Made by `cargo xtask docs`: change the code it comes from, not this file. -->\n\n";

/// A file as it should be.
#[derive(Debug)]
pub struct File {
    /// Path in the repository.
    pub path: PathBuf,
    /// All of its text.
    pub text: String,
}

/// Folder of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(Path::to_owned).unwrap_or_default()
}

/// Every file that comes from code, as it should be.
///
/// # Errors
/// When a file that is only partly made here cannot be read or has lost its marks, or when the measured numbers cannot be read.
pub fn files() -> Result<Vec<File>> {
    let root = root();
    let numbers = numbers::Numbers::read(&root.join(numbers::FILE))?;
    let mut files: Vec<File> = routes::units()
        .into_iter()
        .map(|unit| chapter(&format!("routes-{}", unit.name), routes::chapter(&unit)))
        .collect();
    files.push(chapter("options", options::chapter()));
    files.push(chapter("metrics", metrics::chapter()?));
    files.push(chapter("command", command::chapter()));
    let path = PathBuf::from("docs/src/numbers.md");
    files.push(File { path, text: format!("{MARK}# Numbers\n\n{}", numbers.text()) });
    let readme = fs::read_to_string(root.join("README.md")).context("README.md cannot be read")?;
    files.push(File { path: "README.md".into(), text: numbers::replaced(&readme, &numbers)? });
    Ok(files)
}

fn chapter(name: &str, text: String) -> File {
    File { path: format!("docs/src/reference/{name}.md").into(), text: format!("{MARK}{text}") }
}

/// Those of [`files`] that are not as they should be.
///
/// # Errors
/// As [`files`].
pub fn stale() -> Result<Vec<File>> {
    let mut files = files()?;
    files.retain(|file| fs::read_to_string(root().join(&file.path)).ok().as_deref() != Some(file.text.as_str()));
    Ok(files)
}

/// Writes what is not as it should be and says what that was; only says it when `check` is set, and fails.
///
/// # Errors
/// As [`files`]; when a file cannot be written; when `check` is set and a file is not as it should be.
pub fn run(check: bool) -> Result<Vec<PathBuf>> {
    let stale = stale()?;
    let paths: Vec<PathBuf> = stale.iter().map(|file| file.path.clone()).collect();
    if check {
        let list: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        ensure!(list.is_empty(), "not what the code says: {}; run `cargo xtask docs`", list.join(", "));
    }
    for File { path, text } in stale {
        fs::write(root().join(&path), text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(paths)
}

/// Text for a cell of a table: one line, no bars.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

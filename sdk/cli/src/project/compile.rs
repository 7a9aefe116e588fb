//! Running cargo on a project: its tests natively, its module for Wasm.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde::Deserialize;

use super::Project;
use crate::failure::Failure;

const TARGET: &str = "wasm32-unknown-unknown";

/// A line of `cargo build --message-format json`.
#[derive(Deserialize)]
struct Line {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Cargo in a project's folder; the one that runs this program, if one does.
pub fn cargo(project: &Project) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&project.folder);
    command
}

/// Compiles the project's module and returns its file. What cargo has to say goes to standard error.
pub fn build(project: &Project) -> Result<PathBuf, Failure> {
    let output = cargo(project)
        .args(["build", "--release", "--target", TARGET, "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .map_err(no_cargo)?;
    if !output.status.success() {
        return Err(Failure::usage("the process does not compile")
            .hint(format!("cargo says why; if it misses the target: rustup target add {TARGET}")));
    }
    let manifest = project.folder.join("Cargo.toml");
    let built = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Line>(line).ok());
    built
        .filter(|line| line.reason == "compiler-artifact" && same_file(&line.manifest_path, &manifest))
        .flat_map(|line| line.filenames)
        .find(|file| file.extension() == Some(OsStr::new("wasm")))
        .ok_or_else(|| {
            Failure::usage(format!("{} made no Wasm module", manifest.display()))
                .hint("its [lib] needs crate-type = [\"cdylib\", \"lib\"]")
        })
}

/// Why cargo did not run.
pub fn no_cargo(error: std::io::Error) -> Failure {
    Failure::network(format!("cannot run cargo: {error}")).hint("install Rust: https://rustup.rs")
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((fs::canonicalize(one), fs::canonicalize(other)), (Ok(one), Ok(other)) if one == other)
}

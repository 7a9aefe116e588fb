//! The official modules, out of the published npm package that the project's Node peers are pinned to.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where the Node peers are installed.
fn node_folder() -> PathBuf {
    holon_peers::folder().unwrap()
}

/// A module's bytes.
pub fn module(file: &str) -> Vec<u8> {
    fs::read(path(file)).unwrap()
}

/// A module's file.
pub fn path(file: &str) -> PathBuf {
    holon_peers::module(file.strip_suffix(".wasm").unwrap()).unwrap()
}

/// A vector of `process-abi`.
pub fn vector(name: &str) -> Value {
    let path = root().join("tests/vectors/process-abi").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// What the published loader answers, run by a script of `tests/node`.
pub fn loader_answers(script: &str, arguments: &[&OsStr]) -> Vec<Value> {
    let loader = Command::new("node")
        .args(["--experimental-wasm-memory64", "--no-warnings", script])
        .args(arguments)
        .current_dir(node_folder())
        .env("TZ", "UTC")
        .output()
        .expect("Node 20 is needed to compare with the published loader: install it, and run again");
    assert!(loader.status.success(), "{}", String::from_utf8_lossy(&loader.stderr));
    // What the process prints comes before.
    let printed = String::from_utf8(loader.stdout).unwrap();
    serde_json::from_str(printed.lines().last().unwrap()).unwrap()
}

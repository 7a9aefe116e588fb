//! The official modules, out of the published npm package that the project's Node peers are pinned to.

use std::{
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where the Node peers are installed.
pub fn node_folder() -> PathBuf {
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
pub fn vector(name: &str) -> serde_json::Value {
    let path = root().join("tests/vectors/process-abi").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

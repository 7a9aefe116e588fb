//! The `holon` command under test.

use std::{
    env,
    ffi::OsString,
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};

/// Folder of the repository the tests were compiled in.
pub fn repository() -> PathBuf {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.pop();
    path
}

/// Path of the `holon` command: `HOLON_BIN` if set, else the one beside the running test, brought up to date once per test
/// binary. Cargo builds no other package's programs for a test, so the test asks for it.
///
/// # Errors
/// When it does not compile.
pub fn holon() -> Result<PathBuf> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

fn build() -> Result<PathBuf> {
    if let Some(path) = env::var_os("HOLON_BIN") {
        return Ok(path.into());
    }
    let folder = profile_folder()?;
    let target = folder.parent().context("a profile folder lies in a target folder")?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command
        .current_dir(repository())
        .args(["build", "--quiet", "-p", "holon-cli", "--bin", "holon"])
        .arg("--target-dir")
        .arg(target);
    if folder.file_name().is_some_and(|name| name == "release") {
        command.arg("--release");
    }
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "the holon command does not compile: {command:?}");
    Ok(folder.join(format!("holon{}", env::consts::EXE_SUFFIX)))
}

/// `target/<profile>`, from the place of the running test or benchmark, `target/<profile>/deps/<name>`.
fn profile_folder() -> Result<PathBuf> {
    let running = env::current_exe().context("cannot find the running program")?;
    let folder = running.parent().context("a program lies in a folder")?;
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

/// Takes a lock that other test binaries honour too, for work that must happen once. Held until the file is dropped.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

//! A Chromium for tests of pages.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail, ensure};

/// Names the browser has on different systems.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

const INSTALL: &str = "\
Chromium is missing: install it with `apt-get install --no-install-recommends chromium` (Debian) or from \
https://www.chromium.org, or name a Chromium or Chrome in CHROMIUM";

/// Path of the browser: `CHROMIUM` if set, else the first one of its names on the path.
///
/// # Errors
/// When there is none; the text says how to install it.
pub fn chromium() -> Result<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM") {
        let path = PathBuf::from(named);
        ensure!(path.is_file(), "CHROMIUM is {}, which is no file. {INSTALL}", path.display());
        return Ok(path);
    }
    match find(&env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default()) {
        Some(path) => Ok(path),
        None => bail!(INSTALL),
    }
}

fn find(folders: &[impl AsRef<Path>]) -> Option<PathBuf> {
    let candidates = NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.as_ref().join(name)));
    candidates.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_under_any_of_its_names_and_missed_aloud() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(&[folder.path()]), None);
        let path = folder.path().join("google-chrome");
        std::fs::write(&path, "").unwrap();
        assert_eq!(find(&[folder.path()]), Some(path));
        assert!(INSTALL.contains("apt-get install"));
    }
}

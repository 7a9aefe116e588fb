//! What was measured: written once, in `benches/numbers.md`, shown by README and the book.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Where measured numbers are written down.
pub(crate) const FILE: &str = "benches/numbers.md";
const BEGIN: &str = "<!-- numbers: `cargo xtask docs` copies benches/numbers.md here -->\n";
const END: &str = "<!-- end of numbers -->\n";

pub(crate) struct Numbers(String);

impl Numbers {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        ensure!(text.contains("cargo xtask bench"), "{} does not name the command that measures", path.display());
        Ok(Self(text))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

/// README with the numbers between its marks.
pub(crate) fn replaced(readme: &str, numbers: &Numbers) -> Result<String> {
    let (before, rest) = readme.split_once(BEGIN).context("README.md has lost the mark before the numbers")?;
    let (_, after) = rest.split_once(END).context("README.md has lost the mark after the numbers")?;
    Ok(format!("{before}{BEGIN}{}{END}{after}", numbers.text()))
}

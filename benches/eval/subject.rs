//! The modules that are measured, and the message each gets.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use holon_benches::driver::Driver;
use holon_cu::machine::Format;
use holon_protocol::{DataItem, ItemId};
use holon_tests::peers;

/// A module with the message that is measured on it.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// What it is called.
    pub name: &'static str,
    /// Name of the module.
    module: &'static str,
    /// Value of `Module-Format`.
    pub format: Format,
    action: &'static str,
    data: &'static str,
    /// What its first message does besides, which is not measured.
    first: &'static str,
}

const fn aos(module: &'static str, format: Format) -> Subject {
    Subject { name: module, module, format, action: "Eval", data: "X = (X or 0) + 1 return X", first: "" }
}

/// All of them; the one that targets are given for comes first.
pub const ALL: [Subject; 5] = [
    aos("aos2_0_6", Format::Emscripten64Draft0215),
    // The same with as much state as a busy ledger has: who copies memory for every message copies this.
    Subject {
        name: "aos2_0_6+64MiB",
        first: "Kept = {} for i = 1, 64 do Kept[i] = string.rep(string.char(i), 1048576) end ",
        ..aos("aos2_0_6", Format::Emscripten64Draft0215)
    },
    aos("aos2_0_1", Format::Emscripten64Draft0215),
    aos("aos2_0_4_32", Format::Emscripten4),
    Subject { name: "counter", module: "counter", format: Format::Native, action: "Increment", data: "1", first: "" },
];

impl Subject {
    /// The subject of this name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|subject| subject.name == name)
    }

    /// Whether the published loader evaluates it too.
    pub fn has_loader(self) -> bool {
        self.format != Format::Native
    }

    /// The module.
    pub fn wasm(self) -> Result<Vec<u8>> {
        let path = if self.format == Format::Native {
            let root = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("wasm-processes");
            root.join(self.module).join(self.module).with_extension("wasm")
        } else {
            self.path()?
        };
        std::fs::read(&path).with_context(|| path.display().to_string())
    }

    /// Where an official module is.
    pub fn path(self) -> Result<PathBuf> {
        peers::module(self.module)
    }

    /// The first message for `process`.
    pub fn first(self, driver: &Driver, process: ItemId) -> Result<DataItem> {
        driver.message(process, self.action, &format!("{}{}", self.first, self.data), 0)
    }

    /// A message for `process`; the number makes it unlike every other.
    pub fn message(self, driver: &Driver, process: ItemId, number: usize) -> Result<DataItem> {
        driver.message(process, self.action, self.data, number)
    }
}

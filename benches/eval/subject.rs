//! The modules that are measured, and the message each gets.

use std::path::Path;

use anyhow::{Context, Result};
use holon_benches::driver::Driver;
use holon_cu::machine::Format;
use holon_protocol::{DataItem, ItemId};
use holon_tests::peers;

/// A module with the message that is measured on it.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// Name of the module.
    pub name: &'static str,
    /// Value of `Module-Format`.
    pub format: Format,
    action: &'static str,
    data: &'static str,
}

const fn aos(name: &'static str, format: Format) -> Subject {
    Subject { name, format, action: "Eval", data: "X = (X or 0) + 1 return X" }
}

/// All of them; the one that targets are given for comes first.
pub const ALL: [Subject; 4] = [
    aos("aos2_0_6", Format::Emscripten64Draft0215),
    aos("aos2_0_1", Format::Emscripten64Draft0215),
    aos("aos2_0_4_32", Format::Emscripten4),
    Subject { name: "counter", format: Format::Native, action: "Increment", data: "1" },
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
            root.join(self.name).join(self.name).with_extension("wasm")
        } else {
            peers::module(self.name)?
        };
        std::fs::read(&path).with_context(|| path.display().to_string())
    }

    /// A message for `process`; the number makes it unlike every other.
    pub fn message(self, driver: &Driver, process: ItemId, number: usize) -> Result<DataItem> {
        driver.message(process, self.action, self.data, number)
    }
}

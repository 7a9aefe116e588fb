//! Reading the tags of a module (spec 01 §10.5).

use crate::Tags;

/// What a module's tags say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// First `Module-Format`, trimmed.
    pub format: Option<String>,
    /// First `Input-Encoding`.
    pub input_encoding: Option<String>,
    /// First `Output-Encoding`.
    pub output_encoding: Option<String>,
    /// Every `Extension`.
    pub extensions: Vec<String>,
}

impl Module {
    /// Reads the tags.
    pub fn from_tags(tags: &Tags) -> Self {
        Self {
            format: tags.get("Module-Format").map(|value| value.trim().to_owned()),
            input_encoding: tags.get("Input-Encoding").map(str::to_owned),
            output_encoding: tags.get("Output-Encoding").map(str::to_owned),
            extensions: tags.all("Extension").map(str::to_owned).collect(),
        }
    }
}

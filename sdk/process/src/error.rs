//! Why a message failed, in words that end up in the result's `Error`.

use std::fmt;

/// The reason a handler refuses a message. The network records it as the result's `Error`; the state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error with this text. Say what is wrong and what would be right: the sender reads it.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        // Hosts test `Error` the way JavaScript does, where the empty text means "no error".
        Self(if text.is_empty() { "the process refused the message without a reason".to_owned() } else { text })
    }

    /// The text; never empty.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<std::num::ParseIntError> for Error {
    fn from(error: std::num::ParseIntError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<std::num::ParseFloatError> for Error {
    fn from(error: std::num::ParseFloatError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

//! Why a message failed, in words that end up in the result's `Error`.

use std::fmt;

/// The reason a handler refuses a message. The network records it as the result's `Error`; the state stays as it was.
///
/// `?` makes one of texts and of the errors of parsing; [`ensure!`](crate::ensure) and [`bail!`](crate::bail) write one down.
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

impl From<String> for Error {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl From<&str> for Error {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

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

/// Returns with an [`Error`] of this text: `bail!("no such name: {name}")`.
#[macro_export]
macro_rules! bail {
    ($($text:tt)+) => {
        return ::std::result::Result::Err($crate::Error::new(::std::format!($($text)+)))
    };
}

/// Returns with an [`Error`] of this text unless the condition holds: `ensure!(price > 0, "the price must be above 0")`.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            $crate::bail!($($text)+);
        }
    };
}

/// Enough of a text to recognise it by, for error texts: an id as it is, of what is longer than that the first 43 characters
/// and `…`.
pub fn excerpt(text: &str) -> String {
    const LIMIT_CHARS: usize = 43;
    let Some((end, _)) = text.char_indices().nth(LIMIT_CHARS) else { return text.to_owned() };
    joined(&[text.get(..end).unwrap_or_default(), "…"])
}

/// These texts as one. Panics of slices and the formatting machinery are a tenth of a small module; this has neither.
pub(crate) fn joined(parts: &[&str]) -> String {
    let mut whole = String::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        whole.push_str(part);
    }
    whole
}

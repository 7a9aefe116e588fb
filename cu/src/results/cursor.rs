//! Cursors of result listings (spec 05 §2.4).

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use holon_protocol::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Key;
use crate::json;

/// Decodes with or without padding: clients shorten cursors.
const DECODER: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Order of a listing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Oldest first.
    #[default]
    Ascending,
    /// Newest first.
    Descending,
}

impl Sort {
    /// `ASC` or `DESC`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ascending => "ASC",
            Self::Descending => "DESC",
        }
    }

    /// Reads `ASC` or `DESC` in any case.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ascending, Self::Descending].into_iter().find(|sort| text.eq_ignore_ascii_case(sort.as_str()))
    }
}

/// One end of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// Everything at this time is inside.
    Time(Timestamp),
    /// An evaluation: outside as the lower end, inside as the upper.
    Evaluation(Cursor),
}

/// Where an evaluation stands, and the order of the listing it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The evaluation.
    pub key: Key,
    /// The order.
    pub sort: Option<Sort>,
}

#[derive(Deserialize)]
struct Fields {
    timestamp: Value,
    #[serde(default)]
    ordinate: Value,
    #[serde(default)]
    cron: Option<String>,
    #[serde(default)]
    sort: Option<String>,
}

fn number(json: &Value) -> Option<u64> {
    match json {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

impl Bound {
    /// Reads a cursor or a timestamp. `None` when it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(cursor) = Cursor::parse(text) {
            return Some(Self::Evaluation(cursor));
        }
        text.parse().ok().map(Self::Time)
    }

    /// The order its cursor asks for.
    pub fn sort(&self) -> Option<Sort> {
        match self {
            Self::Time(_) => None,
            Self::Evaluation(cursor) => cursor.sort,
        }
    }

    /// Its time.
    pub fn timestamp(&self) -> Timestamp {
        match self {
            Self::Time(timestamp) => *timestamp,
            Self::Evaluation(cursor) => cursor.key.timestamp,
        }
    }
}

impl Cursor {
    /// Reads base64 of the JSON text.
    fn parse(text: &str) -> Option<Self> {
        // A client that does not encode its query sends `+`, which arrives as a space.
        let bytes = DECODER.decode(text.replace(' ', "+")).ok()?;
        let fields: Fields = serde_json::from_slice(&bytes).ok()?;
        Some(Self {
            key: Key {
                timestamp: Timestamp(number(&fields.timestamp)?),
                ordinate: number(&fields.ordinate).unwrap_or(0),
                cron: fields.cron,
            },
            sort: fields.sort.as_deref().and_then(Sort::parse),
        })
    }

    /// The text, in the key order of the specification.
    pub fn text(key: &Key, sort: Sort) -> String {
        let mut out = String::from("{\"timestamp\":");
        json::integer(&mut out, key.timestamp.0);
        out.push_str(",\"ordinate\":\"");
        json::integer(&mut out, key.ordinate);
        out.push_str("\",\"cron\":");
        json::nullable(&mut out, key.cron.as_deref());
        out.push_str(",\"sort\":\"");
        out.push_str(sort.as_str());
        out.push_str("\"}");
        STANDARD.encode(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str =
        "eyJ0aW1lc3RhbXAiOjE3MDAwMDAwMDAxMjMsIm9yZGluYXRlIjoiNSIsImNyb24iOm51bGwsInNvcnQiOiJBU0MifQ==";

    fn key() -> Key {
        Key { timestamp: Timestamp(1_700_000_000_123), ordinate: 5, cron: None }
    }

    #[test]
    fn the_cursor_of_the_specification_is_written_and_read() {
        assert_eq!(Cursor::text(&key(), Sort::Ascending), EXAMPLE);
        let cursor = Cursor { key: key(), sort: Some(Sort::Ascending) };
        assert_eq!(Bound::parse(EXAMPLE), Some(Bound::Evaluation(cursor.clone())));
        assert_eq!(Bound::parse(EXAMPLE.trim_end_matches('=')), Some(Bound::Evaluation(cursor)));
    }

    #[test]
    fn what_is_not_a_cursor_is_a_timestamp_or_nothing() {
        assert_eq!(Bound::parse("1700000000123"), Some(Bound::Time(Timestamp(1_700_000_000_123))));
        for text in ["", "x", "-1", "1.5", "e30="] {
            assert_eq!(Bound::parse(text), None, "{text}");
        }
    }
}

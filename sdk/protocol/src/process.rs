//! Reading the tags of a process (spec 01 §10.4, spec 05 §4.3).

use crate::{Address, ModuleId, Tags};

/// What a process's tags say. Absent or unreadable tags are `None`; nothing here is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// First `Module`.
    pub module: Option<ModuleId>,
    /// First `Scheduler`.
    pub scheduler: Option<Address>,
    /// `Authority` values, lists split at commas and trimmed.
    pub authorities: Vec<String>,
    /// First `On-Boot`.
    pub on_boot: Option<String>,
}

impl Process {
    /// Reads the tags.
    pub fn from_tags(tags: &Tags) -> Self {
        Self {
            module: tags.get("Module").and_then(|value| value.parse().ok()),
            scheduler: tags.get("Scheduler").and_then(|value| value.parse().ok()),
            authorities: tags
                .all("Authority")
                .flat_map(|value| value.split(','))
                .map(|value| value.trim().to_owned())
                .filter(|value| !value.is_empty())
                .collect(),
            on_boot: tags.get("On-Boot").map(str::to_owned),
        }
    }
}

/// Bytes that a `Memory-Limit` tag allows: the first `-` is removed, then `<number>[ ]<unit>` with binary units, else a
/// leading integer of bytes (spec 05 §4.3). `None` when there is no number.
pub fn parse_memory_limit(text: &str) -> Option<u64> {
    let text = text.replacen('-', "", 1);
    sized(&text).or_else(|| leading_integer(&text))
}

/// A `Compute-Limit` tag: its leading integer.
pub fn parse_compute_limit(text: &str) -> Option<u64> {
    leading_integer(text)
}

/// `<number> *<unit>` and nothing else. The product is rounded down, as a double, because that is what every deployed
/// compute unit calculates.
fn sized(text: &str) -> Option<u64> {
    let unit = text.len().checked_sub(2)?;
    let (number, unit) = (text.get(..unit)?, text.get(unit..)?);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "kb" => 10,
        "mb" => 20,
        "gb" => 30,
        "tb" => 40,
        "pb" => 50,
        _ => return None,
    };
    let number = number.trim_end_matches(' ');
    let unsigned = number.strip_prefix('+').unwrap_or(number);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let well_formed = match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    };
    if !well_formed {
        return None;
    }
    let number: f64 = unsigned.parse().ok()?;
    // The cast saturates, which is right for a limit.
    Some((number * (1u64 << shift) as f64).floor() as u64)
}

/// The integer a text begins with, after white space; larger ones than fit are `u64::MAX`. Negative ones are no limit.
fn leading_integer(text: &str) -> Option<u64> {
    let text = text.trim_start_matches(|char: char| char.is_whitespace() || char == '\u{feff}');
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    Some(text[..digits].parse().unwrap_or(u64::MAX))
}

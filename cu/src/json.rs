//! JSON exactly as JavaScript's `JSON.stringify` prints it (spec 06 §3.1): processes see these texts, and their bytes
//! decide where things lie in a process's memory.
//!
//! Everything appends to a `String`, so that one message costs one buffer and no tree.

use std::fmt::Write;

use holon_protocol::Tags;
use serde_json::{Number, Value};

/// Largest integer that a JavaScript number holds exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Appends a string literal. Only `"`, `\` and control characters are escaped.
pub fn string(out: &mut String, text: &str) {
    out.push('"');
    let mut plain = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            0x08 => "\\b",
            0x09 => "\\t",
            0x0a => "\\n",
            0x0c => "\\f",
            0x0d => "\\r",
            0x00..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[plain..at]);
        plain = at + 1;
        if escape.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

/// Appends a string literal or `null`.
pub fn nullable(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.push_str("null"),
    }
}

/// Appends a decimal integer.
pub fn integer(out: &mut String, number: u64) {
    let _ = write!(out, "{number}");
}

/// Appends `[{"name":…,"value":…},…]` of the tags that `keep` accepts.
pub fn tags(out: &mut String, tags: &Tags, keep: impl Fn(&str) -> bool) {
    out.push('[');
    let mut first = true;
    for tag in tags.iter().filter(|tag| keep(&tag.name)) {
        if !first {
            out.push(',');
        }
        first = false;
        out.push_str("{\"name\":");
        string(out, &tag.name);
        out.push_str(",\"value\":");
        string(out, &tag.value);
        out.push('}');
    }
    out.push(']');
}

/// Appends any value. Nesting is as deep as the parser allowed.
pub fn value(out: &mut String, json: &Value) {
    match json {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(json) => number(out, json),
        Value::String(text) => string(out, text),
        Value::Array(items) => list(out, items),
        Value::Object(members) => {
            out.push('{');
            for (at, (name, json)) in members.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                string(out, name);
                out.push(':');
                value(out, json);
            }
            out.push('}');
        }
    }
}

/// Appends an array.
pub fn list(out: &mut String, items: &[Value]) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        value(out, item);
    }
    out.push(']');
}

/// Appends a number as JavaScript prints the double nearest to it.
pub fn number(out: &mut String, number: &Number) {
    if let Some(exact) = number.as_u64().filter(|&exact| exact <= MAX_SAFE_INTEGER) {
        return integer(out, exact);
    }
    match number.as_f64() {
        Some(double) if double.is_finite() => double_text(out, double),
        // `JSON.stringify` prints what is not finite as null.
        _ => out.push_str("null"),
    }
}

/// `Number::toString` of ECMAScript: the shortest digits that read back as the same double, plain between 1e-7 and 1e21.
fn double_text(out: &mut String, double: f64) {
    if double == 0.0 {
        return out.push('0');
    }
    let scientific = format!("{:e}", double.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    // The value is 0.digits × 10^point.
    let point = exponent.parse::<i32>().unwrap_or(0) + 1;
    let count = digits.len() as i32;
    if double < 0.0 {
        out.push('-');
    }
    if (1..=21).contains(&point) {
        let whole = point.min(count) as usize;
        out.push_str(&digits[..whole]);
        if count <= point {
            out.extend(std::iter::repeat_n('0', (point - count) as usize));
        } else {
            out.push('.');
            out.push_str(&digits[whole..]);
        }
    } else if (-5..=0).contains(&point) {
        out.push_str("0.");
        out.extend(std::iter::repeat_n('0', point.unsigned_abs() as usize));
        out.push_str(&digits);
    } else {
        out.push_str(&digits[..1]);
        if count > 1 {
            out.push('.');
            out.push_str(&digits[1..]);
        }
        let exponent = point - 1;
        let _ = write!(out, "e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(json: &str) -> String {
        let mut out = String::new();
        value(&mut out, &serde_json::from_str(json).unwrap());
        out
    }

    #[test]
    fn strings_escape_what_json_stringify_escapes_and_nothing_else() {
        let mut out = String::new();
        string(&mut out, "a\"\\/\u{8}\t\n\u{c}\r\u{0}\u{1f}\u{7f}é\u{2028}🙂");
        assert_eq!(out, "\"a\\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\u{7f}é\u{2028}🙂\"");
    }

    #[test]
    fn numbers_are_printed_as_javascript_prints_doubles() {
        for (text, expected) in [
            ("1.0", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("123456789012345678", "123456789012345680"),
            ("18446744073709551615", "18446744073709552000"),
            ("9007199254740991", "9007199254740991"),
            ("-42", "-42"),
            ("0.1", "0.1"),
            ("1.5", "1.5"),
            ("12.25", "12.25"),
            ("0.000001", "0.000001"),
            ("0.0000001", "1e-7"),
            ("1.25e-9", "1.25e-9"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ] {
            assert_eq!(printed(text), expected, "{text}");
        }
    }

    #[test]
    fn values_keep_their_order_and_get_no_spaces() {
        assert_eq!(printed(r#" { "b" : [ 1 , null , true ], "a" : { } } "#), r#"{"b":[1,null,true],"a":{}}"#);
    }
}

//! JSON as JavaScript reads it (spec 06 §3.2), because that is what every other unit on the network saw.
//!
//! * Numbers are doubles: large integers are rounded, integral values print without a fraction, those out of range
//!   become `null` (as `JSON.stringify` prints infinities), `-0` becomes `0`.
//! * Of equal keys the last value counts, at the place of the first.
//! * Keys that look like array indices come first, ascending.
//! * Lone surrogates, which Rust's text cannot hold, become U+FFFD.

use serde_json::{Map, Number, Value};

/// Deepest nesting. Readers further down the line (and their copies of a result inside lists) stop at 128.
pub(super) const MAX_DEPTH: usize = 120;

/// Most values in a text. One of three characters takes a hundred times as many bytes when it is read.
pub(super) const MAX_VALUES: usize = 1 << 20;

/// Why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at byte {at} of the module's answer")]
pub(super) struct ParseError {
    problem: &'static str,
    at: usize,
}

/// Parses a complete text.
pub(super) fn parse(text: &str) -> Result<Value, ParseError> {
    let mut reader = Reader { text, at: 0, values: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() { Err(reader.error("unexpected text after the end")) } else { Ok(value) }
}

/// What JavaScript takes for true.
pub(super) fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    values: usize,
}

impl Reader<'_> {
    fn error(&self, problem: &'static str) -> ParseError {
        ParseError { problem, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.space();
        if depth >= MAX_DEPTH && matches!(self.peek(), Some(b'{' | b'[')) {
            return Err(self.error("values are nested too deeply"));
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.error("too many values"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err(self.error("unexpected character")),
            None => Err(self.error("unexpected end")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, ParseError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.error("unexpected character"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn array(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut values = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(Value::Array(values));
        }
        loop {
            values.push(self.value(depth + 1)?);
            self.space();
            if self.eat(b']') {
                return Ok(Value::Array(values));
            }
            if !self.eat(b',') {
                return Err(self.error("expected , or ]"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, ParseError> {
        self.at += 1;
        let mut members = Map::new();
        let mut indices = false;
        self.space();
        if self.eat(b'}') {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("expected a key"));
            }
            let key = self.string()?;
            self.space();
            if !self.eat(b':') {
                return Err(self.error("expected :"));
            }
            let value = self.value(depth + 1)?;
            indices |= array_index(&key).is_some();
            members.insert(key, value);
            self.space();
            if self.eat(b'}') {
                break;
            }
            if !self.eat(b',') {
                return Err(self.error("expected , or }"));
            }
        }
        if indices {
            let (mut first, rest): (Vec<_>, Vec<_>) =
                members.into_iter().partition(|(key, _)| array_index(key).is_some());
            first.sort_by_key(|(key, _)| array_index(key));
            members = first.into_iter().chain(rest).collect();
        }
        Ok(Value::Object(members))
    }

    fn string(&mut self) -> Result<String, ParseError> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let Some(plain) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)) else {
                return Err(self.error("text without an end"));
            };
            out.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    self.at += 1;
                    return Ok(out);
                }
                b'\\' => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                _ => return Err(self.error("control character in a text")),
            }
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), ParseError> {
        let letter = self.peek().ok_or_else(|| self.error("text without an end"))?;
        self.at += 1;
        out.push(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                let mut code = u32::from(unit);
                if (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with("\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if (0xdc00..0xe000).contains(&low) {
                        code = 0x10000 + (u32::from(unit) - 0xd800) * 0x400 + (u32::from(low) - 0xdc00);
                    } else {
                        self.at = back;
                    }
                }
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(self.error("unknown escape")),
        });
        Ok(())
    }

    fn hex(&mut self) -> Result<u16, ParseError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or_else(|| self.error("text without an end"))?;
        let mut unit = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or_else(|| self.error("unknown escape"))?;
            unit = unit * 16 + digit as u16;
        }
        self.at += 4;
        Ok(unit)
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Value, ParseError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.digits()?;
        }
        let double: f64 = self.text[start..self.at].parse().map_err(|_| self.error("unreadable number"))?;
        Ok(number(double))
    }
}

/// A double as `JSON.stringify` prints it, as far as [`Number`] can: integers from 2⁶⁴ on keep their value but print with an
/// exponent.
fn number(double: f64) -> Value {
    /// Below it, every integer is a double.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if double.fract() == 0.0 && double.abs() < EXACT {
        return Value::Number(Number::from(double as i64));
    }
    if double.fract() == 0.0 && double.abs() < u64::MAX as f64 {
        // JavaScript prints the shortest digits that mean this double, padded with zeros. So does Rust.
        let digits = double.to_string();
        if let Ok(integer) = digits.parse::<i64>() {
            return Value::Number(Number::from(integer));
        }
        if let Ok(integer) = digits.parse::<u64>() {
            return Value::Number(Number::from(integer));
        }
    }
    Number::from_f64(double).map_or(Value::Null, Value::Number)
}

/// The number a key stands for if it is the canonical text of an array index.
fn array_index(key: &str) -> Option<u32> {
    if key.is_empty() || key.len() > 10 || (key.len() > 1 && key.starts_with('0')) {
        return None;
    }
    if !key.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    key.parse().ok().filter(|index| *index < u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> String {
        parse(text).unwrap().to_string()
    }

    #[test]
    fn values_print_as_javascript_prints_them() {
        for (text, expected) in [
            (r#"{"b":1,"a":2,"b":3}"#, r#"{"b":3,"a":2}"#),
            (
                r#"{"x":0,"10":1,"9":2,"01":3,"4294967295":4,"-1":5}"#,
                r#"{"9":2,"10":1,"x":0,"01":3,"4294967295":4,"-1":5}"#,
            ),
            ("[1.0,2.50,-0,1e3,1E-2,0.1]", "[1,2.5,0,1000,0.01,0.1]"),
            (
                "[9007199254740993,1152921504606846976,18446744073709549568]",
                "[9007199254740992,1152921504606847000,18446744073709550000]",
            ),
            ("[1e999,-1e999]", "[null,null]"),
            (r#"" \u00e9\ud83d\ude00\ud83d\n\/""#, "\" é😀\u{fffd}\\n/\""),
            ("\t[ true , false,null ,{} ]\r\n", "[true,false,null,{}]"),
        ] {
            assert_eq!(printed(text), expected, "{text}");
        }
    }

    #[test]
    fn what_javascript_refuses_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "tru",
            "\"\u{1}\"",
            "\"\\x\"",
            "\"\\u12g4\"",
            "\"\\u12\"",
            "\"open",
            "1 2",
            "nan",
            "'a'",
            "\u{a0}1",
            "[1 2]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(parse(&nested(1_000_000)).is_err());
    }

    #[test]
    fn truth_is_javascripts() {
        for (text, expected) in [
            ("null", false),
            ("false", false),
            ("0", false),
            ("-0", false),
            ("\"\"", false),
            ("true", true),
            ("1", true),
            ("\"0\"", true),
            ("[]", true),
            ("{}", true),
        ] {
            assert_eq!(truthy(&parse(text).unwrap()), expected, "{text}");
        }
    }
}

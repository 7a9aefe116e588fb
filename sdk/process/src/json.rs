//! The JSON of the two texts a process is handed and the one it answers, read and written without a tree in between.
//!
//! Reading borrows: a text without escapes is a part of the message's own text. General JSON, which handlers may find in
//! data or put into the output, is `serde_json`'s business; a process that has none does not carry it.

use std::borrow::Cow;

/// Deepest nesting of values that are passed over.
const MAX_DEPTH: u32 = 128;
/// Code units of UTF-16 that come in pairs.
const HIGH: std::ops::Range<u32> = 0xd800..0xdc00;
const LOW: std::ops::Range<u32> = 0xdc00..0xe000;

/// Why a text is not what it should be, and at which byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub expected: &'static str,
    pub at: usize,
}

type Read<T> = Result<T, Malformed>;

/// Reads a text from front to back.
pub(crate) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// That nothing but white space is left.
    pub fn end(&mut self) -> Read<()> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { self.malformed("the end of the text") }
    }

    /// An object: `member` is called with each key and reads the value.
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Read<()>) -> Read<()> {
        self.open(b'{', "an object")?;
        if self.close(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.open(b':', "\":\"")?;
            member(self, &key)?;
            if self.close(b'}') {
                return Ok(());
            }
            self.open(b',', "\",\" or \"}\"")?;
        }
    }

    /// A list: `element` is called once for each and reads it.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.open(b'[', "a list")?;
        if self.close(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if self.close(b']') {
                return Ok(());
            }
            self.open(b',', "\",\" or \"]\"")?;
        }
    }

    /// A text, or nothing for `null`.
    pub fn string_or_null(&mut self) -> Read<Option<Cow<'a, str>>> {
        if self.peek() == Some(b'n') && self.word("null") { Ok(None) } else { self.string().map(Some) }
    }

    /// A text.
    pub fn string(&mut self) -> Read<Cow<'a, str>> {
        self.open(b'"', "a text")?;
        let plain = self.plain()?;
        if self.close_text() { Ok(Cow::Borrowed(plain)) } else { self.escaped(plain) }
    }

    /// The rest of a text that begins with `plain`, from a backslash on.
    #[cold]
    fn escaped(&mut self, plain: &str) -> Read<Cow<'a, str>> {
        let mut whole = String::from(plain);
        loop {
            self.at += 1;
            self.escape(&mut whole)?;
            whole.push_str(self.plain()?);
            if self.close_text() {
                return Ok(Cow::Owned(whole));
            }
        }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self) -> Read<bool> {
        if self.word("true") {
            Ok(true)
        } else if self.word("false") {
            Ok(false)
        } else {
            self.malformed("true or false")
        }
    }

    /// A whole number, or its decimal text as dry runs of some clients send it; any other value counts as absent.
    pub fn integer(&mut self) -> Read<Option<u64>> {
        match self.peek() {
            Some(b'"') => Ok(decimal(&self.string()?)),
            Some(b'0'..=b'9') => {
                let start = self.at;
                self.skip()?;
                Ok(self.text.get(start..self.at).and_then(decimal))
            }
            _ => self.skip().map(|()| None),
        }
    }

    /// Any value, passed over.
    pub fn skip(&mut self) -> Read<()> {
        let mut depth = 0;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(b'{' | b'[') => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return self.malformed("values nested less deeply");
                    }
                    self.at += 1;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => self.at += 1,
                Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') => {
                    let rest = self.bytes().iter();
                    self.at += rest
                        .take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z'))
                        .count();
                }
                _ => return self.malformed("a value"),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    fn malformed<T>(&self, expected: &'static str) -> Read<T> {
        Err(Malformed { expected, at: self.at })
    }

    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.as_bytes().get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let next = self.text.as_bytes().get(self.at).copied();
        // Hosts print none.
        if next.is_some_and(|byte| byte <= b' ') { self.peek_after_space() } else { next }
    }

    #[cold]
    fn peek_after_space(&mut self) -> Option<u8> {
        self.space();
        self.text.as_bytes().get(self.at).copied()
    }

    fn open(&mut self, byte: u8, expected: &'static str) -> Read<()> {
        if self.close(byte) { Ok(()) } else { self.malformed(expected) }
    }

    #[inline]
    fn close(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn word(&mut self, word: &str) -> bool {
        self.space();
        let found = self.bytes().starts_with(word.as_bytes());
        if found {
            self.at += word.len();
        }
        found
    }

    /// The part of a text up to a quote or a backslash.
    fn plain(&mut self) -> Read<&'a str> {
        let start = self.at;
        self.at += run(self.bytes());
        match (self.text.as_bytes().get(self.at), self.text.get(start..self.at)) {
            (Some(b'"' | b'\\'), Some(plain)) => Ok(plain),
            (None, _) => self.malformed("the end of a text"),
            _ => self.malformed("a control character to be escaped"),
        }
    }

    fn close_text(&mut self) -> bool {
        let found = self.text.as_bytes().get(self.at) == Some(&b'"');
        self.at += usize::from(found);
        found
    }

    fn escape(&mut self, into: &mut String) -> Read<()> {
        let letter = self.text.as_bytes().get(self.at);
        self.at += 1;
        into.push(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let mut code = self.hex()?;
                if HIGH.contains(&code) && self.bytes().starts_with(b"\\u") {
                    let back = self.at;
                    self.at += 2;
                    let low = self.hex()?;
                    if LOW.contains(&low) {
                        code = 0x10000 + ((code - HIGH.start) << 10) + (low - LOW.start);
                    } else {
                        self.at = back;
                    }
                }
                // Half of a pair alone is no character in Rust.
                char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return self.malformed("a known escape"),
        });
        Ok(())
    }

    fn hex(&mut self) -> Read<u32> {
        let Some(digits) = self.text.as_bytes().get(self.at..self.at + 4) else {
            return self.malformed("four hexadecimal digits");
        };
        let mut code = 0;
        for digit in digits {
            let Some(digit) = char::from(*digit).to_digit(16) else {
                return self.malformed("four hexadecimal digits");
            };
            code = code << 4 | digit;
        }
        self.at += 4;
        Ok(code)
    }
}

/// A whole number from its decimal digits.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// How many bytes come before the first quote, backslash or control character. Eight at a time: signatures and data are long.
fn run(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    const HIGH_BITS: u64 = ONES << 7;
    /// High bit of every byte that is less than `than`, at most 0x80; bytes above a found one may be marked wrongly.
    const fn below(word: u64, than: u8) -> u64 {
        word.wrapping_sub(ONES * than as u64) & !word & HIGH_BITS
    }
    let mut at = 0;
    for chunk in bytes.chunks_exact(8) {
        let word = word(chunk);
        let quotes = below(word ^ (ONES * b'"' as u64), 1);
        let escapes = below(word ^ (ONES * b'\\' as u64), 1);
        let found = below(word, 0x20) | quotes | escapes;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// Whether two texts are the same. Wasm's own comparison goes byte by byte, and the environment, which is compared with every message, is
/// long.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    let (a_words, b_words) = (a.chunks_exact(8), b.chunks_exact(8));
    a.len() == b.len()
        && a_words.remainder().iter().eq(b_words.remainder())
        && a_words.zip(b_words).all(|(a, b)| word(a) == word(b))
}

fn word(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// Appends a text in quotes.
pub(crate) fn write_text(into: &mut String, text: &str) {
    into.push('"');
    let mut rest = text;
    loop {
        let plain = run(rest.as_bytes());
        into.push_str(rest.get(..plain).unwrap_or_default());
        let mut after = rest.get(plain..).unwrap_or_default().chars();
        match after.next() {
            None => break,
            Some('"') => into.push_str("\\\""),
            Some('\\') => into.push_str("\\\\"),
            Some('\u{8}') => into.push_str("\\b"),
            Some('\u{c}') => into.push_str("\\f"),
            Some('\n') => into.push_str("\\n"),
            Some('\r') => into.push_str("\\r"),
            Some('\t') => into.push_str("\\t"),
            Some(control) => {
                into.push_str("\\u00");
                for shift in [4, 0] {
                    into.push(char::from_digit(control as u32 >> shift & 0xf, 16).unwrap_or('0'));
                }
            }
        }
        rest = after.as_str();
    }
    into.push('"');
}

/// Appends a number's decimal digits, zeros in front up to `width`, which is at most [`MAX_WIDTH`].
pub(crate) fn write_number(into: &mut String, mut number: u64, width: usize) {
    let mut digits = [b'0'; MAX_WIDTH];
    let mut len = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        len += 1;
        if number == 0 {
            break;
        }
    }
    let start = MAX_WIDTH - len.max(width.min(MAX_WIDTH));
    into.push_str(std::str::from_utf8(digits.get(start..).unwrap_or_default()).unwrap_or_default());
}

/// Most digits of a written number.
pub(crate) const MAX_WIDTH: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Read<String> {
        let mut reader = Reader::new(text);
        let read = reader.string()?.into_owned();
        reader.end()?;
        Ok(read)
    }

    #[test]
    fn texts_are_read_as_serde_json_reads_them() {
        for text in [
            r#""""#,
            r#""plain""#,
            r#""eight by""#,
            r#""more than eight bytes, with an \"escape\" and \\ and \/ and \n""#,
            r#""ünïcödé ☃ 🚀 right up to the end ü""#,
            r#""\u00e9\ud83d\ude80\u0000\b\f\r\t""#,
            r#""12345678\n2345678\"""#,
        ] {
            assert_eq!(string(text), Ok(serde_json::from_str::<String>(text).unwrap()), "{text}");
        }
        assert_eq!(string(r#""\ud83d x \ude80""#).unwrap(), "\u{fffd} x \u{fffd}");
    }

    #[test]
    fn texts_without_escapes_are_borrowed() {
        assert!(matches!(Reader::new("  \"a longer text\"").string(), Ok(Cow::Borrowed("a longer text"))));
    }

    #[test]
    fn what_is_not_a_text_is_refused_where_it_ends() {
        for text in ["", "\"", "\"a", "\"\\", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "\"12345678\u{1}\"", "a"]
        {
            assert!(string(text).is_err(), "{text}");
            assert!(serde_json::from_str::<String>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn written_texts_are_those_of_serde_json() {
        let every: String = (0..0x300).filter_map(char::from_u32).chain("🚀\u{2028}".chars()).collect();
        for text in ["", "plain", "12345678", "a\"b", "\u{1f}\u{7f}", every.as_str()] {
            let mut written = String::new();
            write_text(&mut written, text);
            assert_eq!(written, serde_json::to_string(text).unwrap());
            assert_eq!(string(&written).unwrap(), text);
        }
    }

    #[test]
    fn whole_numbers_may_be_texts_and_anything_else_is_absent() {
        for (text, number) in [
            ("0", Some(0)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("\"17\"", Some(17)),
            ("\"x\"", None),
            ("\"\"", None),
            ("\"+1\"", None),
            ("1.5", None),
            ("-1", None),
            ("null", None),
            ("{\"a\":[1,\"]\"]}", None),
        ] {
            let mut reader = Reader::new(text);
            assert_eq!(reader.integer(), Ok(number), "{text}");
            assert_eq!(reader.end(), Ok(()), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Reader::new(&deep(128)).skip().is_ok());
        assert!(Reader::new(&deep(129)).skip().is_err());
        assert!(Reader::new("[1,").skip().is_err());
    }

    #[test]
    fn numbers_are_padded() {
        for (number, width, text) in [
            (0, 1, "0"),
            (7, 3, "007"),
            (1234, 2, "1234"),
            (u64::MAX, 20, "18446744073709551615"),
            (1, 32, &format!("{:032}", 1)),
        ] {
            let mut written = String::new();
            write_number(&mut written, number, width);
            assert_eq!(written, text);
        }
    }
}

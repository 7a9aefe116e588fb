//! JSON of a compute unit: kept as the text that came, and read value by value where a value is used.
//!
//! What a process emits may be anything that JavaScript writes, and reading everything at once would let one odd value spoil
//! all others: a text with half of a surrogate pair, which Rust's texts cannot hold, a number beyond any machine's, nesting
//! without end. Values that are not used are only looked through, without recursion. Numbers keep their digits, because what
//! has no text of its own counts by its JSON text (spec 04 §16).

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What stands for whatever a text cannot hold.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// One complete JSON text.
#[derive(Debug, Clone)]
pub struct JsonText(Box<RawValue>);

impl JsonText {
    /// Looks through an answer. Bytes that are no UTF-8 become U+FFFD and a byte order mark is passed over, as where a
    /// JavaScript program reads an answer.
    ///
    /// # Errors
    /// When it is not JSON.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let text = String::from_utf8_lossy(bytes);
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        serde_json::from_str::<&RawValue>(text).map(|json| Self(json.to_owned()))
    }

    /// The value.
    pub fn json(&self) -> Json<'_> {
        Json(&self.0)
    }
}

impl Default for JsonText {
    /// `null`.
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl PartialEq for JsonText {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

impl From<serde_json::Value> for JsonText {
    fn from(value: serde_json::Value) -> Self {
        serde_json::value::to_raw_value(&value).map(Self).unwrap_or_default()
    }
}

/// A value in a [`JsonText`].
#[derive(Debug, Clone, Copy)]
pub struct Json<'a>(&'a RawValue);

/// What kind of value it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}

impl<'a> Json<'a> {
    /// The text as it came.
    pub fn text(self) -> &'a str {
        self.0.get()
    }

    /// A copy that stands by itself.
    pub fn to_text(self) -> JsonText {
        JsonText(self.0.to_owned())
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        match self.text().as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// Whether it is `true`.
    pub fn is_true(self) -> bool {
        self.text() == "true"
    }

    fn reader(self) -> serde_json::Deserializer<serde_json::de::StrRead<'a>> {
        serde_json::Deserializer::from_str(self.text())
    }

    /// The string, with U+FFFD for each half of a surrogate pair that stands alone; `None` for other values.
    pub fn string(self) -> Option<String> {
        serde_json::from_str(self.text()).ok().map(|Text(text)| text)
    }

    /// The first `most` items of an array, and how many it has; `None` for other values.
    pub fn items(self, most: usize) -> Option<(Vec<Self>, usize)> {
        (&mut self.reader()).deserialize_seq(Items(most)).ok()
    }

    /// These members of an object, of equal names the last; none of other values.
    pub fn members<const N: usize>(self, names: [&str; N]) -> [Option<Self>; N] {
        (&mut self.reader()).deserialize_map(Members(names)).unwrap_or([None; N])
    }

    /// A member of an object.
    pub fn member(self, name: &str) -> Option<Self> {
        let [member] = self.members([name]);
        member
    }

    /// Its text without white space and unneeded escapes. Numbers keep their digits.
    pub fn compact(self) -> String {
        let text = self.text();
        let mut compact = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(['"', ' ', '\t', '\n', '\r']) {
            compact.push_str(&rest[..at]);
            if rest.as_bytes()[at] != b'"' {
                rest = &rest[at + 1..];
                continue;
            }
            let string = &rest[at..at + string_length(&rest[at..])];
            match serde_json::from_str(string) {
                Ok(Text(plain)) if string.contains('\\') => {
                    compact.push_str(&serde_json::Value::from(plain).to_string())
                }
                _ => compact.push_str(string),
            }
            rest = &rest[at + string.len()..];
        }
        compact.push_str(rest);
        compact
    }
}

/// The length of the string literal at the start of `text`, in bytes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// A string that may have been written by JavaScript.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Text, E> {
                Ok(Text(paired(bytes.to_vec())))
            }
        }
        // As bytes strings come with lone surrogates in three bytes each; as text they would not come.
        deserializer.deserialize_bytes(Bytes)
    }
}

/// A text of bytes that are UTF-8 but for lone surrogates.
fn paired(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| {
        let mut bytes = error.into_bytes();
        for at in 2..bytes.len() {
            if let [0xed, 0xa0..=0xbf, 0x80..=0xbf] = bytes[at - 2..=at] {
                bytes[at - 2..=at].copy_from_slice(REPLACEMENT);
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

struct Items(usize);

impl<'de> Visitor<'de> for Items {
    type Value = (Vec<Json<'de>>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.0 {
            match seq.next_element()? {
                Some(item) => items.push(Json(item)),
                None => {
                    let length = items.len();
                    return Ok((items, length));
                }
            }
        }
        let mut length = items.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            length += 1;
        }
        Ok((items, length))
    }
}

struct Members<'n, const N: usize>([&'n str; N]);

impl<'de, const N: usize> Visitor<'de> for Members<'_, N> {
    type Value = [Option<Json<'de>>; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = [None; N];
        while let Some(Text(name)) = map.next_key()? {
            let value = map.next_value()?;
            if let Some(at) = self.0.iter().position(|wanted| *wanted == name) {
                members[at] = Some(Json(value));
            }
        }
        Ok(members)
    }
}

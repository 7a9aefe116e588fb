//! Tags: an ordered list of names and values, and its Avro encoding (spec 01 §5).

use serde::{Deserialize, Serialize};

/// A name and a value; both may be empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tag {
    /// Case-sensitive name.
    pub name: String,
    /// Value.
    pub value: String,
}

impl Tag {
    /// A tag.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: value.into() }
    }
}

/// Tags in their order, duplicates kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tags(pub Vec<Tag>);

/// The bytes are not an Avro array of tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tags are not well formed: {reason}")]
pub struct DecodeTagsError {
    /// What is wrong.
    pub reason: &'static str,
}

impl Tags {
    /// The value of the first tag named exactly `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|tag| tag.name == name).map(|tag| tag.value.as_str())
    }

    /// The value of the first tag named `name` in any case.
    pub fn get_ignore_case(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|tag| tag.name.eq_ignore_ascii_case(name)).map(|tag| tag.value.as_str())
    }

    /// The values of every tag named exactly `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.0.iter().filter(move |tag| tag.name == name).map(|tag| tag.value.as_str())
    }

    /// Whether some tag has exactly this name and value.
    pub fn contains(&self, name: &str, value: &str) -> bool {
        self.all(name).any(|found| found == value)
    }

    /// Appends a tag.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push(Tag::new(name, value));
    }

    /// The tags in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Tag> {
        self.0.iter()
    }

    /// Number of tags.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes the one canonical form: zero bytes when empty, else one block and the terminator.
    pub fn encode(&self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        let text: usize = self.iter().map(|tag| tag.name.len() + tag.value.len()).sum();
        let mut out = Vec::with_capacity(text + 4 * self.len() + 3);
        write_long(&mut out, self.len());
        for tag in self {
            write_string(&mut out, &tag.name);
            write_string(&mut out, &tag.value);
        }
        out.push(0);
        out
    }

    /// Reads every legal Avro form of exactly `count` tags that fills `bytes` completely.
    pub fn decode(bytes: &[u8], count: u64) -> Result<Self, DecodeTagsError> {
        if bytes.is_empty() || count == 0 {
            // The count is not signed, so the two must agree here.
            return match (bytes, count) {
                ([] | [0], 0) => Ok(Self::default()),
                ([], _) => Err(bad("there are none, but the declared count is not 0")),
                _ => Err(bad("the declared count is 0, but there are tag bytes")),
            };
        }
        let mut reader = Reader { bytes };
        let mut tags = Vec::new();
        loop {
            let block = reader.long()?;
            if block == 0 {
                break;
            }
            if block < 0 {
                // The block's size in bytes, which a reader that does not skip blocks has no use for.
                reader.long()?;
            }
            let total = block.unsigned_abs().checked_add(tags.len() as u64);
            if total.is_none_or(|total| total > count) {
                return Err(bad("there are more tags than the declared count"));
            }
            for _ in 0..block.unsigned_abs() {
                tags.push(Tag { name: reader.string()?, value: reader.string()? });
            }
        }
        if !reader.bytes.is_empty() {
            return Err(bad("there are bytes after the terminator"));
        }
        if tags.len() as u64 != count {
            return Err(bad("there are fewer tags than the declared count"));
        }
        Ok(Self(tags))
    }
}

impl FromIterator<Tag> for Tags {
    fn from_iter<I: IntoIterator<Item = Tag>>(tags: I) -> Self {
        Self(tags.into_iter().collect())
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Tags {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(tags: I) -> Self {
        tags.into_iter().map(|(name, value)| Tag::new(name, value)).collect()
    }
}

impl<'a> IntoIterator for &'a Tags {
    type Item = &'a Tag;
    type IntoIter = std::slice::Iter<'a, Tag>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

const fn bad(reason: &'static str) -> DecodeTagsError {
    DecodeTagsError { reason }
}

/// Most bytes of an Avro `long`.
const MAX_LONG_BYTES: u32 = 10;

struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn long(&mut self) -> Result<i64, DecodeTagsError> {
        let mut value = 0u64;
        for index in 0..MAX_LONG_BYTES {
            let (&byte, rest) = self.bytes.split_first().ok_or(bad("they end inside a number"))?;
            self.bytes = rest;
            let low = u64::from(byte & 0x7f);
            if index + 1 == MAX_LONG_BYTES && low > 1 {
                break;
            }
            value |= low << (7 * index);
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(bad("a number does not fit 64 bits"))
    }

    fn string(&mut self) -> Result<String, DecodeTagsError> {
        let length = usize::try_from(self.long()?).map_err(|_| bad("a length is negative"))?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or(bad("they end inside a name or value"))?;
        self.bytes = rest;
        std::str::from_utf8(text).map(str::to_owned).map_err(|_| bad("a name or value is not UTF-8"))
    }
}

fn write_long(out: &mut Vec<u8>, length: usize) {
    let mut value = (length as u64) << 1;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    write_long(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

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
        todo!()
    }

    /// Reads every legal Avro form of exactly `count` tags that fills `bytes` completely.
    pub fn decode(bytes: &[u8], count: u64) -> Result<Self, DecodeTagsError> {
        let _ = (bytes, count);
        todo!()
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

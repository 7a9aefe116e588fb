//! Reading stored bytes that may be anything: every length is checked before it is believed.

use std::ops::RangeInclusive;

/// Bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They end too early.
    #[error("{what}: {needed} bytes are needed, {left} are left")]
    Short {
        /// What was being read.
        what: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        left: usize,
    },
    /// They go on after the end.
    #[error("{what}: {left} bytes too many")]
    Long {
        /// What was read.
        what: &'static str,
        /// Bytes left over.
        left: usize,
    },
    /// They are of another version than this one.
    #[error("{what}: it is of version {found:?}, which is not known here")]
    Version {
        /// What was being read.
        what: &'static str,
        /// Its version.
        found: String,
    },
    /// A number is outside its range.
    #[error("{what} is {found}; {min} to {max} are possible")]
    Range {
        /// What the number is.
        what: &'static str,
        /// The number.
        found: u64,
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Something else is wrong.
    #[error("{what}: {reason}")]
    Wrong {
        /// What was being read.
        what: &'static str,
        /// What is wrong.
        reason: &'static str,
    },
}

/// Takes numbers and bytes off the front. Numbers are little-endian.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which are called `what` in errors.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], FormatError> {
        let short = FormatError::Short { what: self.what, needed: count, left: self.rest.len() };
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let short = FormatError::Short { what: self.what, needed: N, left: self.rest.len() };
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(short)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that follow, each of at least `least` bytes: a count that cannot be true is refused before
    /// anything is set aside for it.
    pub fn count(
        &mut self,
        name: &'static str,
        range: RangeInclusive<u32>,
        least: usize,
    ) -> Result<usize, FormatError> {
        let count = self.u32()?;
        self.within(name, count.into(), u64::from(*range.start()), u64::from(*range.end()))?;
        let needed = (count as usize).saturating_mul(least);
        if needed > self.rest.len() {
            return Err(FormatError::Short { what: name, needed, left: self.rest.len() });
        }
        Ok(count as usize)
    }

    /// Checks that a number lies in its range.
    pub fn within(&self, what: &'static str, found: u64, min: u64, max: u64) -> Result<(), FormatError> {
        if (min..=max).contains(&found) { Ok(()) } else { Err(FormatError::Range { what, found, min, max }) }
    }

    /// Text of at most `limit` bytes, preceded by its length in two bytes.
    pub fn text(&mut self, limit: u16) -> Result<&'a str, FormatError> {
        let length = self.u16()?;
        self.within("length of a text", length.into(), 0, limit.into())?;
        let bytes = self.take(length.into())?;
        std::str::from_utf8(bytes).map_err(|_| FormatError::Wrong { what: self.what, reason: "text is not UTF-8" })
    }

    /// Something that may be missing, preceded by 0 or 1.
    pub fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, FormatError>,
    ) -> Result<Option<T>, FormatError> {
        match self.u8()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            found => Err(FormatError::Range { what: "a flag", found: found.into(), min: 0, max: 1 }),
        }
    }

    /// Nothing may be left.
    pub fn end(self) -> Result<(), FormatError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FormatError::Long { what: self.what, left: self.rest.len() }) }
    }
}

/// Appends text, cut to `limit` bytes at a character's end.
pub fn write_text(out: &mut Vec<u8>, text: &str, limit: u16) {
    let text = &text[..text.floor_char_boundary(limit.into())];
    // Not longer than the limit, which fits.
    out.extend_from_slice(&(text.len() as u16).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Appends something that may be missing.
pub fn write_option<T>(out: &mut Vec<u8>, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        write(out, value);
    }
}

//! A module as a list of sections, to be changed without touching what is not.

use std::borrow::Cow;

use wasm_encoder::Encode;
use wasmparser::{BinaryReaderError, Parser, WasmFeatures};

pub(super) const TYPE: u8 = 1;
pub(super) const IMPORT: u8 = 2;
pub(super) const FUNCTION: u8 = 3;
pub(super) const MEMORY: u8 = 5;
pub(super) const GLOBAL: u8 = 6;
pub(super) const EXPORT: u8 = 7;
pub(super) const CODE: u8 = 10;

const CUSTOM: u8 = 0;
/// Sections in the order in which they must come: tags are 13, data counts 12.
const ORDER: [u8; 13] = [TYPE, IMPORT, FUNCTION, 4, MEMORY, 13, GLOBAL, EXPORT, 8, 9, 12, CODE, 11];

/// Sections by id, each without id and length. Custom sections are left out: nothing here depends on them.
pub(super) struct Sections<'a> {
    list: Vec<(u8, Cow<'a, [u8]>)>,
}

impl<'a> Sections<'a> {
    pub fn parse(wasm: &'a [u8]) -> Result<Self, BinaryReaderError> {
        let mut parser = Parser::new(0);
        parser.set_features(WasmFeatures::all());
        let mut list = Vec::new();
        for payload in parser.parse_all(wasm) {
            if let Some((id, range)) = payload?.as_section()
                && id != CUSTOM
            {
                list.push((id, Cow::Borrowed(&wasm[range])));
            }
        }
        Ok(Self { list })
    }

    /// Adds `count` entries at the end of a section that is a vector of entries, and makes the section if there is none.
    pub fn append(&mut self, id: u8, count: u32, entries: &[u8]) {
        let place = |id: u8| ORDER.iter().position(|known| *known == id);
        let at = match self.list.iter().position(|(present, _)| *present == id) {
            Some(at) => at,
            None => {
                let at = self.list.iter().position(|(present, _)| place(*present) > place(id));
                let at = at.unwrap_or(self.list.len());
                self.list.insert(at, (id, Cow::Borrowed(&[0])));
                at
            }
        };
        let old = &self.list[at].1;
        let (before, head) = count_of(old);
        let mut new = Vec::with_capacity(old.len() + entries.len() + 5);
        before.saturating_add(count).encode(&mut new);
        new.extend_from_slice(&old[head..]);
        new.extend_from_slice(entries);
        self.list[at].1 = Cow::Owned(new);
    }

    /// Puts other contents in the place of a section, which must be there.
    pub fn replace(&mut self, id: u8, contents: Vec<u8>) {
        if let Some((_, section)) = self.list.iter_mut().find(|(present, _)| *present == id) {
            *section = Cow::Owned(contents);
        }
    }

    /// The module again.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = b"\0asm\x01\0\0\0".to_vec();
        for (id, contents) in &self.list {
            out.push(*id);
            contents.encode(&mut out);
        }
        out
    }
}

/// The number a vector begins with, and how many bytes that takes.
fn count_of(vector: &[u8]) -> (u32, usize) {
    let len = vector.iter().position(|byte| byte & 0x80 == 0).map_or(vector.len(), |last| last + 1);
    let count = vector[..len]
        .iter()
        .enumerate()
        .fold(0, |value, (index, byte)| value | u64::from(byte & 0x7f) << (7 * index.min(5)));
    (count as u32, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_that_is_missing_is_made_in_its_place() {
        let wasm = wat::parse_str(r#"(module (memory (export "memory") 1) (func (export "f")))"#).unwrap();
        let mut sections = Sections::parse(&wasm).unwrap();
        sections.append(GLOBAL, 1, b"\x7f\x00\x41\x07\x0b");
        sections.append(EXPORT, 1, b"\x01g\x03\x00");
        let changed = sections.encode();
        wasmparser::validate(&changed).unwrap();
        assert_eq!(Sections::parse(&changed).unwrap().encode(), changed);
    }

    #[test]
    fn counts_may_be_padded() {
        assert_eq!(count_of(&[3]), (3, 1));
        assert_eq!(count_of(&[0x83, 0x80, 0x00, 9]), (3, 3));
        assert_eq!(count_of(&[0xff, 0x01]), (255, 2));
    }
}

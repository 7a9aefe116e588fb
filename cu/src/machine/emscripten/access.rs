//! Reading and writing guest memory from imports. Whatever lies outside ends the call as a trap would (spec 06 §5.3).

use wasmtime::{Caller, Trap};

use super::{
    errno::{ENAMETOOLONG, Errno},
    pointer::Pointer,
};
use crate::machine::host::Host;

/// An address outside memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutOfRange;

impl From<OutOfRange> for wasmtime::Error {
    fn from(_: OutOfRange) -> Self {
        Trap::MemoryOutOfBounds.into()
    }
}

/// Memory and host state of the calling instance.
pub(super) fn split<'a>(caller: &'a mut Caller<'_, Host>) -> wasmtime::Result<(&'a mut [u8], &'a mut Host)> {
    let memory = caller.data().memory.ok_or(Trap::MemoryOutOfBounds)?;
    Ok(memory.data_and_store_mut(caller))
}

/// Takes from the message's fuel for the bytes that an import is about to move or fill, one instruction each: otherwise a loop of few
/// instructions could move any number. Depends on the guest's arguments alone, so gas ends at the same place everywhere. Where fuel
/// is not counted, one call is bounded by its arguments' limits and many are by the wall clock.
pub(super) fn charge(caller: &mut Caller<'_, Host>, bytes: u64) -> wasmtime::Result<()> {
    if !caller.data().metered {
        return Ok(());
    }
    let fuel = caller.get_fuel()?;
    caller.set_fuel(fuel.saturating_sub(bytes))?;
    if bytes > fuel { Err(Trap::OutOfFuel.into()) } else { Ok(()) }
}

/// Little-endian access at 64-bit addresses.
pub(super) trait Access {
    fn slice(&self, at: u64, len: u64) -> Result<&[u8], OutOfRange>;
    fn slice_mut(&mut self, at: u64, len: u64) -> Result<&mut [u8], OutOfRange>;

    fn load<const N: usize>(&self, at: u64) -> Result<[u8; N], OutOfRange> {
        self.slice(at, N as u64)?.try_into().map_err(|_| OutOfRange)
    }

    fn store(&mut self, at: u64, bytes: &[u8]) -> Result<(), OutOfRange> {
        self.slice_mut(at, bytes.len() as u64)?.copy_from_slice(bytes);
        Ok(())
    }

    fn load_i32(&self, at: u64) -> Result<i32, OutOfRange> {
        self.load(at).map(i32::from_le_bytes)
    }

    fn load_i64(&self, at: u64) -> Result<i64, OutOfRange> {
        self.load(at).map(i64::from_le_bytes)
    }

    fn store_i16(&mut self, at: u64, value: i16) -> Result<(), OutOfRange> {
        self.store(at, &value.to_le_bytes())
    }

    fn store_i32(&mut self, at: u64, value: i32) -> Result<(), OutOfRange> {
        self.store(at, &value.to_le_bytes())
    }

    fn store_i64(&mut self, at: u64, value: i64) -> Result<(), OutOfRange> {
        self.store(at, &value.to_le_bytes())
    }

    /// A pointer-sized unsigned number.
    fn load_size<P: Pointer>(&self, at: u64) -> Result<u64, OutOfRange> {
        if P::wide() {
            self.load(at).map(u64::from_le_bytes)
        } else {
            self.load(at).map(u32::from_le_bytes).map(u64::from)
        }
    }

    fn store_size<P: Pointer>(&mut self, at: u64, value: u64) -> Result<(), OutOfRange> {
        if P::wide() { self.store(at, &value.to_le_bytes()) } else { self.store(at, &(value as u32).to_le_bytes()) }
    }

    /// The bytes from `at` to the next NUL or the end of memory; of more than `max`, the first `max + 1`, so that neither the
    /// look nor what is made of it depends on how far the guest's memory reaches.
    fn until_nul(&self, at: u64, max: usize) -> Result<&[u8], OutOfRange>;

    /// A NUL-terminated path or name of at most `max` bytes, else ENAMETOOLONG; what is not UTF-8 is replaced.
    fn text(&self, at: u64, max: usize) -> Result<Result<String, Errno>, OutOfRange> {
        let bytes = self.until_nul(at, max)?;
        Ok(if bytes.len() > max { Err(ENAMETOOLONG) } else { Ok(String::from_utf8_lossy(bytes).into_owned()) })
    }
}

impl Access for [u8] {
    fn slice(&self, at: u64, len: u64) -> Result<&[u8], OutOfRange> {
        let start = usize::try_from(at).map_err(|_| OutOfRange)?;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len)).ok_or(OutOfRange)?;
        self.get(start..end).ok_or(OutOfRange)
    }

    fn slice_mut(&mut self, at: u64, len: u64) -> Result<&mut [u8], OutOfRange> {
        let start = usize::try_from(at).map_err(|_| OutOfRange)?;
        let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len)).ok_or(OutOfRange)?;
        self.get_mut(start..end).ok_or(OutOfRange)
    }

    fn until_nul(&self, at: u64, max: usize) -> Result<&[u8], OutOfRange> {
        let start = usize::try_from(at).map_err(|_| OutOfRange)?;
        let rest = self.get(start..).ok_or(OutOfRange)?;
        let rest = &rest[..rest.len().min(max.saturating_add(1))];
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        Ok(&rest[..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_looked_at_no_further_than_they_may_be_long() {
        let memory = [&b"abc\0"[..], &[b'x'; 10], b"\xff"].concat();
        let memory = memory.as_slice();
        assert_eq!(memory.text(0, 3).unwrap(), Ok("abc".to_owned()));
        assert_eq!(memory.text(0, 2).unwrap(), Err(ENAMETOOLONG));
        assert_eq!(memory.until_nul(4, 5).unwrap(), b"xxxxxx");
        assert_eq!(memory.text(12, 5).unwrap(), Ok("xx\u{fffd}".to_owned()));
        assert_eq!(memory.text(15, usize::MAX).unwrap(), Ok(String::new()));
        assert!(memory.text(16, 5).is_err());
    }
}

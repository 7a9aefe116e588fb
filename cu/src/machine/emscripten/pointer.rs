//! The two pointer widths of modules.

use wasmtime::WasmTy;

use super::Exports;
use crate::machine::host::Host;

/// A guest pointer: `i32` in F4, `i64` in F64.
pub(in crate::machine) trait Pointer: WasmTy + Copy + 'static {
    /// Bytes in memory.
    const BYTES: u64;
    /// The address it stands for.
    fn address(self) -> u64;
    /// From an address or a size; the upper half is cut off where it does not fit.
    fn from_address(address: u64) -> Self;
    /// As a signed number.
    fn signed(self) -> i64;
    /// The exports of an instance of this width.
    fn exports(host: &Host) -> Option<Exports<Self>>;
    /// Largest heap from the third generation on, in bytes (spec 06 §4.4).
    const HEAP_MAX: u64;
    /// Name of the import that calls through the table with two pointers, and of the export that does the call.
    const INVOKE: (&'static str, &'static str);

    /// Whether pointers have 64 bits.
    fn wide() -> bool {
        Self::BYTES == 8
    }
}

impl Pointer for i32 {
    const BYTES: u64 = 4;
    const HEAP_MAX: u64 = 4_294_901_760;
    const INVOKE: (&'static str, &'static str) = ("invoke_vii", "dynCall_vii");

    fn address(self) -> u64 {
        u64::from(self as u32)
    }

    fn from_address(address: u64) -> Self {
        address as u32 as i32
    }

    fn signed(self) -> i64 {
        i64::from(self)
    }

    fn exports(host: &Host) -> Option<Exports<Self>> {
        host.narrow.clone()
    }
}

impl Pointer for i64 {
    const BYTES: u64 = 8;
    const HEAP_MAX: u64 = 17_179_869_184;
    const INVOKE: (&'static str, &'static str) = ("invoke_vjj", "dynCall_vjj");

    fn address(self) -> u64 {
        self as u64
    }

    fn from_address(address: u64) -> Self {
        address as i64
    }

    fn signed(self) -> i64 {
        self
    }

    fn exports(host: &Host) -> Option<Exports<Self>> {
        host.wide.clone()
    }
}

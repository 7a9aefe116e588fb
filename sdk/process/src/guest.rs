//! The exports of a compiled process: module format `wasm32-unknown-unknown-holon1`.
//!
//! The host calls `holon_alloc(len)` for the message text and again for the environment text, writes them there, calls
//! `holon_handle(message, message_len, environment, environment_len)` and reads the answer at `pointer << 32 | length`. All
//! texts are UTF-8 JSON. There are no imports, and everything a process remembers is in linear memory.
//!
//! Buffers are found again by their address in a table instead of being rebuilt from a raw pointer, so nothing here trusts
//! a number from outside and no memory is touched but by safe code.

use std::cell::RefCell;

use crate::{Process, runtime::Runtime};

/// Most buffers the host may hold at once. It needs two; older ones are dropped.
pub const BUFFER_LIMIT: usize = 8;
/// Buffers that are kept for the next message.
const KEPT_BUFFERS: usize = 2;
/// Longest buffer that is kept for the next message, in bytes.
const KEPT_BUFFER_BYTES: usize = 64 << 10;

/// What the host and the process hand each other.
#[derive(Debug, Default)]
pub struct Exchange {
    /// Handed out to the host.
    buffers: Vec<Vec<u8>>,
    /// Waiting to be handed out again.
    free: Vec<Vec<u8>>,
    answer: String,
}

impl Exchange {
    /// Nothing exchanged yet.
    pub const fn new() -> Self {
        Self { buffers: Vec::new(), free: Vec::new(), answer: String::new() }
    }

    /// Makes room for a text of `len` bytes and returns its address.
    pub fn alloc(&mut self, len: u32) -> u32 {
        let len = len as usize;
        if self.buffers.len() == BUFFER_LIMIT {
            self.buffers.remove(0);
        }
        let buffer = match self.free.iter().position(|buffer| buffer.len() > len) {
            Some(index) => self.free.swap_remove(index),
            // A little more, so that two empty buffers have different addresses and the next text most likely fits.
            None => vec![0; len + len / 4 + 1],
        };
        let address = address_of(&buffer);
        self.buffers.push(buffer);
        address
    }

    /// Handles the message at these addresses and returns the answer's `address << 32 | length`.
    pub fn handle<P: Process>(
        &mut self,
        runtime: &mut Runtime<P>,
        (message, message_len): (u32, u32),
        (environment, environment_len): (u32, u32),
    ) -> u64 {
        let Self { buffers, free, answer } = self;
        match (text(buffers, message, message_len), text(buffers, environment, environment_len)) {
            (Some(message), Some(environment)) => runtime.handle(message, environment, answer),
            _ => {
                answer.clear();
                answer.push_str(
                    r#"{"ok":false,"response":"message and environment must be texts in buffers of holon_alloc"}"#,
                );
            }
        }
        while let Some(buffer) = buffers.pop() {
            if buffer.len() <= KEPT_BUFFER_BYTES && free.len() < KEPT_BUFFERS {
                free.push(buffer);
            }
        }
        u64::from(address_of(answer.as_bytes())) << 32 | answer.len() as u64
    }
}

fn text(buffers: &[Vec<u8>], address: u32, len: u32) -> Option<&[u8]> {
    let buffer = buffers.iter().find(|buffer| address_of(buffer) == address)?;
    // The host has written here since: make sure the bytes are read, not remembered.
    std::hint::black_box(buffer).get(..len as usize)
}

/// Addresses have 32 bits where this is compiled to Wasm; elsewhere they are only used to tell buffers apart in tests.
fn address_of(bytes: &[u8]) -> u32 {
    bytes.as_ptr().expose_provenance() as u32
}

/// What an exported process keeps in linear memory.
#[derive(Debug)]
pub struct Exported<P> {
    exchange: RefCell<Exchange>,
    runtime: RefCell<Runtime<P>>,
}

impl<P: Process> Default for Exported<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Process> Exported<P> {
    /// A process that has not begun.
    pub const fn new() -> Self {
        Self { exchange: RefCell::new(Exchange::new()), runtime: RefCell::new(Runtime::new()) }
    }

    /// The export `holon_alloc`.
    pub fn alloc(&self, len: u32) -> u32 {
        self.exchange.borrow_mut().alloc(len)
    }

    /// The export `holon_handle`.
    pub fn handle(&self, message: (u32, u32), environment: (u32, u32)) -> u64 {
        self.exchange.borrow_mut().handle(&mut self.runtime.borrow_mut(), message, environment)
    }
}

/// Exports a [`Process`] from a `cdylib` compiled for `wasm32-unknown-unknown`; does nothing on other targets, so the same
/// crate is tested natively. Once per crate.
#[macro_export]
macro_rules! export {
    ($process:ty) => {
        #[cfg(all(target_family = "wasm", target_os = "unknown"))]
        const _: () = {
            ::std::thread_local! {
                static EXPORTED: $crate::guest::Exported<$process> = const { $crate::guest::Exported::new() };
            }

            // SAFETY: `no_mangle` asks that no other symbol of the program has this name; the prefix `holon_` belongs to this
            // module format, and the macro is used once per crate.
            #[unsafe(no_mangle)]
            extern "C" fn holon_alloc(len: u32) -> u32 {
                EXPORTED.with(|exported| exported.alloc(len))
            }

            // SAFETY: as above.
            #[unsafe(no_mangle)]
            extern "C" fn holon_handle(message: u32, message_len: u32, environment: u32, environment_len: u32) -> u64 {
                EXPORTED.with(|exported| exported.handle((message, message_len), (environment, environment_len)))
            }
        };
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Context, Error, Handlers};

    struct Silent;

    impl Process for Silent {
        fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
            Ok(Self)
        }

        fn handlers(_: &mut Handlers<Self>) {}
    }

    fn place(exchange: &mut Exchange, text: &str) -> (u32, u32) {
        let address = exchange.alloc(text.len() as u32);
        exchange.buffers.last_mut().unwrap()[..text.len()].copy_from_slice(text.as_bytes());
        (address, text.len() as u32)
    }

    #[test]
    fn texts_in_allocated_buffers_are_answered_and_the_buffers_freed() {
        let (mut exchange, mut runtime) = (Exchange::new(), Runtime::<Silent>::default());
        let message = place(&mut exchange, r#"{"Id":"p"}"#);
        let environment = place(&mut exchange, r#"{"Process":{"Id":"p"}}"#);
        let packed = exchange.handle(&mut runtime, message, environment);
        assert_eq!((packed & 0xffff_ffff) as usize, exchange.answer.len());
        assert!(exchange.answer.starts_with(r#"{"ok":true"#), "{}", exchange.answer);
        assert!(exchange.buffers.is_empty());
    }

    #[test]
    fn an_address_or_a_length_that_was_not_handed_out_is_refused() {
        let (mut exchange, mut runtime) = (Exchange::new(), Runtime::<Silent>::default());
        let (address, len) = place(&mut exchange, "{}");
        for message in [(address.wrapping_add(1), len), (address, len + 2), (0, 0)] {
            place(&mut exchange, "{}");
            exchange.handle(&mut runtime, message, (address, len));
            assert!(exchange.answer.starts_with(r#"{"ok":false"#), "{}", exchange.answer);
        }
    }

    #[test]
    fn a_host_that_never_calls_handle_does_not_fill_memory() {
        let mut exchange = Exchange::new();
        for _ in 0..100 {
            exchange.alloc(10);
        }
        assert_eq!(exchange.buffers.len(), BUFFER_LIMIT);
    }
}

//! Where the operating system may say no, so that tests can make it say so.

use std::io;

/// What is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// A file in memory.
    File,
    /// Writing to one.
    Write,
    /// Address space, and making it accessible.
    Space,
    /// Mapping a file.
    Map,
    /// Giving up private pages.
    Discard,
    /// Pages of its own for a mapping.
    Keep,
    /// Keeping a page from being written, or allowing it.
    Protect,
}

#[cfg(test)]
#[derive(Clone, Copy)]
struct Refusal {
    ask: Ask,
    /// How often it is granted before.
    granted: u32,
    /// How often it has been refused.
    refused: u32,
}

#[cfg(test)]
thread_local! {
    static REFUSAL: std::cell::Cell<Option<Refusal>> = const { std::cell::Cell::new(None) };
}

/// Refuses `ask` on this thread from now on, after granting it so often.
#[cfg(test)]
pub fn refuse(ask: Ask, granted: u32) {
    REFUSAL.set(Some(Refusal { ask, granted, refused: 0 }));
}

/// Refuses nothing any more; gives how often something was refused.
#[cfg(test)]
pub fn grant() -> u32 {
    REFUSAL.take().map_or(0, |refusal| refusal.refused)
}

/// Fails where a test wants it to.
#[cfg(test)]
pub fn check(ask: Ask) -> io::Result<()> {
    let Some(mut refusal) = REFUSAL.get().filter(|refusal| refusal.ask == ask) else { return Ok(()) };
    let granted = refusal.granted > 0;
    if granted {
        refusal.granted -= 1;
    } else {
        refusal.refused += 1;
    }
    REFUSAL.set(Some(refusal));
    if granted { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) }
}

/// Fails only in tests.
#[cfg(not(test))]
#[inline]
pub fn check(_ask: Ask) -> io::Result<()> {
    Ok(())
}

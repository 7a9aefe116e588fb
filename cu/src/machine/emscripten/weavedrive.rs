//! WeaveDrive's three imports: paths, descriptors and positions (spec 06 §9).

use std::{collections::HashMap, sync::Arc};

use wasmtime::{Caller, Linker};

use super::{
    access::{Access, charge, split},
    asyncify,
    files::{Kind, NodeId},
    pointer::Pointer,
};
use crate::machine::{
    Halt, HostFailure, Waiting,
    host::{Held, Host},
};

/// Longest path that is looked at, in bytes.
const MAX_PATH_BYTES: usize = 1024;
/// Most paths that a message may open.
const MAX_PATHS: usize = 1 << 16;
/// Bytes of transactions and blocks that a message may hold.
const MAX_HELD_BYTES: u64 = 256 << 20;

/// What a message has opened. A path is asked for once; later opens of the same message find the same file.
#[derive(Default)]
pub(super) struct Opened {
    nodes: HashMap<String, Option<NodeId>>,
    /// Bytes of the files that are held whole.
    held_bytes: u64,
    held: Held,
}

impl Opened {
    pub fn used(&self) -> bool {
        !self.nodes.is_empty()
    }

    /// Nothing, where `held` counts what is.
    pub fn new(held: &Held) -> Self {
        Self { held: held.clone(), ..Self::default() }
    }

    /// Takes note of one more file. The reference has no such limit, so there is no result beyond it.
    fn hold(&mut self, bytes: u64) -> Result<(), Halt> {
        self.held.change(0, bytes);
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if self.held_bytes > MAX_HELD_BYTES {
            let reason = format!("a message may hold {MAX_HELD_BYTES} bytes of transactions and blocks, not more");
            return Err(Halt { reason });
        }
        if self.nodes.len() >= MAX_PATHS {
            return Err(Halt { reason: format!("a message may open {MAX_PATHS} paths, not more") });
        }
        Ok(())
    }
}

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "__asyncjs__weavedrive_open", |mut caller: Caller<'_, Host>, path: P, _mode: P| {
        asyncify::sleep::<P>(&mut caller, |caller| {
            let (memory, host) = split(caller)?;
            let memory_bytes = memory.len();
            open(host, memory.until_nul(path.address(), MAX_PATH_BYTES)?, memory_bytes)
        })
    })?;
    linker.func_wrap("env", "__asyncjs__weavedrive_read", |mut caller: Caller<'_, Host>, fd: i32, to: P, len: P| {
        asyncify::sleep::<P>(&mut caller, |caller| read(caller, fd, to.address(), len.address()))
    })?;
    linker.func_wrap("env", "__asyncjs__weavedrive_close", |mut caller: Caller<'_, Host>, fd: i32| {
        asyncify::sleep::<P>(&mut caller, |caller| {
            // The guest ignores the answer, so an unknown descriptor is nobody's concern.
            let _ = caller.data_mut().emscripten.files().descriptors.close(fd);
            Ok(0)
        })
    })?;
    Ok(())
}

/// The path as drives know it, or none if no drive can have it. Every `require` of a Lua module probes several paths that end
/// here.
fn drive_path(path: &[u8]) -> Option<(String, bool)> {
    if path.len() > MAX_PATH_BYTES {
        return None;
    }
    let mut parts = std::str::from_utf8(path).ok()?.strip_prefix('/')?.split('/');
    let (category, id) = (parts.next()?, parts.next()?);
    if id.is_empty() {
        return None;
    }
    let whole = match category {
        "data" => false,
        "tx" | "block" => true,
        _ => return None,
    };
    Some((format!("/{category}/{id}"), whole))
}

/// The new descriptor, or 0 when there is no such file.
fn open(host: &mut Host, path: &[u8], memory_bytes: usize) -> wasmtime::Result<i32> {
    const NOT_FOUND: i32 = 0;
    let Some((path, whole)) = drive_path(path) else { return Ok(NOT_FOUND) };
    let Some(entry) = &host.entry else { return Ok(NOT_FOUND) };
    let state = &mut host.emscripten;
    let node = match state.drive.nodes.get(&path) {
        Some(node) => *node,
        None => {
            let mut waiting = Waiting::new(&host.watch.clock, memory_bytes);
            let file = host.drive.open(&path, &entry.drive_context(), &mut waiting)?;
            let held = file.as_ref().filter(|_| whole).map_or(0, |file| file.size());
            state.drive.hold(held).map_err(HostFailure::Halt)?;
            let files = state.files.open(state.generation);
            let node = file.and_then(|file| files.detached(Kind::Drive { file, whole }).ok());
            if node.is_some() {
                // Making the file takes a value of the date counter.
                state.date.tick();
            }
            state.drive.nodes.insert(path, node);
            node
        }
    };
    let Some(node) = node else { return Ok(NOT_FOUND) };
    Ok(state.files().descriptors.open(node, 0).unwrap_or(NOT_FOUND))
}

fn read(caller: &mut Caller<'_, Host>, fd: i32, to: u64, len: u64) -> wasmtime::Result<i32> {
    let files = caller.data_mut().emscripten.files();
    let Ok(open) = files.descriptors.get(fd).cloned() else { return Ok(0) };
    let Kind::Drive { file, whole } = &files.node(open.node).kind else { return Ok(0) };
    let size = file.size();
    // At the end reading starts over, as the reference does after a seek to the end.
    let start = if *whole || open.position >= size { 0 } else { open.position };
    let count = len.min(size - start);
    let (file, whole) = (Arc::clone(file), *whole);
    charge(caller, count)?;
    let (memory, host) = split(caller)?;
    let mut waiting = Waiting::new(&host.watch.clock, memory.len());
    let read = file.read(start, memory.slice_mut(to, count)?, &mut waiting)? as u64;
    if !whole && let Ok(open) = host.emscripten.files().descriptors.get_mut(fd) {
        open.position = start + read;
    }
    Ok(read as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_a_drive_reach_it() {
        let of = |path: &str| drive_path(path.as_bytes());
        assert_eq!(of("/data/abc"), Some(("/data/abc".to_owned(), false)));
        assert_eq!(of("/tx/abc/more"), Some(("/tx/abc".to_owned(), true)));
        assert_eq!(of("/block/12"), Some(("/block/12".to_owned(), true)));
        for path in ["/usr/local/share/lua/5.3/bit.lua", "./bit.lua", "/data", "/data/", "data/abc", "", "/headers/x"] {
            assert_eq!(of(path), None, "{path}");
        }
        assert_eq!(of(&format!("/data/{}", "x".repeat(MAX_PATH_BYTES))), None);
    }
}

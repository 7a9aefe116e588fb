//! Open files, and the imports that work on descriptors (spec 06 §4.5).

use sha2::{Digest, Sha256};
use wasmtime::{Caller, Linker};

use super::{
    Ended,
    access::{Access, charge, split},
    errno::*,
    files::{Kind, MAX_FILE_BYTES, NodeId},
    pointer::Pointer,
};
use crate::machine::{
    Waiting,
    format::Generation,
    host::{Entry, Host},
};

/// Descriptors a message may have open.
const MAX_DESCRIPTORS: usize = 4096;
/// Largest offset a JavaScript number holds exactly.
const MAX_OFFSET: i64 = 1 << 53;
/// Entries of one scattered read or write: POSIX's IOV_MAX.
const MAX_VECTORS: u64 = 1024;
/// Bytes of one read or write: POSIX's SSIZE_MAX where it is smallest.
const MAX_TRANSFER_BYTES: u64 = i32::MAX as u64;
/// A log line is cut here, in bytes.
const MAX_LINE_BYTES: usize = 4096;

const WASI: &str = "wasi_snapshot_preview1";

pub(super) const O_ACCMODE: i32 = 3;
const O_APPEND: i32 = 1024;

/// An open file; duplicates of a descriptor share it.
#[derive(Clone)]
pub(super) struct Open {
    pub node: NodeId,
    pub flags: i32,
    pub position: u64,
}

/// The table of descriptors.
#[derive(Default)]
pub(super) struct Descriptors {
    /// What each descriptor refers to, as an index into `open`.
    table: Vec<Option<usize>>,
    /// Open files, each with the number of descriptors that refer to it.
    open: Vec<(Open, u32)>,
    /// Places in `open` to which no descriptor refers.
    free: Vec<usize>,
    /// What was written to the terminal since the last line ended.
    line: Vec<u8>,
}

impl Descriptors {
    /// Input, output and errors.
    pub fn standard(terminals: [NodeId; 3]) -> Self {
        let open = terminals.iter().zip([0, 1, 1]).map(|(node, flags)| (Open { node: *node, flags, position: 0 }, 1));
        Self { table: vec![Some(0), Some(1), Some(2)], open: open.collect(), free: Vec::new(), line: Vec::new() }
    }

    fn index(&self, fd: i32) -> Result<usize, Errno> {
        usize::try_from(fd).ok().and_then(|fd| self.table.get(fd).copied().flatten()).ok_or(EBADF)
    }

    pub fn get(&self, fd: i32) -> Result<&Open, Errno> {
        self.index(fd).map(|index| &self.open[index].0)
    }

    pub fn get_mut(&mut self, fd: i32) -> Result<&mut Open, Errno> {
        self.index(fd).map(|index| &mut self.open[index].0)
    }

    /// The lowest free descriptor from `least` on.
    fn place(&mut self, least: i32, index: usize) -> Result<i32, Errno> {
        let least = usize::try_from(least).map_err(|_| EINVAL)?;
        let fd = (least..MAX_DESCRIPTORS).find(|fd| self.table.get(*fd).is_none_or(Option::is_none)).ok_or(EMFILE)?;
        if fd >= self.table.len() {
            self.table.resize(fd + 1, None);
        }
        self.table[fd] = Some(index);
        self.open[index].1 += 1;
        Ok(fd as i32)
    }

    /// Opens a node.
    pub fn open(&mut self, node: NodeId, flags: i32) -> Result<i32, Errno> {
        let open = (Open { node, flags, position: 0 }, 0);
        let index = match self.free.pop() {
            Some(index) => {
                self.open[index] = open;
                index
            }
            None => {
                self.open.push(open);
                self.open.len() - 1
            }
        };
        let placed = self.place(0, index);
        if placed.is_err() {
            self.free.push(index);
        }
        placed
    }

    /// Closes a descriptor.
    pub fn close(&mut self, fd: i32) -> Result<(), Errno> {
        let index = self.index(fd)?;
        self.table[fd as usize] = None;
        self.open[index].1 -= 1;
        if self.open[index].1 == 0 {
            self.free.push(index);
        }
        Ok(())
    }

    fn duplicate(&mut self, fd: i32, least: i32) -> Result<i32, Errno> {
        let index = self.index(fd)?;
        self.place(least, index)
    }

    fn duplicate_to(&mut self, fd: i32, to: i32) -> Result<i32, Errno> {
        let index = self.index(fd)?;
        let slot = usize::try_from(to).ok().filter(|to| *to < MAX_DESCRIPTORS).ok_or(EBADF)?;
        // The new reference first: closing `to` may drop the last other one.
        self.open[index].1 += 1;
        if self.index(to).is_ok() {
            self.close(to)?;
        }
        if slot >= self.table.len() {
            self.table.resize(slot + 1, None);
        }
        self.table[slot] = Some(index);
        Ok(to)
    }

    /// Logs what a process prints, line by line.
    fn print(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = MAX_LINE_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                tracing::debug!(line = %String::from_utf8_lossy(&self.line).trim_end(), "process printed");
                self.line.clear();
            }
        }
    }
}

/// Turns a result into what `__syscall_*` imports return.
pub(super) fn negated(result: Result<i32, Errno>) -> i32 {
    result.unwrap_or_else(|errno| -errno)
}

/// Turns a result into what `fd_*` imports return.
fn positive(result: Result<(), Errno>) -> i32 {
    result.map_or_else(|errno| errno, |()| 0)
}

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(WASI, "fd_close", |mut caller: Caller<'_, Host>, fd: i32| {
        positive(caller.data_mut().emscripten.files().descriptors.close(fd))
    })?;
    linker.func_wrap(WASI, "fd_sync", |mut caller: Caller<'_, Host>, fd: i32| {
        positive(caller.data_mut().emscripten.files().descriptors.get(fd).map(|_| ()))
    })?;
    linker.func_wrap(
        WASI,
        "fd_fdstat_get",
        |mut caller: Caller<'_, Host>, fd: i32, at: P| -> wasmtime::Result<i32> {
            let (memory, host) = split(&mut caller)?;
            let files = host.emscripten.files();
            let node = match files.descriptors.get(fd) {
                Ok(open) => open.node,
                Err(errno) => return Ok(errno),
            };
            let mut status = [0; 24];
            status[0] = match files.node(node).kind {
                Kind::Folder(_) => 3,
                Kind::Link(_) => 7,
                Kind::Terminal => 2,
                _ => 4,
            };
            memory.store(at.address(), &status)?;
            Ok(0)
        },
    )?;
    linker.func_wrap(WASI, "fd_write", |mut caller: Caller<'_, Host>, fd: i32, vectors: P, count: P, out: P| {
        let vectors = match vectors_of::<P>(&mut caller, vectors, count)? {
            Ok(vectors) => vectors,
            Err(errno) => return Ok(errno),
        };
        // Zeros between the end of the file and the position.
        let hole = gap(caller.data_mut(), fd);
        charge(&mut caller, hole)?;
        let (memory, host) = split(&mut caller)?;
        let mut total = 0;
        let mut result = Ok(());
        for (at, len) in vectors {
            match write(host, fd, memory.slice(at, len)?) {
                Ok(written) => total += written,
                Err(errno) => {
                    result = Err(errno);
                    break;
                }
            }
        }
        if result.is_ok() {
            memory.store_size::<P>(out.address(), total)?;
        }
        wasmtime::Result::Ok(positive(result))
    })?;
    linker.func_wrap(WASI, "fd_read", |mut caller: Caller<'_, Host>, fd: i32, vectors: P, count: P, out: P| {
        let vectors = match vectors_of::<P>(&mut caller, vectors, count)? {
            Ok(vectors) => vectors,
            Err(errno) => return Ok(errno),
        };
        let (memory, host) = split(&mut caller)?;
        let memory_bytes = memory.len();
        let mut total = 0;
        for (at, len) in vectors {
            match read(host, fd, memory.slice_mut(at, len)?, memory_bytes)? {
                Ok(read) => {
                    total += read;
                    if read < len {
                        break;
                    }
                }
                Err(errno) => return Ok(errno),
            }
        }
        memory.store_size::<P>(out.address(), total)?;
        wasmtime::Result::Ok(0)
    })?;
    linker.func_wrap("env", "__syscall_dup3", |mut caller: Caller<'_, Host>, fd: i32, to: i32, flags: i32| {
        let descriptors = &mut caller.data_mut().emscripten.files().descriptors;
        negated(match descriptors.get(fd) {
            Err(errno) => Err(errno),
            Ok(_) if flags != 0 || fd == to => Err(EINVAL),
            Ok(_) => descriptors.duplicate_to(fd, to),
        })
    })?;
    linker.func_wrap("env", "__syscall_fcntl64", control::<P>)?;
    linker.func_wrap("env", "__syscall_ioctl", device_control::<P>)?;
    Ok(())
}

/// Seeking with an offset that is handed over in halves where pointers have 32 bits.
pub(super) fn link_seek<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    if P::wide() {
        return link_whole_seek::<P>(linker);
    }
    let seek_halves = |caller: Caller<'_, Host>, fd: i32, low: i32, high: i32, whence: i32, out: i32| {
        seek(caller, fd, i64::from(high) << 32 | i64::from(low as u32), whence, out.address())
    };
    linker.func_wrap(WASI, "fd_seek", seek_halves)?;
    Ok(())
}

/// Seeking with an offset of 64 bits.
pub(super) fn link_whole_seek<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap(WASI, "fd_seek", |caller: Caller<'_, Host>, fd: i32, offset: i64, whence: i32, out: P| {
        seek(caller, fd, offset, whence, out.address())
    })?;
    Ok(())
}

/// The entries of an array of `iovec`, addresses and lengths, as they are before the call writes anything. What it will move is
/// bounded as POSIX does, and charged.
pub(super) fn vectors_of<P: Pointer>(
    caller: &mut Caller<'_, Host>,
    vectors: P,
    count: P,
) -> wasmtime::Result<Result<Vec<(u64, u64)>, Errno>> {
    if count.address() > MAX_VECTORS {
        return Ok(Err(EINVAL));
    }
    let (memory, _) = split(caller)?;
    let mut entries = Vec::with_capacity(count.address() as usize);
    let mut total = 0_u64;
    for index in 0..count.address() {
        let at = vectors.address().saturating_add(index * 2 * P::BYTES);
        let (start, len) = (memory.load_size::<P>(at)?, memory.load_size::<P>(at.saturating_add(P::BYTES))?);
        total = total.saturating_add(len);
        entries.push((start, len));
    }
    if total > MAX_TRANSFER_BYTES {
        return Ok(Err(EINVAL));
    }
    charge(caller, total)?;
    Ok(Ok(entries))
}

/// Bytes by which the next write to a file fills up what was never written, if there is room for them.
fn gap(host: &mut Host, fd: i32) -> u64 {
    let files = host.emscripten.files();
    match files.descriptors.get(fd) {
        Ok(open) if open.position <= MAX_FILE_BYTES && matches!(files.node(open.node).kind, Kind::File(_)) => {
            open.position.saturating_sub(files.size(open.node))
        }
        _ => 0,
    }
}

fn write(host: &mut Host, fd: i32, data: &[u8]) -> Result<u64, Errno> {
    let state = &mut host.emscripten;
    let files = state.files.open(state.generation);
    let open = files.descriptors.get(fd)?.clone();
    if open.flags & O_ACCMODE == 0 {
        return Err(EBADF);
    }
    if data.is_empty() {
        return Ok(0);
    }
    let mut now = || state.date.tick();
    match files.node(open.node).kind {
        Kind::Folder(_) => return Err(EISDIR),
        Kind::Link(_) | Kind::Drive { .. } => return Err(EINVAL),
        Kind::Terminal => {
            now();
            files.descriptors.print(data);
        }
        Kind::Null | Kind::Random => {
            now();
        }
        Kind::File(_) => {
            let position = if open.flags & O_APPEND != 0 { files.size(open.node) } else { open.position };
            files.write(open.node, position, data, now())?;
            files.descriptors.get_mut(fd)?.position = position + data.len() as u64;
        }
    }
    Ok(data.len() as u64)
}

/// The outer error is a drive's halt.
fn read(host: &mut Host, fd: i32, into: &mut [u8], memory_bytes: usize) -> wasmtime::Result<Result<u64, Errno>> {
    let state = &mut host.emscripten;
    let files = state.files.open(state.generation);
    let open = match files.descriptors.get(fd) {
        Ok(open) => open.clone(),
        Err(errno) => return Ok(Err(errno)),
    };
    if open.flags & O_ACCMODE == 1 {
        return Ok(Err(EBADF));
    }
    let count = match &files.node(open.node).kind {
        Kind::Folder(_) => return Ok(Err(EISDIR)),
        Kind::Link(_) => return Ok(Err(EINVAL)),
        Kind::Terminal | Kind::Null => 0,
        Kind::Random => {
            if !into.is_empty() {
                state.date.tick();
            }
            random_bytes(host, into);
            return Ok(Ok(into.len() as u64));
        }
        Kind::File(bytes) => {
            let start = (open.position as usize).min(bytes.len());
            let count = into.len().min(bytes.len() - start);
            into[..count].copy_from_slice(&bytes[start..start + count]);
            count
        }
        Kind::Drive { file, .. } => file.read(open.position, into, &mut Waiting::new(&mut host.clock, memory_bytes))?,
    };
    if let Ok(open) = files.descriptors.get_mut(fd) {
        open.position += count as u64;
    }
    Ok(Ok(count as u64))
}

/// The next bytes of the random stream.
pub(super) fn random_bytes(host: &mut Host, into: &mut [u8]) {
    let files = host.emscripten.files();
    let from = files.random_read;
    files.random_read += into.len() as u64;
    if let Some(entry) = host.entry.as_ref() {
        random(entry, from, into);
    }
}

/// The device `/dev/urandom` of a message: SHA-256(environment ‖ message ‖ block number), from byte `from` on. The reference gives
/// real randomness, on which no two hosts could agree.
fn random(entry: &Entry, from: u64, into: &mut [u8]) {
    const BLOCK: u64 = 32;
    let seed = Sha256::new().chain_update(&*entry.environment).chain_update(&*entry.message);
    let mut at = from;
    let mut rest = into;
    while !rest.is_empty() {
        let block = seed.clone().chain_update((at / BLOCK).to_le_bytes()).finalize();
        let start = (at % BLOCK) as usize;
        let count = rest.len().min(block.len() - start);
        let (now, later) = rest.split_at_mut(count);
        now.copy_from_slice(&block[start..start + count]);
        rest = later;
        at += count as u64;
    }
}

fn seek(mut caller: Caller<'_, Host>, fd: i32, offset: i64, whence: i32, out: u64) -> wasmtime::Result<i32> {
    let (memory, host) = split(&mut caller)?;
    if !(-MAX_OFFSET..=MAX_OFFSET).contains(&offset) {
        return Ok(EOVERFLOW);
    }
    let files = host.emscripten.files();
    let moved = (|| {
        let open = files.descriptors.get(fd)?;
        let from = match whence {
            _ if matches!(files.node(open.node).kind, Kind::Terminal) => return Err(ESPIPE),
            0 => 0,
            1 => open.position,
            2 => files.size(open.node),
            _ => return Err(EINVAL),
        };
        let position = i64::try_from(from).ok().and_then(|from| from.checked_add(offset)).ok_or(EOVERFLOW)?;
        u64::try_from(position).map_err(|_| EINVAL)
    })();
    let position = match moved {
        Ok(position) => position,
        Err(errno) => return Ok(errno),
    };
    if let Ok(open) = files.descriptors.get_mut(fd) {
        open.position = position;
    }
    memory.store_i64(out, position as i64)?;
    Ok(0)
}

fn control<P: Pointer>(mut caller: Caller<'_, Host>, fd: i32, command: i32, arguments: P) -> wasmtime::Result<i32> {
    const F_DUPFD: i32 = 0;
    const F_GETFL: i32 = 3;
    const F_SETFL: i32 = 4;
    const F_UNLOCKED: i16 = 2;
    let (memory, host) = split(&mut caller)?;
    // Locks: get, set, set and wait.
    let newer = host.emscripten.generation >= Generation::Third;
    let locks = if newer && !P::wide() { [12, 13, 14] } else { [5, 6, 7] };
    let descriptors = &mut host.emscripten.files().descriptors;
    let open = match descriptors.get_mut(fd) {
        Ok(open) => open,
        Err(errno) => return Ok(-errno),
    };
    let result = match command {
        F_DUPFD => match memory.load_i32(arguments.address())? {
            least if least < 0 => Err(EINVAL),
            least => descriptors.duplicate(fd, least),
        },
        1 | 2 => Ok(0),
        F_GETFL => Ok(open.flags),
        F_SETFL => {
            open.flags |= memory.load_i32(arguments.address())?;
            Ok(0)
        }
        command if command == locks[0] => {
            let lock = memory.load_size::<P>(arguments.address())?;
            memory.store_i16(lock, F_UNLOCKED)?;
            Ok(0)
        }
        command if locks.contains(&command) => Ok(0),
        _ => Err(EINVAL),
    };
    Ok(negated(result))
}

fn device_control<P: Pointer>(
    mut caller: Caller<'_, Host>,
    fd: i32,
    request: i32,
    arguments: P,
) -> wasmtime::Result<i32> {
    const TCGETA: i32 = 0x5405;
    const TCGETS: i32 = 0x5401;
    const TCSETS: std::ops::RangeInclusive<i32> = 0x5402..=0x5404;
    const TCSETA: std::ops::RangeInclusive<i32> = 0x5406..=0x5408;
    const TIOCGPGRP: i32 = 0x540F;
    const TIOCSPGRP: i32 = 0x5410;
    const TIOCGWINSZ: i32 = 0x5413;
    const TIOCSWINSZ: i32 = 0x5414;
    const FIONREAD: i32 = 0x541B;
    let (memory, host) = split(&mut caller)?;
    let aborts = host.emscripten.generation <= Generation::Second;
    let files = host.emscripten.files();
    let node = match files.descriptors.get(fd) {
        Ok(open) => open.node,
        Err(errno) => return Ok(-errno),
    };
    let known = matches!(request, TCGETA | TCGETS | TIOCGPGRP | TIOCSPGRP | TIOCGWINSZ | TIOCSWINSZ | FIONREAD)
        || TCSETS.contains(&request)
        || TCSETA.contains(&request);
    if !known && aborts {
        return Err(Ended::Aborted("Aborted(bad ioctl syscall)").into());
    }
    if !known {
        return Ok(-EINVAL);
    }
    // How much there is to read, no terminal of the loader can tell.
    if request == FIONREAD || !matches!(files.node(node).kind, Kind::Terminal) {
        return Ok(-ENOTTY);
    }
    if matches!(request, TIOCGWINSZ | TIOCGPGRP | TCGETS) {
        let at = memory.load_size::<P>(arguments.address())?;
        match request {
            TIOCGWINSZ => {
                memory.store_i16(at, 24)?;
                memory.store_i16(at.saturating_add(2), 80)?;
            }
            TIOCGPGRP => memory.store_i32(at, 0)?,
            // Terminal settings: none is set.
            _ => memory.slice_mut(at, 36)?.fill(0),
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use holon_protocol::Tags;

    use super::*;
    use crate::machine::host::CallTags;

    #[test]
    fn random_bytes_depend_on_the_message_and_not_on_how_they_are_read() {
        let entry = |message: &str| Entry {
            message: Arc::from(message),
            environment: Arc::from("environment"),
            block_height: 0,
            tags: Arc::new(CallTags { process: Tags::default(), module: Tags::default() }),
        };
        let mut whole = [0; 100];
        random(&entry("a"), 0, &mut whole);
        let mut pieces = [0; 100];
        for start in (0..100).step_by(7) {
            let end = (start + 7).min(100);
            random(&entry("a"), start as u64, &mut pieces[start..end]);
        }
        assert_eq!(whole, pieces);
        random(&entry("b"), 0, &mut pieces);
        assert_ne!(whole, pieces);
    }

    #[test]
    fn the_lowest_free_descriptor_is_given_and_duplicates_share_their_position() {
        let mut descriptors = Descriptors::standard([1, 1, 2]);
        let fd = descriptors.open(7, 2).unwrap();
        assert_eq!(fd, 3);
        let copy = descriptors.duplicate(fd, 10).unwrap();
        assert_eq!(copy, 10);
        descriptors.get_mut(copy).unwrap().position = 5;
        assert_eq!(descriptors.get(fd).unwrap().position, 5);
        descriptors.close(fd).unwrap();
        assert_eq!(descriptors.close(fd), Err(EBADF));
        assert_eq!(descriptors.open(8, 0).unwrap(), 3);
        assert_eq!(descriptors.get(copy).unwrap().node, 7);
        assert_eq!(descriptors.duplicate_to(copy, 1), Ok(1));
        assert_eq!(descriptors.get(1).unwrap().node, 7);
    }

    #[test]
    fn descriptors_run_out() {
        let mut descriptors = Descriptors::standard([1, 1, 2]);
        for _ in 3..MAX_DESCRIPTORS {
            descriptors.open(7, 0).unwrap();
        }
        assert_eq!(descriptors.open(7, 0), Err(EMFILE));
    }
}

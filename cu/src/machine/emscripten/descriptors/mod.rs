//! The imports that work on descriptors (spec 06 §4.5). What is open is in `table`, randomness in `random`.

mod random;
mod table;

use wasmtime::{Caller, Linker};

pub(super) use self::{random::random_bytes, table::Descriptors};

use super::{
    Ended,
    access::{Access, charge, split},
    errno::*,
    files::{Kind, MAX_FILE_BYTES},
    pointer::Pointer,
};
use crate::machine::{Waiting, format::Generation, host::Host};

/// Largest offset a JavaScript number holds exactly.
const MAX_OFFSET: i64 = 1 << 53;
/// Entries of one scattered read or write: POSIX's IOV_MAX.
const MAX_VECTORS: u64 = 1024;
/// Bytes of one read or write: POSIX's SSIZE_MAX where it is smallest.
const MAX_TRANSFER_BYTES: u64 = i32::MAX as u64;

const WASI: &str = "wasi_snapshot_preview1";

pub(super) const O_ACCMODE: i32 = 3;
const O_APPEND: i32 = 1024;

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
            random_bytes(host, into, memory_bytes)?;
            return Ok(Ok(into.len() as u64));
        }
        Kind::File(bytes) => {
            let start = (open.position as usize).min(bytes.len());
            let count = into.len().min(bytes.len() - start);
            into[..count].copy_from_slice(&bytes[start..start + count]);
            count
        }
        Kind::Drive { file, .. } => {
            file.read(open.position, into, &mut Waiting::new(&host.watch.clock, memory_bytes))?
        }
    };
    if let Ok(open) = files.descriptors.get_mut(fd) {
        open.position += count as u64;
    }
    Ok(Ok(count as u64))
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

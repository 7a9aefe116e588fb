//! System calls that take a path, and `stat` (spec 06 §4.5). They return −errno.

use wasmtime::{Caller, Linker};

use super::{
    Ended,
    access::{Access, charge, split},
    descriptors::{O_ACCMODE, negated},
    errno::*,
    files::{FileSystem, Kind, MAX_FILE_BYTES, MAX_PATH_BYTES, NodeId, ROOT},
    pointer::Pointer,
    stat::write_stat,
    state::Clock,
};
use crate::machine::{format::Generation, host::Host};

const AT_FDCWD: i32 = -100;
const AT_SYMLINK_NOFOLLOW: i32 = 0x100;
const AT_REMOVEDIR: i32 = 0x200;
const AT_EMPTY_PATH: i32 = 0x1000;
const O_CREAT: i32 = 64;
const O_EXCL: i32 = 128;
const O_TRUNC: i32 = 512;
const O_DIRECTORY: i32 = 65_536;
const O_NOFOLLOW: i32 = 131_072;

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "__syscall_openat", open::<P>)?;
    linker.func_wrap("env", "__syscall_unlinkat", |mut caller: Caller<'_, Host>, fd: i32, path: P, flags: i32| {
        let folder = match flags {
            0 => false,
            AT_REMOVEDIR => true,
            _ => return Err(Ended::Aborted("Aborted(Invalid flags passed to unlinkat)").into()),
        };
        at(&mut caller, fd, path, |files, base, path, date| {
            files.remove(base, path, folder, || date.tick()).map(|()| 0)
        })
    })?;
    linker.func_wrap("env", "__syscall_rmdir", |mut caller: Caller<'_, Host>, path: P| {
        at(&mut caller, AT_FDCWD, path, |files, base, path, date| {
            files.remove(base, path, true, || date.tick()).map(|()| 0)
        })
    })?;
    linker.func_wrap("env", "__syscall_renameat", rename::<P>)?;
    linker.func_wrap("env", "__syscall_readlinkat", read_link::<P>)?;
    linker.func_wrap("env", "__syscall_mkdirat", |mut caller: Caller<'_, Host>, fd: i32, path: P, mode: i32| {
        at(&mut caller, fd, path, |files, base, path, date| {
            let found = files.find(base, path, true)?;
            if found.node.is_some() {
                return Err(EEXIST);
            }
            files.create(&found, Kind::Folder(Default::default()), mode as u32 & 0o1777, date.tick()).map(|_| 0)
        })
    })?;
    linker.func_wrap(
        "env",
        "__syscall_faccessat",
        |mut caller: Caller<'_, Host>, fd: i32, path: P, mode: i32, _: i32| {
            if mode & !7 != 0 {
                return Ok(-EINVAL);
            }
            at(&mut caller, fd, path, |files, base, path, _| files.existing(base, path, true).map(|_| 0))
        },
    )?;
    linker.func_wrap("env", "__syscall_chmod", |mut caller: Caller<'_, Host>, path: P, mode: i32| {
        at(&mut caller, AT_FDCWD, path, |files, base, path, date| {
            let node = files.existing(base, path, true)?;
            set_mode(files, node, mode, date.tick());
            Ok(0)
        })
    })?;
    linker.func_wrap("env", "__syscall_fchmod", |mut caller: Caller<'_, Host>, fd: i32, mode: i32| {
        let state = &mut caller.data_mut().emscripten;
        let files = state.files.open(state.generation);
        negated(files.descriptors.get(fd).map(|open| open.node).map(|node| {
            set_mode(files, node, mode, state.date.tick());
            0
        }))
    })?;
    // Everything belongs to user 0, whatever anybody says; but saying so changes the node's time.
    linker.func_wrap("env", "__syscall_fchown32", |mut caller: Caller<'_, Host>, fd: i32, _: i32, _: i32| {
        let state = &mut caller.data_mut().emscripten;
        let files = state.files.open(state.generation);
        negated(files.descriptors.get(fd).map(|open| open.node).map(|node| {
            files.node_mut(node).time = state.date.tick();
            0
        }))
    })?;
    if P::wide() {
        linker.func_wrap("env", "__syscall_ftruncate64", |caller: Caller<'_, Host>, fd: i32, len: i64| {
            truncate(caller, fd, len)
        })?;
    } else {
        linker.func_wrap(
            "env",
            "__syscall_ftruncate64",
            |caller: Caller<'_, Host>, fd: i32, low: i32, high: i32| {
                truncate(caller, fd, i64::from(high) << 32 | i64::from(low as u32))
            },
        )?;
    }
    linker.func_wrap("env", "__syscall_getcwd", |mut caller: Caller<'_, Host>, buffer: P, size: P| {
        let (memory, _) = split(&mut caller)?;
        wasmtime::Result::Ok(match size.address() {
            0 => -EINVAL,
            1 => -ERANGE,
            _ => {
                memory.store(buffer.address(), b"/\0")?;
                2
            }
        })
    })?;
    linker.func_wrap("env", "__syscall_utimensat", set_times::<P>)?;
    link_stat::<P>(linker)
}

fn link_stat<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    linker.func_wrap("env", "__syscall_stat64", |caller: Caller<'_, Host>, path: P, buffer: P| {
        stat_at::<P>(caller, AT_FDCWD, path, buffer, 0)
    })?;
    linker.func_wrap("env", "__syscall_lstat64", |caller: Caller<'_, Host>, path: P, buffer: P| {
        stat_at::<P>(caller, AT_FDCWD, path, buffer, AT_SYMLINK_NOFOLLOW)
    })?;
    linker.func_wrap(
        "env",
        "__syscall_newfstatat",
        |caller: Caller<'_, Host>, fd: i32, path: P, buffer: P, flags: i32| {
            stat_at::<P>(caller, fd, path, buffer, flags)
        },
    )?;
    linker.func_wrap("env", "__syscall_fstat64", |mut caller: Caller<'_, Host>, fd: i32, buffer: P| {
        let (memory, host) = split(&mut caller)?;
        let generation = host.emscripten.generation;
        let files = host.emscripten.files();
        match files.descriptors.get(fd).map(|open| open.node) {
            Ok(node) => write_stat::<P>(memory, buffer.address(), files, node, generation),
            Err(errno) => Ok(-errno),
        }
    })?;
    Ok(())
}

/// The folder that relative paths of a call start from.
fn base(files: &FileSystem, fd: i32) -> Result<NodeId, Errno> {
    if fd == AT_FDCWD { Ok(ROOT) } else { files.descriptors.get(fd).map(|open| open.node) }
}

/// Runs `step` with the file system, the starting folder, the path and the date counter.
fn at<P: Pointer>(
    caller: &mut Caller<'_, Host>,
    fd: i32,
    path: P,
    step: impl FnOnce(&mut FileSystem, NodeId, &str, &mut Clock) -> Result<i32, Errno>,
) -> wasmtime::Result<i32> {
    let (memory, host) = split(caller)?;
    let path = memory.text(path.address(), MAX_PATH_BYTES)?;
    let state = &mut host.emscripten;
    let files = state.files.open(state.generation);
    let result = base(files, fd).and_then(|base| step(files, base, &path?, &mut state.date));
    Ok(negated(result))
}

fn open<P: Pointer>(mut caller: Caller<'_, Host>, fd: i32, path: P, flags: i32, arguments: P) -> wasmtime::Result<i32> {
    let (memory, _) = split(&mut caller)?;
    let mode = if arguments.address() == 0 { 0o666 } else { memory.load_i32(arguments.address())? };
    at(&mut caller, fd, path, |files, base, path, date| {
        let found = files.find(base, path, flags & O_NOFOLLOW == 0)?;
        let node = match found.node {
            Some(_) if flags & O_CREAT != 0 && flags & O_EXCL != 0 => return Err(EEXIST),
            Some(node) => {
                check_open(files, node, flags)?;
                if flags & O_TRUNC != 0 && matches!(files.node(node).kind, Kind::File(_)) {
                    files.truncate(node, 0, date.tick())?;
                }
                node
            }
            None if flags & O_CREAT != 0 => {
                let node = files.create(&found, Kind::File(Vec::new()), mode as u32, date.tick())?;
                if flags & O_DIRECTORY != 0 {
                    return Err(ENOTDIR);
                }
                node
            }
            None => return Err(ENOENT),
        };
        files.descriptors.open(node, flags & !(O_EXCL | O_TRUNC | O_NOFOLLOW))
    })
}

fn check_open(files: &FileSystem, node: NodeId, flags: i32) -> Result<(), Errno> {
    let folder = files.is_folder(node);
    if flags & O_DIRECTORY != 0 && !folder {
        return Err(ENOTDIR);
    }
    if matches!(files.node(node).kind, Kind::Link(_)) {
        return Err(ELOOP);
    }
    if folder && (flags & O_ACCMODE != 0 || flags & O_TRUNC != 0) {
        return Err(EISDIR);
    }
    Ok(())
}

fn rename<P: Pointer>(mut caller: Caller<'_, Host>, from_fd: i32, from: P, to_fd: i32, to: P) -> wasmtime::Result<i32> {
    let (memory, _) = split(&mut caller)?;
    let to = memory.text(to.address(), MAX_PATH_BYTES)?;
    at(&mut caller, from_fd, from, |files, from_base, from, date| {
        let to_base = base(files, to_fd)?;
        files.rename((from_base, from), (to_base, &to?), || date.tick()).map(|()| 0)
    })
}

fn read_link<P: Pointer>(mut caller: Caller<'_, Host>, fd: i32, path: P, buffer: P, size: P) -> wasmtime::Result<i32> {
    if size.signed() <= 0 {
        return Ok(-EINVAL);
    }
    let (memory, host) = split(&mut caller)?;
    let path = memory.text(path.address(), MAX_PATH_BYTES)?;
    let files = host.emscripten.files();
    let found = base(files, fd).and_then(|base| files.existing(base, &path?, false));
    match found.map(|node| &files.node(node).kind) {
        Err(errno) => Ok(-errno),
        Ok(Kind::Link(target)) => {
            let count = (target.len() as u64).min(size.address());
            memory.store(buffer.address(), &target.as_bytes()[..count as usize])?;
            Ok(count as i32)
        }
        Ok(_) => Ok(-EINVAL),
    }
}

fn set_mode(files: &mut FileSystem, node: NodeId, mode: i32, time: u64) {
    let node = files.node_mut(node);
    node.mode = mode as u32 & 0o7777;
    node.time = time;
}

fn truncate(mut caller: Caller<'_, Host>, fd: i32, len: i64) -> wasmtime::Result<i32> {
    charge(&mut caller, u64::try_from(len).unwrap_or(0).min(MAX_FILE_BYTES))?;
    let state = &mut caller.data_mut().emscripten;
    let files = state.files.open(state.generation);
    let truncated = (|| {
        let open = files.descriptors.get(fd)?;
        let len = u64::try_from(len).map_err(|_| EINVAL)?;
        if open.flags & O_ACCMODE == 0 {
            return Err(EINVAL);
        }
        let node = open.node;
        files.truncate(node, len, state.date.tick()).map(|()| 0)
    })();
    Ok(negated(truncated))
}

fn set_times<P: Pointer>(
    mut caller: Caller<'_, Host>,
    fd: i32,
    path: P,
    times: P,
    flags: i32,
) -> wasmtime::Result<i32> {
    let (memory, host) = split(&mut caller)?;
    let short = host.emscripten.generation <= Generation::Second;
    let given = if times.address() == 0 {
        None
    } else if short {
        let mut latest = 0;
        for index in 0..2 {
            let at = times.address().saturating_add(8 * index);
            let (seconds, nanoseconds) = (memory.load_i32(at)?, memory.load_i32(at.saturating_add(4))?);
            latest = latest.max(i64::from(seconds) * 1000 + i64::from(nanoseconds) / 1_000_000);
        }
        Some(u64::try_from(latest).unwrap_or(0))
    } else {
        let mut latest = 0;
        for index in 0..2 {
            let at = times.address().saturating_add(16 * index);
            let seconds = memory.load_i64(at)?;
            let nanoseconds = if P::wide() {
                memory.load_i64(at.saturating_add(8))?
            } else {
                i64::from(memory.load_i32(at.saturating_add(8))?)
            };
            let milliseconds = seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000);
            latest = latest.max(u64::try_from(milliseconds).unwrap_or(0));
        }
        Some(latest)
    };
    at(&mut caller, fd, path, |files, base, path, date| {
        let node = if path.is_empty() { base } else { files.existing(base, path, flags & AT_SYMLINK_NOFOLLOW == 0)? };
        files.node_mut(node).time = given.unwrap_or_else(|| date.tick());
        Ok(0)
    })
}

fn stat_at<P: Pointer>(mut caller: Caller<'_, Host>, fd: i32, path: P, buffer: P, flags: i32) -> wasmtime::Result<i32> {
    let (memory, host) = split(&mut caller)?;
    let path = memory.text(path.address(), MAX_PATH_BYTES)?;
    let generation = host.emscripten.generation;
    let files = host.emscripten.files();
    let node = base(files, fd).and_then(|base| {
        let path = path?;
        if path.is_empty() && flags & AT_EMPTY_PATH != 0 {
            return Ok(base);
        }
        files.existing(base, &path, flags & AT_SYMLINK_NOFOLLOW == 0)
    });
    match node {
        Ok(node) => write_stat::<P>(memory, buffer.address(), files, node, generation),
        Err(errno) => Ok(-errno),
    }
}

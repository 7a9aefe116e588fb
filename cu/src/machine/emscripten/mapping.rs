//! Files mapped into memory (spec 06 §4.3): a copy on the guest's heap, written back when it is unmapped. And libraries to be
//! loaded, of which there are none.

use wasmtime::{Caller, Linker};

use super::{
    Ended,
    access::{Access, charge, split},
    descriptors::O_ACCMODE,
    errno::{EBADF, Errno},
    files::Kind,
    pointer::Pointer,
};
use crate::machine::host::Host;

const EACCES: Errno = 2;
const ENODEV: Errno = 43;
const ENOMEM: Errno = 48;
const PROT_WRITE: i32 = 2;
const MAP_PRIVATE: i32 = 2;
/// Mappings begin at, and take up, multiples of this many bytes.
const GRAIN_BYTES: u64 = 65_536;

pub(super) fn link<P: Pointer>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    if P::wide() {
        linker.func_wrap(
            "env",
            "_munmap_js",
            |caller: Caller<'_, Host>, at: i64, len: i64, protection: i32, flags: i32, fd: i32, offset: i64| {
                unmap::<P>(caller, Mapped { at: at as u64, len: len as u64, protection, flags, fd, offset })
            },
        )?;
        return Ok(());
    }
    linker.func_wrap("env", "_mmap_js", map)?;
    linker.func_wrap(
        "env",
        "_munmap_js",
        |caller: Caller<'_, Host>, at: i32, len: i32, protection: i32, flags: i32, fd: i32, offset: i32| {
            let (at, len) = (at.address(), len.address());
            unmap::<P>(caller, Mapped { at, len, protection, flags, fd, offset: i64::from(offset) })
        },
    )?;
    linker.func_wrap("env", "_dlinit", |_: i32| {})?;
    let none = || -> wasmtime::Result<i32> {
        Err(Ended::Aborted("Aborted(To use dlopen, you need enable dynamic linking)").into())
    };
    linker.func_wrap("env", "_dlopen_js", move |_: i32| none())?;
    linker.func_wrap("env", "_dlsym_js", move |_: i32, _: i32| none())?;
    Ok(())
}

struct Mapped {
    at: u64,
    len: u64,
    protection: i32,
    flags: i32,
    fd: i32,
    offset: i64,
}

fn map(
    mut caller: Caller<'_, Host>,
    len: i32,
    protection: i32,
    flags: i32,
    fd: i32,
    offset: i32,
    allocated: i32,
) -> wasmtime::Result<i32> {
    let files = caller.data_mut().emscripten.files();
    let refusal = match files.descriptors.get(fd) {
        Err(errno) => Some(errno),
        Ok(open) => match open.flags & O_ACCMODE {
            mode if protection & PROT_WRITE != 0 && flags & MAP_PRIVATE == 0 && mode != 2 => Some(EACCES),
            1 => Some(EACCES),
            _ if !matches!(files.node(open.node).kind, Kind::File(_)) => Some(ENODEV),
            _ => None,
        },
    };
    if let Some(errno) = refusal {
        return Ok(-errno);
    }
    let len = len.address();
    let span = len.next_multiple_of(GRAIN_BYTES);
    charge(&mut caller, span)?;
    let align = i32::exports(caller.data()).and_then(|exports| exports.align);
    let align = align.ok_or(Ended::Aborted("Aborted(the module exports no emscripten_builtin_memalign)"))?;
    let at = align.call(&mut caller, (GRAIN_BYTES as i32, span as u32 as i32))?;
    if at == 0 {
        return Ok(-ENOMEM);
    }
    let (memory, host) = split(&mut caller)?;
    let place = memory.slice_mut(at.address(), span)?;
    place.fill(0);
    let files = host.emscripten.files();
    if let Ok(open) = files.descriptors.get(fd)
        && let Kind::File(bytes) = &files.node(open.node).kind
    {
        let start = usize::try_from(offset).unwrap_or(0).min(bytes.len());
        let count = (bytes.len() - start).min(len as usize);
        place[..count].copy_from_slice(&bytes[start..start + count]);
    }
    memory.store_i32(allocated.address(), 1)?;
    Ok(at)
}

fn unmap<P: Pointer>(mut caller: Caller<'_, Host>, mapped: Mapped) -> wasmtime::Result<i32> {
    let writes = mapped.protection & PROT_WRITE != 0;
    if writes {
        charge(&mut caller, mapped.len)?;
    }
    let (memory, host) = split(&mut caller)?;
    let state = &mut host.emscripten;
    let files = state.files.open(state.generation);
    let node = match files.descriptors.get(mapped.fd) {
        Ok(open) => open.node,
        // The older host does not look.
        Err(_) if !P::wide() => return Ok(0),
        Err(_) => return Ok(-EBADF),
    };
    if !writes {
        return Ok(0);
    }
    if !matches!(files.node(node).kind, Kind::File(_)) {
        return Ok(-ENODEV);
    }
    if mapped.flags & MAP_PRIVATE != 0 {
        return Ok(0);
    }
    let bytes = memory.slice(mapped.at, mapped.len)?;
    let position = u64::try_from(mapped.offset).unwrap_or(0);
    Ok(match files.write(node, position, bytes, state.date.tick()) {
        Ok(()) => 0,
        Err(errno) => -errno,
    })
}

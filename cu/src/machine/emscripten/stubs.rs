//! System calls of the first generation, which has no files: they pretend to succeed, or fail always (spec 06 §4.2).

use wasmtime::{Caller, Linker};

use super::{
    Ended,
    access::{Access, split},
    pointer::Pointer,
};
use crate::machine::host::Host;

const ENOSYS: i32 = 52;
const ESPIPE: i32 = 70;

pub(super) fn link(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap("env", "__syscall_dup3", |_: i32, _: i32, _: i32| 0_i32)?;
    linker.func_wrap("env", "__syscall_fcntl64", |_: i32, _: i32, _: i32| 0_i32)?;
    linker.func_wrap("env", "__syscall_ioctl", |_: i32, _: i32, _: i32| 0_i32)?;
    linker.func_wrap("env", "__syscall_lstat64", |_: i32, _: i32| 0_i32)?;
    linker.func_wrap("env", "__syscall_openat", |_: i32, _: i32, _: i32, _: i32| 0_i32)?;
    linker.func_wrap("env", "__syscall_renameat", |_: i32, _: i32, _: i32, _: i32| 0_i32)?;
    linker.func_wrap("env", "__syscall_rmdir", |_: i32| 0_i32)?;
    linker.func_wrap("env", "__syscall_unlinkat", |_: i32, _: i32, _: i32| 0_i32)?;
    linker.func_wrap(WASI, "fd_close", |_: i32| ENOSYS)?;
    linker.func_wrap(WASI, "fd_read", |_: i32, _: i32, _: i32, _: i32| ENOSYS)?;
    linker.func_wrap(WASI, "fd_seek", |_: i32, _: i32, _: i32, _: i32, _: i32| ESPIPE)?;
    linker.func_wrap(WASI, "fd_write", write)?;
    Ok(())
}

/// Counts what it drops. The loader has a place for lines of output and errors only, and fails over any other.
fn write(mut caller: Caller<'_, Host>, fd: i32, vectors: i32, count: i32, out: i32) -> wasmtime::Result<i32> {
    let vectors = match super::descriptors::vectors_of::<i32>(&mut caller, vectors, count)? {
        Ok(vectors) => vectors,
        Err(errno) => return Ok(errno),
    };
    let (memory, _) = split(&mut caller)?;
    let total: u64 = vectors.iter().map(|(_, len)| len).sum();
    if total > 0 && !matches!(fd, 1 | 2) {
        return Err(Ended::Aborted("Aborted(written to a file that is neither output nor errors)").into());
    }
    memory.store_size::<i32>(out.address(), total)?;
    Ok(0)
}

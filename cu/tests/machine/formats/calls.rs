//! What modules call: every import of a format, with arguments that work and some that do not.

use holon_cu::machine::Format;

use super::guest::{AT_FDCWD, Guest, TEXTS};

/// Time, environment and the rest that every format has.
pub fn common_calls(guest: &mut Guest) {
    let (count, size) = (guest.room(8), guest.room(8));
    guest.wasi("environ_sizes_get", "pp>i", &[count, size]);
    let (pointers, buffer) = (guest.room(64), guest.room(256));
    guest.wasi("environ_get", "pp>i", &[pointers, buffer]);
    let now = if guest.older() { "_emscripten_date_now" } else { "emscripten_date_now" };
    guest.env(now, ">d", &[]);
    guest.env(now, ">d", &[]);
    guest.env("_emscripten_get_now_is_monotonic", ">i", &[]);
    for time in [0, 1_700_000_000, -1, 951_782_400] {
        for name in ["_gmtime_js", "_localtime_js"] {
            let tm = guest.room(64);
            if guest.older() {
                let time = guest.words(&[time as i32]);
                guest.env(name, "pp>", &[time, tm]);
            } else if guest.wide {
                guest.env(name, "jp>", &[time, tm]);
            } else {
                guest.env(name, "iip>", &[time & 0xffff_ffff, time >> 32, tm]);
            }
        }
    }
    for tm in [
        [61, 59, 23, 0, 14, 121, 0, 0, -1],
        [0, 0, 0, 1, 0, 70 - 1900, 9, 9, 0],
        [0, 0, 0, 1, 0, 200, 9, 9, 1],
        [1, 2, 3, 4, 5, i32::MAX, 7, 8, 0],
    ] {
        let tm = guest.words(&tm);
        guest.env("_mktime_js", if guest.wide { "p>j" } else { "p>i" }, &[tm]);
    }
    let places: Vec<i64> = (0..4).map(|_| guest.room(32)).collect();
    for _ in 0..2 {
        if guest.older() {
            guest.env("_tzset_js", "ppp>", &places[..3]);
        } else {
            guest.env("_tzset_js", "pppp>", &places);
        }
    }
    let tm = guest.bytes(&[[20, 30, 12, 24, 1, 124, 6, 54, 0, 0].map(i32::to_le_bytes).concat(), vec![0; 40]].concat());
    for pattern in ["%Y-%m-%d %H:%M:%S %a %B %j %U %W %V %G %C %p %z|%Z", "%c %x %X %r %e %n %t %% %q"] {
        let (buffer, pattern) = (guest.room(128), guest.text(pattern));
        guest.env("strftime", "pppp>p", &[buffer, 100, pattern, tm]);
        guest.env("strftime", "pppp>p", &[buffer, 5, pattern, tm]);
    }
    let copy = match guest.format {
        Format::Emscripten1 | Format::Emscripten2 => "emscripten_memcpy_big",
        Format::Emscripten3 => "emscripten_memcpy_js",
        _ => "_emscripten_memcpy_js",
    };
    let from = guest.text("copied from here to there");
    let to = guest.room(64);
    guest.env(copy, "ppp>", &[to, from, 10]);
    guest.env(copy, "ppp>", &[to + 3, to, 12]);
    guest.env(copy, "ppp>", &[0x7fff_0000, from, 10]);
    guest.env(copy, "ppp>", &[64 * 65_536 - 4, from, 10]);
    let command = guest.text("exit 3");
    let system = if guest.older() { "system" } else { "_emscripten_system" };
    guest.env(system, "p>i", &[0]);
    // The loader of the fourth would run it.
    if guest.format != Format::Emscripten4 {
        guest.env(system, "p>i", &[command]);
    }
    if guest.older() {
        guest.env("getTempRet0", ">i", &[]);
        guest.env("setTempRet0", "i>", &[7]);
        guest.env("getTempRet0", ">i", &[]);
    }
    guest.env("emscripten_resize_heap", "p>i", &[5 << 20]);
    guest.call("metering", "usegas", "p>", &[1_000]);
    guest.call("metering", "usegas", "p>", &[234]);
}

/// What of the file system every format imports, the first included.
pub fn file_calls(guest: &mut Guest) {
    let (stdout, line) = (1, guest.text("a line\n"));
    let vector = guest.sizes(&[line, 7, line, 2]);
    let written = guest.room(8);
    guest.wasi("fd_write", "ippp>i", &[stdout, vector, 2, written]);
    // The first format has no other files: writing to one fails.
    let to = if guest.format == Format::Emscripten1 { [2, 2] } else { [99, 3] };
    guest.wasi("fd_write", "ippp>i", &[to[0], vector, 2, written]);
    let (path, mode) = (guest.text("/tmp/a file"), guest.words(&[0o644, 0]));
    const READ_WRITE_CREATE: i64 = 2 | 64;
    guest.env("__syscall_openat", "ipip>i", &[AT_FDCWD, path, READ_WRITE_CREATE, mode]);
    guest.wasi("fd_write", "ippp>i", &[to[1], vector, 2, written]);
    for (offset, whence) in [(1, 0), (2, 1), (-3, 2), (-100, 0), (0, 9), (1 << 40, 0), (2, 0)] {
        let at = guest.room(8);
        if guest.wide {
            guest.wasi("fd_seek", "ijip>i", &[3, offset, whence, at]);
        } else {
            guest.wasi("fd_seek", "iiiip>i", &[3, offset & 0xffff_ffff, offset >> 32, whence, at]);
        }
    }
    let (buffer, read) = (guest.room(32), guest.room(8));
    let into = guest.sizes(&[buffer, 3, buffer + 4, 20]);
    guest.wasi("fd_read", "ippp>i", &[3, into, 2, read]);
    let arguments = guest.words(&[10, 0, 0, 0]);
    for (fd, command) in [(3, 0), (3, 1), (3, 3), (3, 2), (99, 3), (3, 3), (3, 77)] {
        guest.env("__syscall_fcntl64", "iip>i", &[fd, command, arguments]);
    }
    let lock = guest.room(32);
    let lock = guest.sizes(&[lock, 0]);
    let commands = if guest.format == Format::Emscripten2 || guest.wide { [5, 6, 7] } else { [12, 13, 14] };
    for command in commands {
        guest.env("__syscall_fcntl64", "iip>i", &[3, command, lock]);
    }
    let window = guest.room(32);
    let window = guest.sizes(&[window, 0]);
    for (fd, request) in [(1, 0x5413), (3, 0x5413), (99, 0x5413), (1, 0x540F), (1, 0x5414), (1, 0x541B)] {
        guest.env("__syscall_ioctl", "iip>i", &[fd, request, window]);
    }
    guest.env("__syscall_dup3", "iii>i", &[3, 7, 0]);
    guest.env("__syscall_dup3", "iii>i", &[3, 3, 0]);
    guest.env("__syscall_dup3", "iii>i", &[99, 5, 0]);
    let other = guest.text("/tmp/another");
    guest.env("__syscall_renameat", "ipip>i", &[AT_FDCWD, path, AT_FDCWD, other]);
    guest.env("__syscall_renameat", "ipip>i", &[AT_FDCWD, path, AT_FDCWD, other]);
    guest.env("__syscall_unlinkat", "ipi>i", &[AT_FDCWD, path, 0]);
    let tmp = guest.text("/tmp");
    guest.env("__syscall_rmdir", "p>i", &[tmp]);
    guest.env("__syscall_unlinkat", "ipi>i", &[AT_FDCWD, other, 0]);
    guest.env("__syscall_rmdir", "p>i", &[tmp]);
    guest.wasi("fd_close", "i>i", &[3]);
    guest.wasi("fd_close", "i>i", &[3]);
    // Every event has moved the clock on.
    if !guest.older() {
        guest.env("emscripten_date_now", ">d", &[]);
    }
}

/// Calls of modules with SQLite.
pub fn more_file_calls(guest: &mut Guest) {
    let mode = guest.words(&[0o644, 0]);
    let base = guest.text("/home/web_user");
    let file = guest.text("/home/web_user/file");
    let folder = guest.text("/home/web_user/folder");
    let missing = guest.text("/none/at/all");
    const READ_WRITE_CREATE: i64 = 2 | 64;
    guest.env("__syscall_openat", "ipip>i", &[AT_FDCWD, file, READ_WRITE_CREATE, mode]);
    let line = guest.text("some text in a file");
    let vector = guest.sizes(&[line, 19]);
    let written = guest.room(8);
    guest.wasi("fd_write", "ippp>i", &[3, vector, 1, written]);
    guest.env("__syscall_mkdirat", "ipi>i", &[AT_FDCWD, folder, 0o755]);
    guest.env("__syscall_mkdirat", "ipi>i", &[AT_FDCWD, folder, 0o755]);
    guest.env("__syscall_chmod", "pi>i", &[file, 0o600]);
    guest.env("__syscall_fchmod", "ii>i", &[3, 0o640]);
    guest.env("__syscall_fchown32", "iii>i", &[3, 5, 6]);
    if guest.wide {
        guest.env("__syscall_ftruncate64", "ij>i", &[3, 9]);
    } else {
        guest.env("__syscall_ftruncate64", "iii>i", &[3, 9, 0]);
    }
    for path in [file, folder, missing] {
        let (stat, lstat, at) = (guest.room(128), guest.room(128), guest.room(128));
        // A folder that was there carries the loader's real clock.
        guest.env("__syscall_stat64", "pp>i", &[path, stat]);
        guest.env("__syscall_lstat64", "pp>i", &[path, lstat]);
        guest.env("__syscall_newfstatat", "ippi>i", &[AT_FDCWD, path, at, 0]);
        guest.env("__syscall_faccessat", "ipii>i", &[AT_FDCWD, path, 4, 0]);
        let (link, size) = (guest.room(64), 60);
        guest.env("__syscall_readlinkat", if guest.wide { "ippp>i" } else { "ippi>i" }, &[AT_FDCWD, path, link, size]);
    }
    let stat = guest.room(128);
    guest.env("__syscall_fstat64", "ip>i", &[3, stat]);
    let link = guest.text("/dev/stdout");
    let target = guest.room(64);
    guest.env("__syscall_readlinkat", if guest.wide { "ippp>i" } else { "ippi>i" }, &[AT_FDCWD, link, target, 60]);
    for size in [0, 1, 60] {
        let folder = guest.room(64);
        guest.env("__syscall_getcwd", "pp>i", &[folder, size]);
    }
    // Seconds of 64 bits, and of as many as a pointer.
    let times = if guest.wide {
        guest.sizes(&[100, 5_000_000, 200, 7_000_000])
    } else {
        guest.words(&[100, 0, 5_000_000, 0, 200, 0, 7_000_000, 0])
    };
    guest.env("__syscall_utimensat", "ippi>i", &[AT_FDCWD, file, times, 0]);
    let stat = guest.room(128);
    guest.env("__syscall_fstat64", "ip>i", &[3, stat]);
    guest.env("__syscall_utimensat", "ippi>i", &[AT_FDCWD, file, 0, 0]);
    let stat = guest.room(128);
    guest.env("__syscall_fstat64", "ip>i", &[3, stat]);
    for fd in [1, 3, 99] {
        let status = guest.room(32);
        guest.wasi("fd_fdstat_get", "ip>i", &[fd, status]);
        guest.wasi("fd_sync", "i>i", &[fd]);
    }
    guest.env("__syscall_unlinkat", "ipi>i", &[AT_FDCWD, base, 0x200]);
    guest.env("emscripten_get_heap_max", ">p", &[]);
    if guest.format == Format::Emscripten2 {
        let allocated = guest.room(8);
        const READ_AND_WRITE: i64 = 3;
        const SHARED: i64 = 1;
        guest.env("_mmap_js", "iiiiip>i", &[5, READ_AND_WRITE, SHARED, 3, 2, allocated]);
        guest.env("_mmap_js", "iiiiip>i", &[5, READ_AND_WRITE, SHARED, 99, 2, allocated]);
        guest.env("_mmap_js", "iiiiip>i", &[5, READ_AND_WRITE, SHARED, 1, 2, allocated]);
        guest.env("_munmap_js", "iiiiii>i", &[TEXTS as i64, 5, READ_AND_WRITE, SHARED, 3, 2]);
        guest.env("_munmap_js", "iiiiii>i", &[TEXTS as i64, 5, READ_AND_WRITE, SHARED, 99, 2]);
        let stat = guest.room(128);
        guest.env("__syscall_fstat64", "ip>i", &[3, stat]);
        guest.env("_dlinit", "i>", &[0]);
    } else if guest.wide {
        guest.env("_munmap_js", "ppiiij>i", &[TEXTS as i64, 5, 3, 1, 3, 2]);
        guest.env("_munmap_js", "ppiiij>i", &[TEXTS as i64, 5, 3, 1, 99, 2]);
    }
    let buffer = guest.room(64);
    let whole = guest.sizes(&[buffer, 60]);
    let read = guest.room(8);
    if guest.wide {
        guest.wasi("fd_seek", "ijip>i", &[3, 0, 0, read]);
    } else {
        guest.wasi("fd_seek", "iiiip>i", &[3, 0, 0, 0, read]);
    }
    guest.wasi("fd_read", "ippp>i", &[3, whole, 1, read]);
}

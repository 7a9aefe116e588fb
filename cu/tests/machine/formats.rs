//! Small modules of every official format, made here, that call each import of the format: what they leave in memory is byte for
//! byte what the published loader leaves (spec 06 §2–§4).

use std::{fmt::Write, fs, sync::Arc};

use holon_cu::machine::{Format, Limits, Machine, Module, NoDrive, Outcome};
use serde_json::{Value, json};

use super::{ENGINE, LIMITS, call, on_evaluation_thread, published};

/// What the reference's container would be told its program is (spec 06 §2).
const PROGRAM: &str = "/usr/app/src/effects/worker/evaluator/index.js";
const WASI: &str = "wasi_snapshot_preview1";
const AT_FDCWD: i64 = -100;

/// Where calls leave what they return, and where they are told to write.
const RESULTS: u64 = 0x1_0000;
const SCRATCH: u64 = 0x2_0000;
const TEXTS: u64 = 0x8_0000;
const STACK: u64 = 0x20_0000;
const HEAP: u64 = 0x20_0000;

/// A module in the making.
struct Guest {
    format: Format,
    wide: bool,
    imports: Vec<(String, String, String)>,
    body: String,
    data: String,
    results: u64,
    scratch: u64,
    texts: u64,
}

impl Guest {
    fn new(format: Format) -> Self {
        let wide = format == Format::Emscripten64Draft0215;
        let (imports, body, data) = Default::default();
        Self { format, wide, imports, body, data, results: RESULTS, scratch: SCRATCH, texts: TEXTS }
    }

    fn older(&self) -> bool {
        matches!(self.format, Format::Emscripten1 | Format::Emscripten2)
    }

    fn newest(&self) -> bool {
        matches!(self.format, Format::Emscripten4 | Format::Emscripten64Draft0215)
    }

    fn pointer(&self) -> &'static str {
        if self.wide { "i64" } else { "i32" }
    }

    /// Bytes somewhere in memory.
    fn bytes(&mut self, bytes: &[u8]) -> i64 {
        let at = self.texts;
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let pointer = self.pointer();
        writeln!(self.data, r#"(data ({pointer}.const {at}) "{escaped}")"#).unwrap();
        self.texts += (bytes.len() as u64 + 16) & !15;
        at as i64
    }

    fn text(&mut self, text: &str) -> i64 {
        self.bytes(&[text.as_bytes(), &[0]].concat())
    }

    fn words(&mut self, words: &[i32]) -> i64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    /// Numbers as wide as pointers.
    fn sizes(&mut self, sizes: &[i64]) -> i64 {
        let width = if self.wide { 8 } else { 4 };
        let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()[..width].to_vec()).collect();
        self.bytes(&bytes)
    }

    /// Room that a call may write to.
    fn room(&mut self, bytes: u64) -> i64 {
        let at = self.scratch;
        self.scratch += (bytes + 31) & !15;
        assert!(self.scratch < TEXTS);
        at as i64
    }

    /// Calls an import and keeps what it returns. The signature has a letter for each parameter and, after `>`, the result:
    /// i is i32, j i64, d f64, p a pointer.
    fn call(&mut self, module: &str, name: &str, signature: &str, arguments: &[i64]) {
        let type_of = |letter: char| match letter {
            'i' => "i32",
            'j' => "i64",
            'd' => "f64",
            'p' if self.wide => "i64",
            'p' => "i32",
            other => panic!("{other}"),
        };
        let (parameters, result) = signature.split_once('>').unwrap();
        assert_eq!(parameters.len(), arguments.len(), "{name}");
        let types: String = parameters.chars().map(|letter| format!("(param {}) ", type_of(letter))).collect();
        let result = result.chars().next().map(type_of);
        let ty = format!("{types}{}", result.map(|result| format!("(result {result})")).unwrap_or_default());
        let import = (module.to_owned(), name.to_owned(), ty);
        if !self.imports.contains(&import) {
            self.imports.push(import);
        }
        let values: String = parameters
            .chars()
            .zip(arguments)
            .map(|(letter, argument)| match type_of(letter) {
                "i32" => format!("(i32.const {})", *argument as i32),
                other => format!("({other}.const {argument})"),
            })
            .collect();
        let at = format!("({}.const {})", self.pointer(), self.results);
        self.results += 8;
        assert!(self.results < SCRATCH);
        let line = match result {
            None => format!("(call ${name} {values})"),
            Some(result) => format!("({result}.store {at} (call ${name} {values}))"),
        };
        writeln!(self.body, "{line}").unwrap();
    }

    fn env(&mut self, name: &str, signature: &str, arguments: &[i64]) {
        self.call("env", name, signature, arguments);
    }

    fn wasi(&mut self, name: &str, signature: &str, arguments: &[i64]) {
        self.call(WASI, name, signature, arguments);
    }

    /// The module as text, with the exports the format asks for.
    fn finish(mut self) -> String {
        let answer = self.text(r#"{"ok":true,"response":{"Output":"done","Messages":[]}}"#);
        let p = self.pointer();
        let [current, restore, alloc] = if self.newest() {
            ["emscripten_stack_get_current", "_emscripten_stack_restore", "_emscripten_stack_alloc"]
        } else {
            ["stackSave", "stackRestore", "stackAlloc"]
        };
        let [invoke, dyn_call] = if self.wide { ["invoke_vjj", "dynCall_vjj"] } else { ["invoke_vii", "dynCall_vii"] };
        let imports: String = self
            .imports
            .iter()
            .map(|(module, name, ty)| format!("(import \"{module}\" \"{name}\" (func ${name} {ty}))\n"))
            .collect();
        let start = if self.format == Format::Emscripten1 {
            String::new()
        } else {
            format!(
                r#"(func (export "emscripten_stack_init")
                     (global.set $base ({p}.const {STACK})) (global.set $end ({p}.const 1048576)))
                   (func (export "emscripten_stack_get_end") (result {p}) (global.get $end))"#
            )
        };
        let memory = if self.wide { "i64 64 512" } else { "64 512" };
        format!(
            r#"(module
  {imports}
  (import "env" "{invoke}" (func $protected (param {p} {p} {p})))
  (import "env" "_emscripten_throw_longjmp" (func $throw))
  (memory (export "memory") {memory})
  (type $two (func (param {p} {p})))
  (table (export "__indirect_function_table") 3 3 funcref)
  (elem (i32.const 1) $stores $throws)
  (global $stack (mut {p}) ({p}.const {STACK}))
  (global $base (mut {p}) ({p}.const 0))
  (global $end (mut {p}) ({p}.const 0))
  {data}
  {start}
  (func $stores (param {p} {p}) ({p}.store (local.get 0) (local.get 1)))
  (func $throws (param {p} {p}) (drop (call $alloc ({p}.const 64))) (call $stores (local.get 0) (local.get 1)) (call $throw))
  (func (export "{dyn_call}") (param i32 {p} {p})
    (call_indirect (type $two) (local.get 1) (local.get 2) (local.get 0)))
  (func (export "{current}") (result {p}) (global.get $stack))
  (func (export "{restore}") (param {p}) (global.set $stack (local.get 0)))
  (func $alloc (export "{alloc}") (param {p}) (result {p})
    (global.set $stack ({p}.and ({p}.sub (global.get $stack) (local.get 0)) ({p}.const -16)))
    (global.get $stack))
  (func $malloc (export "malloc") (param $size {p}) (result {p}) (local $at {p})
    (local.set $at ({p}.add ({p}.load ({p}.const 512)) ({p}.const {HEAP})))
    ({p}.store ({p}.const 512)
      ({p}.and ({p}.add ({p}.load ({p}.const 512)) ({p}.add (local.get $size) ({p}.const 31))) ({p}.const -16)))
    (local.get $at))
  (func (export "free") (param {p}))
  (func (export "emscripten_builtin_memalign") (param $align {p}) (param $size {p}) (result {p})
    (drop (call $malloc (local.get $size)))
    ({p}.const 0x300000))
  (func (export "fflush") (param {p}) (result i32)
    (i32.store ({p}.const 528) (i32.add (i32.load ({p}.const 528)) (i32.const 1))) (i32.const 0))
  (func (export "__errno_location") (result {p}) ({p}.const 544))
  (func (export "setTempRet0") (param i32) (i32.store ({p}.const 560) (local.get 0)))
  (func (export "_emscripten_tempret_set") (param i32) (i32.store ({p}.const 576) (local.get 0)))
  (func (export "setThrew") (param {p} i32)
    ({p}.store ({p}.const 592) (local.get 0)) (i32.store ({p}.const 600) (local.get 1)))
  (func (export "__wasm_call_ctors") (i32.store ({p}.const 608) (i32.const 11)))
  (func (export "main") (param i32 {p}) (result i32)
    (i32.store ({p}.const 624) (i32.add (local.get 0) (i32.const 100)))
    ({p}.store ({p}.const 632) (local.get 1))
    (i32.const 0))
  (func (export "handle") (param $message {p}) (param $environment {p}) (result {p})
    ({p}.store ({p}.const 640) (local.get $message))
    ({p}.store ({p}.const 648) (local.get $environment))
    (call $protected ({p}.const 1) ({p}.const 656) ({p}.const 77))
    ({p}.store ({p}.const 664) (global.get $stack))
    (call $protected ({p}.const 2) ({p}.const 672) ({p}.const 88))
    ({p}.store ({p}.const 680) (global.get $stack))
    {body}
    ({p}.const {answer})))"#,
            data = self.data,
            body = self.body,
        )
    }
}

/// Time, environment and the rest that every format has.
fn common_calls(guest: &mut Guest) {
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
fn file_calls(guest: &mut Guest) {
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
fn more_file_calls(guest: &mut Guest) {
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

/// The letters of the first format, in the order of spec 06 §4.2, each with the type it must have.
const LETTERS: [(&str, &str); 30] = [
    ("_emscripten_date_now", "(result f64)"),
    ("setTempRet0", "(param i32)"),
    ("fd_close", "(param i32) (result i32)"),
    ("__syscall_fcntl64", "(param i32) (param i32) (param i32) (result i32)"),
    ("__syscall_unlinkat", "(param i32) (param i32) (param i32) (result i32)"),
    ("fd_write", "(param i32) (param i32) (param i32) (param i32) (result i32)"),
    ("__syscall_openat", "(param i32) (param i32) (param i32) (param i32) (result i32)"),
    ("getTempRet0", "(result i32)"),
    ("_mktime_js", "(param i32) (result i32)"),
    ("_tzset_js", "(param i32) (param i32) (param i32)"),
    ("emscripten_memcpy_big", "(param i32) (param i32) (param i32)"),
    ("exit", "(param i32)"),
    ("system", "(param i32) (result i32)"),
    ("strftime", "(param i32) (param i32) (param i32) (param i32) (result i32)"),
    ("fd_seek", "(param i32) (param i32) (param i32) (param i32) (param i32) (result i32)"),
    ("_emscripten_throw_longjmp", ""),
    ("emscripten_resize_heap", "(param i32) (result i32)"),
    ("__syscall_lstat64", "(param i32) (param i32) (result i32)"),
    ("__syscall_renameat", "(param i32) (param i32) (param i32) (param i32) (result i32)"),
    ("__syscall_rmdir", "(param i32) (result i32)"),
    ("environ_get", "(param i32) (param i32) (result i32)"),
    ("environ_sizes_get", "(param i32) (param i32) (result i32)"),
    ("__syscall_dup3", "(param i32) (param i32) (param i32) (result i32)"),
    ("invoke_vii", "(param i32) (param i32) (param i32)"),
    ("fd_read", "(param i32) (param i32) (param i32) (param i32) (result i32)"),
    ("__syscall_ioctl", "(param i32) (param i32) (param i32) (result i32)"),
    ("_emscripten_get_now_is_monotonic", "(result i32)"),
    ("_gmtime_js", "(param i32) (param i32)"),
    ("_localtime_js", "(param i32) (param i32)"),
    ("abort", ""),
];

/// The text of a module with letters for names, and all imports there are.
fn minified(mut text: String) -> String {
    let letter = |index: usize| {
        let index = index as u8;
        char::from(if index < 26 { b'a' + index } else { b'A' + index - 26 })
    };
    for (index, (name, ty)) in LETTERS.iter().enumerate() {
        let import = format!("(import \"a\" \"{}\"", letter(index));
        let named = ["env", WASI].map(|module| format!("(import \"{module}\" \"{name}\""));
        match named.iter().find(|named| text.contains(named.as_str())) {
            Some(named) => text = text.replace(named, &import),
            None => text = text.replacen("(import", &format!("{import} (func ${name} {ty}))\n  (import"), 1),
        }
    }
    let exports = [
        "memory",
        "__wasm_call_ctors",
        "handle",
        "main",
        "__indirect_function_table",
        "malloc",
        "__errno_location",
        "setThrew",
        "stackSave",
        "stackRestore",
        "stackAlloc",
    ];
    for (index, name) in exports.iter().enumerate() {
        let letter = char::from(b'E' + index as u8);
        text = text.replace(&format!("(export \"{name}\")"), &format!("(export \"{letter}\")"));
    }
    text
}

fn compiled(format: Format, text: &str) -> (Vec<u8>, Module) {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let module = ENGINE.compile(&wasm, format).unwrap_or_else(|error| panic!("{error}"));
    (wasm, module)
}

/// Results and memory after each message, as the published loader has them.
fn by_the_loader(format: Format, wasm: &[u8], messages: &[String], environment: &str) -> Vec<(Value, Option<Vec<u8>>)> {
    let folder = tempfile::tempdir().unwrap();
    let [module, log, memory] = ["module.wasm", "log.json", "memory"].map(|name| folder.path().join(name));
    fs::write(&module, wasm).unwrap();
    let description = json!({ "messages": messages, "environment": environment, "program": PROGRAM });
    fs::write(&log, description.to_string()).unwrap();
    let arguments = [module.as_os_str(), format.as_str().as_ref(), log.as_os_str(), memory.as_os_str()];
    let answers = published::loader_answers("loader-memory.mjs", &arguments);
    let memory_of = |index| fs::read(folder.path().join(format!("memory.{index}"))).ok();
    answers.into_iter().enumerate().map(|(index, answer)| (answer, memory_of(index))).collect()
}

/// What differs, so that a person can see which call it was.
fn differences(ours: &[u8], theirs: &[u8]) -> Vec<String> {
    let words = |memory: &[u8], at: usize| memory.get(at..at + 8).map(<[u8]>::to_vec);
    (0..ours.len().max(theirs.len()))
        .step_by(8)
        .filter(|at| words(ours, *at) != words(theirs, *at))
        .take(40)
        .map(|at| format!("{at:#x}: ours {:02x?}, theirs {:02x?}", words(ours, at), words(theirs, at)))
        .collect()
}

fn compare(format: Format, calls: &[fn(&mut Guest)]) {
    let mut guest = Guest::new(format);
    for calls in calls {
        calls(&mut guest);
    }
    let body = guest.body.clone();
    let text = guest.finish();
    let text = if format == Format::Emscripten1 { minified(text) } else { text };
    let (wasm, module) = compiled(format, &text);
    on_evaluation_thread(move || {
        // In characters of one to four bytes. One message, since the loader keeps files and clock for the next.
        let message = r#"{"Id":"first","Data":"aé€😀"}"#;
        let environment = r#"{"Process":{"Id":"ö"}}"#;
        let mut machine = Machine::new(&module, LIMITS, Arc::new(NoDrive)).unwrap();
        let evaluation = machine.apply(&call(message, environment)).unwrap();
        assert!(matches!(&evaluation.outcome, Outcome::Ok(_)), "{format}: {:?}", evaluation.outcome);
        let (answer, memory) = by_the_loader(format, &wasm, &[message.to_owned()], environment).remove(0);
        assert_eq!(answer["Output"], "done", "{format}: {answer}");
        assert_eq!(evaluation.gas_used, answer["GasUsed"], "{format}");
        let different = differences(&machine.copy_memory(), &memory.unwrap());
        let lines: Vec<String> = body.lines().map(str::to_owned).collect();
        let calls: String = different
            .iter()
            .filter_map(|line| u64::from_str_radix(line.split(':').next()?.strip_prefix("0x")?, 16).ok())
            .flat_map(|at| lines.iter().filter(move |line| line.contains(&format!(".const {at})"))))
            .fold(String::new(), |all, line| all + line + "\n");
        assert!(different.is_empty(), "{format}: {different:#?}\n{calls}");
    });
}

#[test]
fn the_first_format_is_the_loaders() {
    compare(Format::Emscripten1, &[common_calls, file_calls]);
}

#[test]
fn the_second_format_is_the_loaders() {
    compare(Format::Emscripten2, &[common_calls, file_calls]);
    compare(Format::Emscripten2, &[common_calls, more_file_calls]);
}

#[test]
fn the_third_format_is_the_loaders() {
    compare(Format::Emscripten3, &[common_calls, file_calls]);
    compare(Format::Emscripten3, &[common_calls, more_file_calls]);
}

#[test]
fn the_fourth_format_is_the_loaders() {
    compare(Format::Emscripten4, &[common_calls, file_calls]);
    compare(Format::Emscripten4, &[common_calls, more_file_calls]);
}

#[test]
fn the_64_bit_format_is_the_loaders() {
    compare(Format::Emscripten64Draft0215, &[common_calls, file_calls]);
    compare(Format::Emscripten64Draft0215, &[common_calls, more_file_calls]);
}

/// A module that counts its own gas, as those of the first two formats do that count at all.
#[test]
fn a_module_that_counts_its_own_gas_stops_above_the_limit_and_not_at_it() {
    let mut guest = Guest::new(Format::Emscripten2);
    guest.call("metering", "usegas", "i>", &[600]);
    guest.call("metering", "usegas", "i>", &[400]);
    let (_, module) = compiled(Format::Emscripten2, &guest.finish());
    on_evaluation_thread(move || {
        for (compute, expected) in [(1_000, true), (999, false)] {
            let limits = Limits { compute, ..LIMITS };
            let mut machine = Machine::new(&module, limits, Arc::new(NoDrive)).unwrap();
            let before = machine.copy_memory();
            for _ in 0..2 {
                let evaluation = machine.apply(&call("{}", "{}")).unwrap();
                assert_eq!(evaluation.gas_used, 1_000);
                match evaluation.outcome {
                    Outcome::Ok(_) => assert!(expected),
                    outcome => assert_eq!((outcome, expected), (Outcome::Thrown("out of gas!".into()), false)),
                }
            }
            assert_eq!(before == machine.copy_memory(), !expected);
        }
    });
}

/// Protected calls of other signatures than Lua's give the result, or nothing and the sign that something was thrown.
#[test]
fn protected_calls_of_any_signature_come_back() {
    for (format, thrower, [ok, error]) in [(Format::Emscripten2, 2, [0x5a, 0]), (Format::Emscripten4, 2, [0x5a, 0])] {
        let mut guest = Guest::new(format);
        guest.env("invoke_iij", "iij>i", &[3, 80, 10]);
        guest.env("invoke_iij", "iij>i", &[4, 80, 10]);
        guest.env("invoke_vii", "iii>", &[thrower, 700, 5]);
        let text = guest.finish().replace(
            "(elem (i32.const 1) $stores $throws)",
            "(elem (i32.const 1) $stores $throws $adds $fails)
             (func $adds (param i32 i64) (result i32) (i32.add (local.get 0) (i32.wrap_i64 (local.get 1))))
             (func $fails (param i32 i64) (result i32) (call $throw) (i32.const 1))",
        );
        let text = text.replace(") 3 3 funcref", ") 5 5 funcref").replacen(
            "(import \"env\" \"invoke_vii\" (func $protected (param i32 i32 i32)))",
            "",
            1,
        );
        let text = text.replace("$protected", "$invoke_vii");
        let (_, module) = compiled(format, &text);
        on_evaluation_thread(move || {
            let mut machine = Machine::new(&module, LIMITS, Arc::new(NoDrive)).unwrap();
            let outcome = machine.apply(&call("{}", "{}")).unwrap().outcome;
            assert!(matches!(outcome, Outcome::Ok(_)), "{format}: {outcome:?}");
            let memory = machine.copy_memory();
            let word = |at: u64| i32::from_le_bytes(memory[at as usize..at as usize + 4].try_into().unwrap());
            assert_eq!([word(RESULTS), word(RESULTS + 8)], [ok, error]);
            // Thrown, and what the function did before.
            assert_eq!([word(592), word(700)], [1, 5]);
        });
    }
}

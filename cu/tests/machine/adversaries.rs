//! Guests that call every import with whatever arguments, in whatever order, and whose own functions, which imports call back, throw,
//! trap, lie, grow memory or call imports again: each message ends as a result, and never as a failure of the host.

use std::{fmt::Write, sync::Arc};

use holon_cu::machine::{
    Call, Drive, DriveContext, DriveFile, Format, HostFailure, Machine, NoDrive, Outcome, Waiting,
};

use super::{ENGINE, LIMITS, NO_TAGS, on_evaluation_thread, random::Random};

const WASI: &str = "wasi_snapshot_preview1";
const PAGES: u64 = 24;
const MEMORY_BYTES: u64 = PAGES << 16;
/// Calls of one message.
const CALLS: usize = 12;
/// Parameters of the import that has most.
const ARGUMENTS: usize = 6;
/// Ways in which the guest's own functions behave.
const HABITS: u64 = 8;

/// Formats in which an import has this signature: letters as in the text format, p for a pointer.
const OLD: &[Format] = &[Format::Emscripten2];
const OLDER: &[Format] = &[Format::Emscripten2, Format::Emscripten3];
const NEWER: &[Format] = &[Format::Emscripten3, Format::Emscripten4, Format::Emscripten64Draft0215];
const NEWEST: &[Format] = &[Format::Emscripten4, Format::Emscripten64Draft0215];
const NARROW: &[Format] = &[Format::Emscripten2, Format::Emscripten3, Format::Emscripten4];
const NEW_NARROW: &[Format] = &[Format::Emscripten3, Format::Emscripten4];
const WIDE: &[Format] = &[Format::Emscripten64Draft0215];
const WASIS: &[Format] = &[Format::Wasi32, Format::Wasi64];
const OFFICIAL: &[Format] =
    &[Format::Emscripten2, Format::Emscripten3, Format::Emscripten4, Format::Emscripten64Draft0215];
const ALL: &[Format] = &[
    Format::Emscripten2,
    Format::Emscripten3,
    Format::Emscripten4,
    Format::Emscripten64Draft0215,
    Format::Wasi32,
    Format::Wasi64,
];

const IMPORTS: &[(&[Format], &str, &str, &str)] = &[
    (ALL, "env", "exit", "i>"),
    (ALL, "env", "_abort_js", ">"),
    (ALL, "env", "__assert_fail", "ppip>"),
    (ALL, "env", "__cxa_throw", "ppp>"),
    (ALL, "env", "_emscripten_throw_longjmp", ">"),
    (ALL, "env", "_emscripten_system", "p>i"),
    (ALL, "env", "emscripten_err", "p>"),
    (OLDER, "env", "abort", ">"),
    (OLDER, "env", "system", "p>i"),
    (OLDER, "env", "getTempRet0", ">i"),
    (OLDER, "env", "setTempRet0", "i>"),
    (OFFICIAL, "env", "emscripten_resize_heap", "p>i"),
    (OFFICIAL, "env", "emscripten_get_heap_max", ">p"),
    (OFFICIAL, "env", "emscripten_memcpy_big", "ppp>"),
    (OFFICIAL, "env", "_emscripten_get_now_is_monotonic", ">i"),
    (OLD, "env", "_emscripten_date_now", ">d"),
    (NEWER, "env", "emscripten_date_now", ">d"),
    (OFFICIAL, "env", "emscripten_get_now", ">d"),
    (OLD, "env", "_gmtime_js", "pp>"),
    (NEW_NARROW, "env", "_gmtime_js", "iip>"),
    (WIDE, "env", "_gmtime_js", "jp>"),
    (OLD, "env", "_localtime_js", "pp>"),
    (NEW_NARROW, "env", "_localtime_js", "iip>"),
    (WIDE, "env", "_localtime_js", "jp>"),
    (OFFICIAL, "env", "_mktime_js", "p>p"),
    (OLD, "env", "_tzset_js", "ppp>"),
    (NEWER, "env", "_tzset_js", "pppp>"),
    (OFFICIAL, "env", "strftime", "pppp>p"),
    (OFFICIAL, "env", "strftime_l", "ppppp>p"),
    (ALL, WASI, "environ_sizes_get", "pp>i"),
    (ALL, WASI, "environ_get", "pp>i"),
    (ALL, WASI, "fd_close", "i>i"),
    (ALL, WASI, "fd_sync", "i>i"),
    (ALL, WASI, "fd_fdstat_get", "ip>i"),
    (ALL, WASI, "fd_write", "ippp>i"),
    (ALL, WASI, "fd_read", "ippp>i"),
    (NARROW, WASI, "fd_seek", "iiiip>i"),
    (WIDE, WASI, "fd_seek", "ijip>i"),
    (WASIS, WASI, "fd_seek", "ijip>i"),
    (ALL, "env", "__syscall_dup3", "iii>i"),
    (ALL, "env", "__syscall_fcntl64", "iip>i"),
    (ALL, "env", "__syscall_ioctl", "iip>i"),
    (ALL, "env", "__syscall_openat", "ipip>i"),
    (ALL, "env", "__syscall_unlinkat", "ipi>i"),
    (ALL, "env", "__syscall_rmdir", "p>i"),
    (ALL, "env", "__syscall_renameat", "ipip>i"),
    (ALL, "env", "__syscall_readlinkat", "ippp>i"),
    (ALL, "env", "__syscall_mkdirat", "ipi>i"),
    (ALL, "env", "__syscall_faccessat", "ipii>i"),
    (ALL, "env", "__syscall_chmod", "pi>i"),
    (ALL, "env", "__syscall_fchmod", "ii>i"),
    (ALL, "env", "__syscall_fchown32", "iii>i"),
    (NARROW, "env", "__syscall_ftruncate64", "iii>i"),
    (WIDE, "env", "__syscall_ftruncate64", "ij>i"),
    (ALL, "env", "__syscall_getcwd", "pp>i"),
    (ALL, "env", "__syscall_utimensat", "ippi>i"),
    (ALL, "env", "__syscall_stat64", "pp>i"),
    (ALL, "env", "__syscall_lstat64", "pp>i"),
    (ALL, "env", "__syscall_newfstatat", "ippi>i"),
    (ALL, "env", "__syscall_fstat64", "ip>i"),
    (NARROW, "env", "_mmap_js", "iiiiii>i"),
    (NARROW, "env", "_munmap_js", "iiiiii>i"),
    (WIDE, "env", "_munmap_js", "jjiiij>i"),
    (NARROW, "env", "_dlinit", "i>"),
    (NARROW, "env", "_dlopen_js", "i>i"),
    (NARROW, "env", "_dlsym_js", "ii>i"),
    (NEWEST, "env", "__asyncjs__weavedrive_open", "pp>i"),
    (NEWEST, "env", "__asyncjs__weavedrive_read", "ipp>i"),
    (NEWEST, "env", "__asyncjs__weavedrive_close", "i>i"),
    (OFFICIAL, "env", "metering_gasUsed", ">i"),
    (ALL, "env", "invoke_vii", "pii>"),
    (ALL, "env", "invoke_vjj", "pjj>"),
    (ALL, "env", "invoke_iij", "pij>i"),
    (ALL, "env", "invoke_jd", "pd>j"),
    (WASIS, WASI, "random_get", "pp>i"),
    (WASIS, WASI, "clock_time_get", "ijp>i"),
    (WASIS, WASI, "proc_exit", "i>"),
    (WASIS, WASI, "args_sizes_get", "pp>i"),
    (WASIS, WASI, "args_get", "pp>i"),
    (WASIS, WASI, "fd_prestat_get", "ip>i"),
    (WASIS, WASI, "fd_prestat_dir_name", "ipp>i"),
    (WASIS, WASI, "sched_yield", ">i"),
    (WASIS, "env", "__cxa_find_matching_catch_2", ">p"),
    (WASIS, "env", "__resumeException", "p>"),
];

fn is_wide(format: Format) -> bool {
    matches!(format, Format::Emscripten64Draft0215 | Format::Wasi64)
}

fn imports_of(
    format: Format,
) -> impl Iterator<Item = &'static (&'static [Format], &'static str, &'static str, &'static str)> {
    IMPORTS.iter().filter(move |import| import.0.contains(&format))
}

/// A module whose `handle` does what the message says: `<habit><call>…`, where a call is the number of an import and its arguments, all
/// as 16 hexadecimal digits.
fn module(format: Format) -> String {
    let p = if is_wide(format) { "i64" } else { "i32" };
    let type_of = |letter: char| match letter {
        'i' => "i32",
        'j' => "i64",
        'd' => "f64",
        _ => p,
    };
    // A number of 64 bits as each type.
    let argument = |index: usize, letter: char| {
        let value = format!("(local.get {})", index + 1);
        match type_of(letter) {
            "i32" => format!("(i32.wrap_i64 {value})"),
            "f64" => format!("(f64.reinterpret_i64 {value})"),
            _ => value,
        }
    };
    let (mut imports, mut cases) = (String::new(), String::new());
    for (index, (_, module, name, signature)) in imports_of(format).enumerate() {
        let (parameters, result) = signature.split_once('>').unwrap();
        let types: String = parameters.chars().map(|letter| format!("(param {}) ", type_of(letter))).collect();
        let result = result.chars().next().map(|letter| format!("(result {})", type_of(letter)));
        let arguments: String = parameters.chars().enumerate().map(|(index, letter)| argument(index, letter)).collect();
        let drop = if result.is_some() { "(drop)" } else { "" };
        writeln!(imports, r#"(import "{module}" "{name}" (func $i{index} {types}{}))"#, result.unwrap_or_default())
            .unwrap();
        writeln!(cases, "(if (i64.eq (local.get 0) (i64.const {index})) (then {arguments} (call $i{index}) {drop}))")
            .unwrap();
    }
    let to_pointer = |value: &str| if p == "i64" { value.to_owned() } else { format!("(i32.wrap_i64 {value})") };
    let from_pointer = |value: &str| if p == "i64" { value.to_owned() } else { format!("(i64.extend_i32_u {value})") };
    let grow = if p == "i64" { "(drop (memory.grow (i64.const 1)))" } else { "(drop (memory.grow (i32.const 1)))" };
    let parameters: String = "(param i64) ".repeat(ARGUMENTS + 1);
    let hostile = to_pointer("(call $habit)");
    let message = from_pointer("(local.get $message)");
    let at = to_pointer("(global.get $at)");
    let [current, restore, alloc] = match format {
        Format::Emscripten2 | Format::Emscripten3 => ["stackSave", "stackRestore", "stackAlloc"],
        _ => ["emscripten_stack_get_current", "_emscripten_stack_restore", "_emscripten_stack_alloc"],
    };
    let read = "(call $number)";
    let reads = read.repeat(ARGUMENTS);
    format!(
        r#"(module
  {imports}
  (memory (export "memory") {index} {PAGES} {max})
  (data ({p}.const 2048) "{{\"ok\":true,\"response\":{{\"Output\":7}}}}\00")
  (data ({p}.const 4096) "/tmp/file\00")
  (data ({p}.const 4160) "/dev/urandom\00")
  (data ({p}.const 4224) "/data/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\00")
  (data ({p}.const 4352) "%c%x%U%V%Z%G%j%e%y%Ec%%%n%Q%\00")
  (data ({p}.const 4416) "/\ff\fe\00")
  {vectors}
  (type $two (func (param {p} {p})))
  (table (export "__indirect_function_table") 9 9 funcref)
  (elem (i32.const 1) $ii $jj $iij $jd $i{host} $again $two)
  (global $at (mut i64) (i64.const 0))
  (global $habits (mut i64) (i64.const 0))
  (global $depth (mut i32) (i32.const 0))
  (func $ii (param i32 i32) (drop (call $habit)))
  (func $jj (param i64 i64) (drop (call $habit)))
  (func $two (param {p} {p}) (drop (call $habit)))
  (func $iij (param i32 i64) (result i32) (i32.wrap_i64 (call $habit)))
  (func $jd (param f64) (result i64) (call $habit))
  (func $again (param i32 i32) (call $next))
  (func (export "dynCall_vii") (param i32 i32 i32) (drop (call $habit)))
  (func (export "dynCall_vjj") (param i32 i64 i64) (drop (call $habit)))
  ;; Of another type than its name says.
  (func (export "dynCall_iij") (param i32 i64 i64) (result i64) (call $habit))
  (func (export "dynCall_jd") (param i32 f64) (result f64) (f64.convert_i64_s (call $habit)))
  (func $habit (result i64)
    (if (i64.eq (global.get $habits) (i64.const 1)) (then (call $i{throw})))
    (if (i64.eq (global.get $habits) (i64.const 2)) (then (unreachable)))
    (if (i64.eq (global.get $habits) (i64.const 3)) (then (return (i64.const -1))))
    (if (i64.eq (global.get $habits) (i64.const 4)) (then (call $next)))
    (if (i64.eq (global.get $habits) (i64.const 5)) (then {grow}))
    (if (i64.eq (global.get $habits) (i64.const 6)) (then (return (i64.const 0x7fffffffffffffff))))
    (if (i64.eq (global.get $habits) (i64.const 7)) (then (return (i64.const {MEMORY_BYTES}))))
    (i64.const 65536))
  (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
  (func (export "emscripten_stack_get_end") (result {p}) ({p}.const 1024))
  (func (export "main") (param i32 {p}) (result i32) (i32.const 0))
  (func (export "{current}") (result {p}) {hostile})
  (func (export "{restore}") (param {p}) (drop (call $habit)))
  (func (export "{alloc}") (param {p}) (result {p}) {hostile})
  (func (export "setThrew") (param {p} i32) (drop (call $habit)))
  (func (export "malloc") (param {p}) (result {p}) {hostile})
  (func (export "free") (param {p}) (drop (call $habit)))
  (func (export "emscripten_builtin_memalign") (param {p} {p}) (result {p}) {hostile})
  (func (export "__errno_location") (result {p}) {hostile})
  (func (export "setTempRet0") (param i32) (drop (call $habit)))
  (func (export "_emscripten_tempret_set") (param i32) (drop (call $habit)))
  (func (export "asyncify_start_unwind") (param {p}) (drop (call $habit)))
  (func (export "asyncify_stop_unwind") (drop (call $habit)))
  (func (export "asyncify_start_rewind") (param {p}) (drop (call $habit)))
  (func (export "asyncify_stop_rewind") (drop (call $habit)))
  ;; Sixteen digits from $at on.
  (func $number (result i64) (local $value i64) (local $digit i64) (local $left i32)
    (local.set $left (i32.const 16))
    (loop $digits
      (local.set $digit (i64.sub (i64.load8_u {at}) (i64.const 48)))
      (if (i64.gt_u (local.get $digit) (i64.const 9)) (then (local.set $digit (i64.sub (local.get $digit) (i64.const 39)))))
      (local.set $value (i64.or (i64.shl (local.get $value) (i64.const 4)) (local.get $digit)))
      (global.set $at (i64.add (global.get $at) (i64.const 1)))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $digits (local.get $left)))
    (local.get $value))
  (func $call {parameters} {cases})
  ;; The next call, unless the message is at its end.
  (func $next
    (if (i64.eqz (i64.load8_u {at})) (then (return)))
    (call $call {read} {reads})
    (call $next))
  (func (export "handle") (param $message {p}) (param $environment {p}) (result {p})
    (global.set $at {message})
    (global.set $habits {read})
    (call $next)
    (global.set $habits (i64.const 0))
    ({p}.const 2048)))"#,
        index = if p == "i64" { "i64" } else { "" },
        max = PAGES + 8,
        vectors = vectors(p),
        throw = index_of(format, "_emscripten_throw_longjmp"),
        host = index_of(format, "exit"),
    )
}

fn index_of(format: Format, name: &str) -> usize {
    imports_of(format).position(|import| import.2 == name).unwrap()
}

/// At 8192: vectors in order, overlapping, empty, across the end of memory, and as long as there is.
fn vectors(p: &str) -> String {
    let entries: [(u64, u64); 6] =
        [(65536, 100), (65540, 100), (0, 0), (MEMORY_BYTES - 4, 8), (u64::MAX, 1), (0, u64::MAX)];
    let bytes: String = entries
        .iter()
        .flat_map(|(at, len)| [*at, *len])
        .flat_map(|number| number.to_le_bytes()[..if p == "i64" { 8 } else { 4 }].to_vec())
        .fold(String::new(), |all, byte| all + &format!("\\{byte:02x}"));
    format!(r#"(data ({p}.const 8192) "{bytes}")"#)
}

/// A number that imports may stumble over.
fn value(random: &mut Random) -> u64 {
    const SPECIAL: [u64; 34] = [
        0,
        1,
        2,
        3,
        4,
        5,
        8,
        64,
        66,
        577,
        1024,
        4096,
        4160,
        4224,
        4352,
        4416,
        8192,
        8200,
        8208,
        8224,
        65_535,
        65_536,
        MEMORY_BYTES - 1,
        MEMORY_BYTES,
        MEMORY_BYTES - 8,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0xffff_ff9c,
        1 << 32,
        1 << 53,
        i64::MAX as u64,
        i64::MIN as u64,
        u64::MAX,
    ];
    match random.below(8) {
        0 => random.next(),
        1 => random.below(1 << 21),
        2 => 0x5400 + random.below(0x20),
        _ => SPECIAL[random.below(SPECIAL.len() as u64) as usize],
    }
}

fn message(random: &mut Random, imports: usize) -> String {
    let mut text = format!("{:016x}", random.below(HABITS));
    for _ in 0..=random.below(CALLS as u64) {
        write!(text, "{:016x}", random.below(imports as u64)).unwrap();
        for _ in 0..ARGUMENTS {
            write!(text, "{:016x}", value(random)).unwrap();
        }
    }
    text
}

/// Has one file, which it reads from nowhere.
struct OneFile;

impl Drive for OneFile {
    fn open(
        &self,
        _: &str,
        _: &DriveContext<'_>,
        _: &mut Waiting<'_>,
    ) -> Result<Option<Arc<dyn DriveFile>>, HostFailure> {
        Ok(Some(Arc::new(b"some data".to_vec())))
    }
}

#[test]
fn no_arguments_and_no_habits_of_a_guest_make_the_host_fail() {
    const MESSAGES: usize = 4000;
    for format in ALL.iter().copied().chain([Format::Emscripten4Metering]) {
        let like = if format == Format::Emscripten4Metering { Format::Emscripten4 } else { format };
        let wasm = wat::parse_str(module(like)).unwrap();
        let compiled = ENGINE.compile(&wasm, format).unwrap_or_else(|error| panic!("{format}: {error}"));
        on_evaluation_thread(move || {
            let seed = Random::seed();
            let mut random = Random::new(seed);
            let drive: Arc<dyn Drive> = if seed.is_multiple_of(2) { Arc::new(OneFile) } else { Arc::new(NoDrive) };
            let mut machine = Machine::new(&compiled, LIMITS, drive).unwrap();
            let (mut good, mut thrown) = (0, std::collections::BTreeMap::new());
            for _ in 0..MESSAGES {
                let message = message(&mut random, imports_of(like).count());
                let call = Call {
                    message: &message,
                    environment: "{}",
                    block_height: 0,
                    process_tags: &NO_TAGS,
                    module_tags: &NO_TAGS,
                };
                match machine.apply(&call) {
                    Ok(evaluation) => match evaluation.outcome {
                        Outcome::Ok(_) => good += 1,
                        Outcome::Thrown(error) => *thrown.entry(error.to_string()).or_insert(0) += 1,
                        Outcome::Error(response) => panic!("{format}: {response:?}"),
                    },
                    Err(failure) => panic!("{format}, seed {seed}: {failure}: {message}"),
                }
            }
            assert!(good > MESSAGES / 20, "{format}: {good} good, {thrown:#?}");
        });
    }
}

#[test]
fn a_longjmp_out_of_functions_that_the_host_calls_ends_the_message() {
    // As `malloc` of a module of WASI's shape; as the functions that move an official module's stack.
    let throw = r#"(import "env" "_emscripten_throw_longjmp" (func $throw))"#;
    let wasi = format!(
        r#"(module {throw} (memory (export "memory") 1)
             (func (export "malloc") (param i32) (result i32) (call $throw) (i32.const 0))
             (func (export "handle") (param i32 i32) (result i32) (i32.const 0)))"#
    );
    let official = |throwing: &str| {
        let body = |name: &str| if name == throwing { "(call $throw)" } else { "" };
        format!(
            r#"(module {throw} (memory (export "memory") 1)
                 (func (export "emscripten_stack_init")) (func (export "__wasm_call_ctors"))
                 (func (export "emscripten_stack_get_end") (result i32) (i32.const 1024))
                 (func (export "emscripten_stack_get_current") (result i32) {} (i32.const 8192))
                 (func (export "_emscripten_stack_restore") (param i32) {})
                 (func (export "_emscripten_stack_alloc") (param i32) (result i32) {} (i32.const 4096))
                 (func (export "setThrew") (param i32 i32))
                 (func (export "handle") (param i32 i32) (result i32) (i32.const 0)))"#,
            body("current"),
            body("restore"),
            body("alloc")
        )
    };
    for (text, format) in [
        (wasi, Format::Wasi32),
        (official("current"), Format::Emscripten4),
        (official("restore"), Format::Emscripten4),
        (official("alloc"), Format::Emscripten4),
    ] {
        let compiled = ENGINE.compile(&wat::parse_str(&text).unwrap(), format).unwrap();
        on_evaluation_thread(move || {
            let mut machine = Machine::new(&compiled, LIMITS, Arc::new(NoDrive)).unwrap();
            let outcome = machine.apply(&super::call("{}", "{}")).unwrap().outcome;
            assert_eq!(outcome, Outcome::Thrown("longjmp without a setjmp".into()), "{text}");
        });
    }
}

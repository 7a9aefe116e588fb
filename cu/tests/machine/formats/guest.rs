//! Modules in the making: which imports they call with what, and the exports that their format asks for.

use std::fmt::Write;

use holon_cu::machine::Format;

pub const WASI: &str = "wasi_snapshot_preview1";
pub const AT_FDCWD: i64 = -100;

/// Where calls leave what they return, and where they are told to write.
pub const RESULTS: u64 = 0x1_0000;
pub const SCRATCH: u64 = 0x2_0000;
pub const TEXTS: u64 = 0x8_0000;
pub const STACK: u64 = 0x20_0000;
pub const HEAP: u64 = 0x20_0000;

/// A module in the making.
pub struct Guest {
    pub format: Format,
    pub wide: bool,
    pub imports: Vec<(String, String, String)>,
    pub body: String,
    pub data: String,
    pub results: u64,
    pub scratch: u64,
    pub texts: u64,
}

impl Guest {
    pub fn new(format: Format) -> Self {
        let wide = matches!(format, Format::Emscripten64Draft0215 | Format::Emscripten64Draft1016Metering);
        let (imports, body, data) = Default::default();
        Self { format, wide, imports, body, data, results: RESULTS, scratch: SCRATCH, texts: TEXTS }
    }

    pub fn older(&self) -> bool {
        matches!(self.format, Format::Emscripten1 | Format::Emscripten2)
    }

    pub fn newest(&self) -> bool {
        self.wide || self.format == Format::Emscripten4
    }

    pub fn pointer(&self) -> &'static str {
        if self.wide { "i64" } else { "i32" }
    }

    /// Bytes somewhere in memory.
    pub fn bytes(&mut self, bytes: &[u8]) -> i64 {
        let at = self.texts;
        let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let pointer = self.pointer();
        writeln!(self.data, r#"(data ({pointer}.const {at}) "{escaped}")"#).unwrap();
        self.texts += (bytes.len() as u64 + 16) & !15;
        at as i64
    }

    pub fn text(&mut self, text: &str) -> i64 {
        self.bytes(&[text.as_bytes(), &[0]].concat())
    }

    pub fn words(&mut self, words: &[i32]) -> i64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.bytes(&bytes)
    }

    /// Numbers as wide as pointers.
    pub fn sizes(&mut self, sizes: &[i64]) -> i64 {
        let width = if self.wide { 8 } else { 4 };
        let bytes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()[..width].to_vec()).collect();
        self.bytes(&bytes)
    }

    /// Room that a call may write to.
    pub fn room(&mut self, bytes: u64) -> i64 {
        let at = self.scratch;
        self.scratch += (bytes + 31) & !15;
        assert!(self.scratch < TEXTS);
        at as i64
    }

    /// Calls an import and keeps what it returns. The signature has a letter for each parameter and, after `>`, the result:
    /// i is i32, j i64, d f64, p a pointer.
    pub fn call(&mut self, module: &str, name: &str, signature: &str, arguments: &[i64]) {
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

    pub fn env(&mut self, name: &str, signature: &str, arguments: &[i64]) {
        self.call("env", name, signature, arguments);
    }

    pub fn wasi(&mut self, name: &str, signature: &str, arguments: &[i64]) {
        self.call(WASI, name, signature, arguments);
    }

    /// The module as text, with the exports the format asks for.
    pub fn finish(mut self) -> String {
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

/// The letters of the first format, in the order of spec 06 §4.2, each with the type it must have.
pub const LETTERS: [(&str, &str); 30] = [
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
pub fn minified(mut text: String) -> String {
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

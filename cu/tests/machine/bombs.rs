//! Modules that are made to be slow or large to compile, and guests that are made to fill what holds them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holon_cu::machine::{
    CommitPolicy, CompileError, Engine, EngineOptions, Evaluation, Format, HostFailure, MAX_MODULE_BYTES, Machine,
    MachineError, NoDrive, Outcome, StateRoot, compile_cost,
};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, ElementSection, Elements, ExportKind, ExportSection, Function,
    FunctionSection, GlobalSection, GlobalType, Instruction as I, MemorySection, MemoryType, Module, RefType,
    TableSection, TableType, TypeSection, ValType,
};

use super::formats::guest::Guest;
use super::{ENGINE, LIMITS, call, machine, native, on_evaluation_thread, published};

/// Refusing takes no longer than looking at the bytes.
const REFUSED_WITHIN: Duration = Duration::from_secs(10);

/// A native module with `functions` functions of this body beside its own, and whatever `more` adds to its sections.
#[derive(Default)]
struct Bomb {
    functions: usize,
    locals: Vec<(u32, ValType)>,
    body: Vec<I<'static>>,
    types: usize,
    globals: usize,
    exports: usize,
    data: usize,
    elements: usize,
    tables: usize,
    table_elements: u64,
    /// Parameters and results of the functions.
    width: usize,
}

impl Bomb {
    /// One function of this body with a hundred variables.
    fn of(body: Vec<I<'static>>) -> Self {
        Self { functions: 1, locals: vec![(100, ValType::I32)], body, ..Self::default() }
    }

    fn wasm(&self) -> Vec<u8> {
        let mut module = Module::new();
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32; 4], [ValType::I64]);
        types.ty().function([ValType::I32], [ValType::I32]);
        let values = || std::iter::repeat_n(ValType::I32, self.width);
        types.ty().function(values(), values());
        for _ in 0..self.types {
            types.ty().function([], []);
        }
        module.section(&types);
        let mut functions = FunctionSection::new();
        functions.function(0).function(1);
        for _ in 0..self.functions {
            functions.function(2);
        }
        module.section(&functions);
        if self.tables + self.elements > 0 {
            let mut tables = TableSection::new();
            for _ in 0..self.tables.max(1) {
                let element_type = RefType::FUNCREF;
                let minimum = self.table_elements.max(1);
                tables.table(TableType { element_type, minimum, maximum: None, table64: false, shared: false });
            }
            module.section(&tables);
        }
        let mut memory = MemorySection::new();
        memory.memory(MemoryType { minimum: 1, maximum: None, memory64: false, shared: false, page_size_log2: None });
        module.section(&memory);
        if self.globals > 0 {
            let mut globals = GlobalSection::new();
            for _ in 0..self.globals {
                let ty = GlobalType { val_type: ValType::I32, mutable: true, shared: false };
                globals.global(ty, &ConstExpr::i32_const(0));
            }
            module.section(&globals);
        }
        let mut exports = ExportSection::new();
        exports.export("memory", ExportKind::Memory, 0);
        exports.export("holon_handle", ExportKind::Func, 0);
        exports.export("holon_alloc", ExportKind::Func, 1);
        for number in 0..self.exports {
            exports.export(&number.to_string(), ExportKind::Func, 0);
        }
        module.section(&exports);
        if self.elements > 0 {
            let mut elements = ElementSection::new();
            for _ in 0..self.elements {
                elements.active(None, &ConstExpr::i32_const(0), Elements::Functions(vec![0].into()));
            }
            module.section(&elements);
        }
        let mut code = CodeSection::new();
        let ours = |result: I<'static>| {
            let mut function = Function::new([]);
            function.instruction(&result).instruction(&I::End);
            function
        };
        code.function(&ours(I::I64Const(0))).function(&ours(I::I32Const(1024)));
        let mut function = Function::new(self.locals.iter().copied());
        for instruction in &self.body {
            function.instruction(instruction);
        }
        function.instruction(&I::End);
        for _ in 0..self.functions {
            code.function(&function);
        }
        module.section(&code);
        if self.data > 0 {
            let mut data = DataSection::new();
            for _ in 0..self.data {
                data.active(0, &ConstExpr::i32_const(0), [1]);
            }
            module.section(&data);
        }
        module.finish()
    }
}

fn repeated(count: usize, piece: &[I<'static>]) -> Vec<I<'static>> {
    piece.iter().cloned().cycle().take(count * piece.len()).collect()
}

fn nested(count: usize, open: I<'static>) -> Vec<I<'static>> {
    let mut body = repeated(count, &[open]);
    body.extend(repeated(count, &[I::LocalGet(0), I::BrIf(0), I::End]));
    body
}

#[test]
fn compile_bombs_are_refused_at_once() {
    let loops = [I::Loop(BlockType::Empty), I::LocalGet(7), I::LocalTee(9), I::BrIf(0), I::End];
    let conditions = [I::LocalGet(7), I::If(BlockType::Empty), I::I32Const(1), I::LocalSet(9), I::End];
    let table = I::BrTable(vec![0; 60_000].into(), 0);
    let straight = [I::LocalGet(0), I::I32Const(3), I::I32Add, I::LocalSet(0)];
    let bombs = [
        ("one huge function", Bomb::of(repeated(150_000, &straight))),
        ("loops beside each other", Bomb::of(repeated(25_000, &loops))),
        ("conditions beside each other", Bomb::of(repeated(40_000, &conditions))),
        ("loops inside each other", Bomb::of(nested(20_000, I::Loop(BlockType::Empty)))),
        ("blocks inside each other", Bomb::of(nested(20_000, I::Block(BlockType::Empty)))),
        ("jump tables", Bomb::of(repeated(8, &[I::Block(BlockType::Empty), I::LocalGet(0), table, I::End]))),
        ("growth", Bomb::of(repeated(20_000, &[I::LocalGet(0), I::MemoryGrow(0), I::Drop]))),
        ("calls", Bomb::of(repeated(200_000, &[I::Call(2)]))),
        ("variables", Bomb { locals: vec![(49_000, ValType::I64)], ..Bomb::of(vec![]) }),
        // Functions that take and give a thousand values: few bytes of code move very many.
        ("calls of wide functions", {
            let body = [repeated(1000, &[I::I32Const(0)]), repeated(90_000, &[I::Call(2)])].concat();
            Bomb { width: 1000, ..Bomb::of(body) }
        }),
        ("wide blocks", {
            let block = [I::Block(BlockType::FunctionType(2)), I::End];
            let body = [repeated(1000, &[I::I32Const(0)]), repeated(9_000, &block)].concat();
            Bomb { width: 1000, ..Bomb::of(body) }
        }),
        ("wide branches", {
            let body = [repeated(1000, &[I::I32Const(0)]), repeated(20_000, &[I::LocalGet(0), I::BrIf(0)])].concat();
            Bomb { width: 1000, ..Bomb::of(body) }
        }),
        ("wide functions", Bomb { width: 1000, functions: 29_000, body: vec![I::Unreachable], ..Bomb::default() }),
        ("a million functions", Bomb { functions: 1_000_000, ..Bomb::default() }),
        ("many middling functions", Bomb { functions: 600, ..Bomb::of(repeated(1500, &loops)) }),
        ("types", Bomb { types: 900_000, ..Bomb::default() }),
        ("globals", Bomb { globals: 900_000, ..Bomb::default() }),
        ("exports", Bomb { exports: 90_000, ..Bomb::default() }),
        ("data segments", Bomb { data: 90_000, ..Bomb::default() }),
        ("element segments", Bomb { elements: 90_000, ..Bomb::default() }),
        ("tables", Bomb { tables: 90_000, ..Bomb::default() }),
    ];
    for (name, bomb) in bombs {
        let wasm = bomb.wasm();
        assert!(wasm.len() < MAX_MODULE_BYTES, "{name}: refused for its size alone");
        let started = Instant::now();
        let refused = ENGINE.compile(&wasm, Format::Native).map(|_| ());
        assert!(started.elapsed() < REFUSED_WITHIN, "{name}: {:?}", started.elapsed());
        let expected = match &refused {
            Err(CompileError::TooCostly { found, limit, .. }) => found > limit,
            Err(CompileError::FunctionTooLarge { bytes, limit }) => bytes > limit,
            _ => false,
        };
        assert!(expected, "{name}: {refused:?}");
    }
}

/// What is just not refused is compiled within a time that an operator can bear.
#[test]
fn what_may_be_compiled_is_compiled_in_seconds() {
    let wide_calls = [repeated(1000, &[I::I32Const(0)]), repeated(450, &[I::Call(2)])].concat();
    let bombs = [
        ("calls of wide functions", Bomb { width: 1000, ..Bomb::of(wide_calls) }),
        ("wide functions", Bomb { width: 1000, functions: 1_500, body: vec![I::Unreachable], ..Bomb::default() }),
    ];
    for (name, bomb) in bombs {
        let wasm = bomb.wasm();
        let cost = compile_cost(&wasm, Format::Native).unwrap();
        let started = Instant::now();
        ENGINE.compile(&wasm, Format::Native).unwrap_or_else(|error| panic!("{name}: {error}"));
        println!("{name}: {cost} units in {:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(120), "{name}: {:?}", started.elapsed());
    }
}

#[test]
fn tables_are_bounded_together() {
    // Each for itself is small enough.
    let many = Bomb { tables: 50, table_elements: 1 << 17, ..Bomb::default() };
    let module = ENGINE.compile(&many.wasm(), Format::Native).unwrap();
    assert!(matches!(Machine::new(&module, LIMITS, Arc::new(NoDrive)), Err(MachineError::SetUp(_))));
    // Two tables that grow as far as they may.
    let text = r#"(module
      (memory (export "memory") 1) (table $a 1 funcref) (table $b 1 funcref)
      (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":000000}}")
      (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
      (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) (local $size i32) (local $at i32)
        (loop $more (br_if $more (i32.ne (table.grow $a (ref.null func) (i32.const 1000)) (i32.const -1))))
        (loop $more (br_if $more (i32.ne (table.grow $b (ref.null func) (i32.const 1000)) (i32.const -1))))
        (local.set $size (i32.add (table.size $a) (table.size $b)))
        (local.set $at (i32.const 137))
        (loop $digits
          (i32.store8 (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $size) (i32.const 10))))
          (local.set $size (i32.div_u (local.get $size) (i32.const 10)))
          (local.set $at (i32.sub (local.get $at) (i32.const 1)))
          (br_if $digits (i32.ne (local.get $at) (i32.const 131))))
        (i64.const 0x6400000028)))"#;
    on_evaluation_thread(move || {
        let outcome = machine(&native(text)).apply(&call("{}", "{}")).unwrap().outcome;
        let Outcome::Ok(response) = outcome else { panic!("{outcome:?}") };
        let elements = response.output.unwrap().as_u64().unwrap();
        assert!((130_000..=1 << 17).contains(&elements), "{elements}");
    });
}

#[test]
fn published_modules_are_far_from_being_bombs() {
    for (file, format) in [
        ("aos.wasm", Format::Emscripten64Draft0215),
        ("aos2_0_1.wasm", Format::Emscripten64Draft0215),
        ("aos2_0_6.wasm", Format::Emscripten64Draft0215),
        ("aos2_0_4_32.wasm", Format::Emscripten4),
        ("process.wasm", Format::Emscripten64Draft0215),
        ("sqlite.wasm", Format::Emscripten64Draft0215),
        ("llama.wasm", Format::Emscripten64Draft0215),
    ] {
        let cost = compile_cost(&published::module(file), format).unwrap();
        println!("{file}: {cost}");
        assert!(cost < 500_000_000, "{file} costs {cost}");
    }
}

#[test]
fn an_answer_of_very_many_small_values_is_no_memory_bomb() {
    // Twenty million objects in an array, with a head and a tail around them.
    let text = r#"(module
      (memory (export "memory") 1100)
      (data (i32.const 100) "{\"ok\":true,\"response\":{\"Output\":[")
      (data (i32.const 200) "0]}}")
      (func (export "holon_alloc") (param i32) (result i32) (i32.const 1024))
      (func (export "holon_handle") (param i32 i32 i32 i32) (result i64) (local $at i32)
        (memory.copy (i32.const 65536) (i32.const 100) (i32.const 33))
        (local.set $at (i32.const 65569))
        (loop $fill
          (i32.store (local.get $at) (i32.const 0x002c7d7b))
          (local.set $at (i32.add (local.get $at) (i32.const 3)))
          (br_if $fill (i32.lt_u (local.get $at) (i32.const 63000000))))
        (memory.copy (local.get $at) (i32.const 200) (i32.const 4))
        (i64.or (i64.shl (i64.const 65536) (i64.const 32))
                (i64.extend_i32_u (i32.sub (local.get $at) (i32.const 65532))))))"#;
    on_evaluation_thread(move || {
        let outcome = machine(&native(text)).apply(&call("{}", "{}")).unwrap().outcome;
        let Outcome::Thrown(error) = outcome else { panic!("{outcome:.200?}") };
        assert!(error.as_str().unwrap().starts_with("too many values at byte"), "{error}");
    });
}

const WIDE_DRAFTS: [Format; 2] = [Format::Emscripten64Draft0215, Format::Emscripten64Draft1016Metering];
const COUNT: &str = r#"{"Do":"w"}"#;
const GROW: &str = r#"{"Do":"g"}"#;
const GROW_AND_TRAP: &str = r#"{"Do":"t"}"#;

/// A 64-bit module that counts messages and says how many bytes it has; but at [`GROW`] it takes as much memory as it gets, a
/// little at a time, writes into all of it, and says that there is no more. At [`GROW_AND_TRAP`] it traps then.
fn hungry(format: Format, memory: &str) -> Vec<u8> {
    let mut guest = Guest::new(format);
    guest.imports.push(("env".into(), "emscripten_resize_heap".into(), "(param i64) (result i32)".into()));
    let no_more = guest.text(r#"{"ok":true,"response":{"Error":"not enough memory"}}"#);
    guest.body = format!(
        r#"(i64.store (i64.const 2048) (i64.add (i64.load (i64.const 2048)) (i64.const 1)))
           (if (i32.ne (i32.load8_u offset=7 (local.get $message)) (i32.const 119)) (then
             (loop $more
               (i64.store (i64.sub (i64.mul (memory.size) (i64.const 65536)) (i64.const 8)) (i64.const -1))
               (br_if $more (call $emscripten_resize_heap
                 (i64.add (i64.mul (memory.size) (i64.const 65536)) (i64.const 1)))))
             (i64.store (i64.const 2056) (memory.size))
             (if (i32.eq (i32.load8_u offset=7 (local.get $message)) (i32.const 116)) (then unreachable))
             (return (i64.const {no_more}))))"#
    );
    let text = guest.finish();
    assert!(text.contains("i64 64 512"), "{text}");
    wat::parse_str(text.replace("i64 64 512", memory)).unwrap()
}

fn applied(machine: &mut Machine, message: &str) -> (Evaluation, StateRoot, usize) {
    let evaluation = machine.apply(&call(message, "{}")).unwrap();
    (evaluation, machine.fork().unwrap().state_root(&[7; 32]).unwrap(), machine.copy_memory().len())
}

#[test]
fn a_64_bit_module_that_takes_all_memory_gets_its_own_error_and_leaves_nothing() {
    let log = [COUNT, GROW, COUNT, GROW_AND_TRAP, GROW, COUNT, GROW_AND_TRAP, COUNT];
    for format in WIDE_DRAFTS {
        let module = ENGINE.compile(&hungry(format, "i64 64 512"), format).unwrap();
        on_evaluation_thread(move || {
            let mut undisturbed = machine(&module);
            let counts: Vec<_> = (0..4).map(|_| applied(&mut undisturbed, COUNT)).collect();
            let mut expected: Option<Vec<Evaluation>> = None;
            for policy in [
                CommitPolicy::EAGER,
                CommitPolicy::default(),
                CommitPolicy::LAZY,
                CommitPolicy { after_messages: 3, ..CommitPolicy::LAZY },
            ] {
                let (mut hungry, mut neighbour) = (machine(&module), machine(&module));
                hungry.set_commit_policy(policy);
                neighbour.set_commit_policy(policy);
                let (mut evaluations, mut count) = (Vec::new(), 0);
                for message in log {
                    let evaluation = hungry.apply(&call(message, "{}")).unwrap();
                    match message {
                        COUNT => {
                            assert!(matches!(evaluation.outcome, Outcome::Ok(_)), "{:?}", evaluation.outcome);
                            assert_eq!(applied(&mut neighbour, COUNT), counts[count], "{format}, {policy:?}");
                            count += 1;
                        }
                        GROW => assert!(
                            matches!(&evaluation.outcome, Outcome::Error(response)
                                if response.error == Some("not enough memory".into())),
                            "{:?}",
                            evaluation.outcome
                        ),
                        _ => assert!(matches!(evaluation.outcome, Outcome::Thrown(_)), "{:?}", evaluation.outcome),
                    }
                    evaluations.push(evaluation);
                }
                // Of what failed there is no trace, and none of how often was committed.
                let (_, root, bytes) = &counts[3];
                assert_eq!(hungry.fork().unwrap().state_root(&[7; 32]).unwrap(), *root, "{format}, {policy:?}");
                assert_eq!(hungry.copy_memory().len(), *bytes);
                assert!(expected.as_ref().is_none_or(|expected| *expected == evaluations), "{format}, {policy:?}");
                expected = Some(evaluations);
            }
        });
    }
}

#[test]
fn a_64_bit_module_without_a_maximum_ends_at_the_operators_ceiling_without_a_result() {
    let options = EngineOptions { cache_dir: None, memory_ceiling_bytes: 64 << 20, ..EngineOptions::default() };
    let engine = Engine::new(options).unwrap();
    for format in WIDE_DRAFTS {
        let module = engine.compile(&hungry(format, "i64 64"), format).unwrap();
        on_evaluation_thread(move || {
            let mut undisturbed = machine(&module);
            let counts: Vec<_> = (0..2).map(|_| applied(&mut undisturbed, COUNT)).collect();
            let mut hungry = machine(&module);
            assert_eq!(applied(&mut hungry, COUNT), counts[0]);
            for message in [GROW, GROW_AND_TRAP] {
                let ended = hungry.apply(&call(message, "{}"));
                assert!(matches!(ended, Err(HostFailure::MemoryCeiling { .. })), "{format}: {ended:?}");
            }
            assert_eq!(applied(&mut hungry, COUNT), counts[1], "{format}");
        });
    }
}

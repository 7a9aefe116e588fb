//! Small modules of every official format, made here, that call each import of the format: what they leave in memory is byte for
//! byte what the published loader leaves (spec 06 §2–§4).

mod calls;
pub mod guest;

use std::{fs, sync::Arc};

use holon_cu::machine::{Format, Limits, Machine, Module, NoDrive, Outcome};
use serde_json::{Value, json};

use self::calls::{common_calls, file_calls, more_file_calls};
use self::guest::{Guest, RESULTS, minified};
use super::{ENGINE, LIMITS, call, on_evaluation_thread, published};

/// What the reference's container would be told its program is (spec 06 §2).
const PROGRAM: &str = "/usr/app/src/effects/worker/evaluator/index.js";

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

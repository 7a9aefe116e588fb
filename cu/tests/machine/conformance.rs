//! Every step of the published vectors gives the recorded text, result and gas, with one machine and with a fresh one per
//! step; and the recorded memory, where the guest is left and entered again as by the reference.

use std::sync::{Arc, LazyLock};

use holon_cu::machine::{
    Engine, EngineOptions, Evaluation, Format, Limits, Machine, Module, NoDrive, Outcome, Response, UNREACHABLE_FUEL,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ENGINE, LIMITS, call, compiled_modules, on_evaluation_thread, published};

/// An engine whose guests have the reference's memory.
static REFERENCE_MEMORY: LazyLock<Engine> = LazyLock::new(|| {
    let options =
        EngineOptions { cache_dir: Some(compiled_modules()), reference_memory: true, ..EngineOptions::default() };
    Engine::new(options).unwrap()
});

/// A vector's module, compiled so that it counts fuel where its format does not count gas.
pub fn compiled(vector: &Value) -> Module {
    compiled_with(&ENGINE, vector, 1)
}

/// The same as nearly every process has it, without fuel.
fn compiled_unbounded(engine: &Engine, vector: &Value) -> Module {
    compiled_with(engine, vector, UNREACHABLE_FUEL)
}

fn compiled_with(engine: &Engine, vector: &Value, compute: u64) -> Module {
    let file = vector["module"]["path"].as_str().unwrap().rsplit('/').next().unwrap();
    let wasm = published::module(file);
    assert_eq!(hex_digest(&wasm), vector["module"]["sha256"].as_str().unwrap(), "{file} is not the vector's module");
    engine.compile_for(&wasm, format(vector), compute).unwrap()
}

fn format(vector: &Value) -> Format {
    vector["format"].as_str().unwrap().parse().unwrap()
}

fn metered(vector: &Value) -> bool {
    vector["format"].as_str().unwrap().ends_with("-metering")
}

fn limits(vector: &Value) -> Limits {
    Limits { compute: vector["options"]["computeLimit"].as_u64().unwrap(), ..LIMITS }
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The result object a unit would show, in text, so that the order of keys counts.
fn shown(response: &Response) -> [Option<String>; 5] {
    let list = |values: &Option<Vec<Value>>| values.as_ref().map(|values| Value::Array(values.clone()).to_string());
    let value = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    [
        value(&response.error),
        value(&response.output),
        list(&response.messages),
        list(&response.spawns),
        list(&response.assignments),
    ]
}

/// Compares an evaluation with what a step records.
pub fn check(step: &Value, evaluation: &Evaluation) {
    let label = &step["label"];
    if let Some(expected) = step["handleReturned"].as_str() {
        assert_eq!(evaluation.returned.as_deref(), Some(expected), "{label}");
    }
    let expected = || {
        let result = &step["result"];
        ["Error", "Output", "Messages", "Spawns", "Assignments"].map(|name| result.get(name).map(Value::to_string))
    };
    match (step["outcome"].as_str().unwrap(), &evaluation.outcome) {
        ("ok", Outcome::Ok(response)) => assert_eq!(shown(response), expected(), "{label}"),
        ("error", Outcome::Error(response)) => assert_eq!(shown(response), expected(), "{label}"),
        ("thrown", Outcome::Thrown(value)) => match step["thrown"]["kind"].as_str().unwrap() {
            "string" | "object" => assert_eq!(value, &step["thrown"]["value"], "{label}"),
            // Exceptions of the reference have no fields; ours say what happened.
            _ if step["thrown"]["message"] == "out of gas!" => assert_eq!(value, "out of gas!", "{label}"),
            _ => assert!(value.is_string(), "{label}"),
        },
        (expected, found) => panic!("{label}: expected {expected}, got {found:?}"),
    }
    if let Some(gas) = step["result"]["GasUsed"].as_u64() {
        assert_eq!(evaluation.gas_used, gas, "{label}");
    }
}

/// Compares memory with what a step records; nothing may have changed with a message that failed.
fn check_memory(step: &Value, memory: &[u8], before: &[u8]) {
    let label = &step["label"];
    if step["outcome"] == "ok" {
        assert_eq!(memory.len() as u64, step["memory"]["bytes"].as_u64().unwrap(), "{label}");
        assert_eq!(hex_digest(memory), step["memory"]["sha256"].as_str().unwrap(), "{label}");
    } else {
        assert!(memory == before, "{label} changed memory");
    }
}

fn steps(vector: &Value) -> impl Iterator<Item = &Value> {
    // Only x86-64 makes the NaN the vectors show.
    let same_nan = cfg!(target_arch = "x86_64");
    vector["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(move |step| same_nan || !step["label"].as_str().unwrap().starts_with("nan-sign"))
}

fn one_machine(name: &'static str) {
    on_evaluation_thread(move || {
        let vector = published::vector(name);
        let environment = vector["envJson"].as_str().unwrap();
        let mut machine = Machine::new(&compiled(&vector), limits(&vector), Arc::new(NoDrive)).unwrap();
        for step in steps(&vector) {
            let keeps = step["outcome"] == "ok";
            let before = (!keeps).then(|| machine.copy_memory());
            let evaluation = machine.apply(&call(step["messageJson"].as_str().unwrap(), environment)).unwrap();
            check(step, &evaluation);
            if keeps {
                // Modules without WeaveDrive have one length, the others a smaller one without unwinding.
                let shortcut = step["synchronousDrive"]["memoryBytes"].as_u64().filter(|_| !metered(&vector));
                let expected = shortcut.or(step["memory"]["bytes"].as_u64());
                assert_eq!(Some(machine.memory_bytes()), expected, "{}", step["label"]);
            }
            assert!(before.is_none_or(|before| before == machine.copy_memory()), "{} changed memory", step["label"]);
        }
    });
}

fn fresh_machines(name: &'static str) {
    on_evaluation_thread(move || {
        let vector = published::vector(name);
        let environment = vector["envJson"].as_str().unwrap();
        let module = compiled_unbounded(&ENGINE, &vector);
        let mut memory: Option<Vec<u8>> = None;
        for step in steps(&vector) {
            let mut machine = match &memory {
                None => Machine::new(&module, limits(&vector), Arc::new(NoDrive)),
                Some(memory) => Machine::restore(&module, limits(&vector), Arc::new(NoDrive), memory),
            }
            .unwrap();
            let message = step["messageJson"].as_str().unwrap();
            // A dry run first must see the same and leave no trace.
            let fork = machine.fork().unwrap();
            check(step, &fork.apply(&call(message, environment)).unwrap());
            check(step, &machine.apply(&call(message, environment)).unwrap());
            if step["outcome"] == "ok" {
                memory = Some(machine.copy_memory());
            }
        }
    });
}

/// The memory after each step of the first `steps_checked`, whichever engine it takes.
fn memories(name: &'static str, steps_checked: usize) {
    on_evaluation_thread(move || {
        let vector = published::vector(name);
        let environment = vector["envJson"].as_str().unwrap();
        let engine = if metered(&vector) { &ENGINE } else { &REFERENCE_MEMORY };
        let mut machine =
            Machine::new(&compiled_unbounded(engine, &vector), limits(&vector), Arc::new(NoDrive)).unwrap();
        let mut before = Vec::new();
        for step in steps(&vector).take(steps_checked) {
            check(step, &machine.apply(&call(step["messageJson"].as_str().unwrap(), environment)).unwrap());
            let memory = machine.copy_memory();
            if !before.is_empty() || step["outcome"] == "ok" {
                check_memory(step, &memory, &before);
            }
            before = memory;
        }
    });
}

macro_rules! vectors {
    ($($test:ident: $name:literal $(, memory of the first $steps:literal steps)?;)*) => {
        $(mod $test {
            #[test]
            fn gives_the_recorded_results_with_one_machine() {
                super::one_machine($name);
            }

            #[test]
            fn gives_the_recorded_results_with_a_fresh_machine_per_step() {
                super::fresh_machines($name);
            }

            #[test]
            fn leaves_the_recorded_memory() {
                super::memories($name, [$($steps,)? usize::MAX][0]);
            }
        })*
    };
}

vectors! {
    aos: "aos";
    aos2_0_1: "aos2_0_1";
    aos2_0_3: "aos2_0_3";
    aos2_0_6: "aos2_0_6";
    aos2_0_6_limits: "aos2_0_6-limits";
    aos2_0_6_metering64: "aos2_0_6-metering64";
    aos2_0_4_32: "aos2_0_4_32";
    aos2_0_4_32_limits: "aos2_0_4_32-limits";
    aos2_0_4_32_metering32: "aos2_0_4_32-metering32";
    process: "process";
    process_metering64: "process-metering64";
    process_metering64_out_of_gas: "process-metering64-out-of-gas";
    // Later steps recorded a date counter that was never set back (spec 06 §7).
    sqlite: "sqlite", memory of the first 6 steps;
}

/// What this vector records with an instance for each message, which is the choice of spec 06 §7: a file of one message is gone for the next.
#[test]
fn a_database_in_a_file_is_gone_for_the_next_message_whichever_machine_it_meets() {
    on_evaluation_thread(|| {
        let vector = published::vector("sqlite-filesystem");
        let environment = vector["envJson"].as_str().unwrap();
        let module = compiled(&vector);
        let mut one = Machine::new(&module, limits(&vector), Arc::new(NoDrive)).unwrap();
        let mut memory: Option<Vec<u8>> = None;
        let mut other_than_with_one_instance = 0;
        for step in steps(&vector) {
            let mut fresh = match &memory {
                None => Machine::new(&module, limits(&vector), Arc::new(NoDrive)),
                Some(memory) => Machine::restore(&module, limits(&vector), Arc::new(NoDrive), memory),
            }
            .unwrap();
            let alone = &step["freshInstanceEveryStep"];
            other_than_with_one_instance += usize::from(alone["sameResult"] == false);
            let expected = alone["handleReturned"].as_str().or(step["handleReturned"].as_str());
            for machine in [&mut one, &mut fresh] {
                let evaluation = machine.apply(&call(step["messageJson"].as_str().unwrap(), environment)).unwrap();
                assert_eq!(evaluation.returned.as_deref(), expected, "{}", step["label"]);
            }
            assert!(one.copy_memory() == fresh.copy_memory(), "{}", step["label"]);
            memory = Some(fresh.copy_memory());
        }
        assert_eq!(other_than_with_one_instance, 1);
    });
}

/// The reference's code for counting has no place for these either.
#[test]
fn modules_whose_gas_cannot_be_counted_are_refused() {
    for file in ["sqlite.wasm", "llama.wasm"] {
        let refused = ENGINE.compile(&published::module(file), Format::Emscripten64Draft1016Metering);
        let error = refused.err().unwrap().to_string();
        assert!(error.contains("gas cannot be counted"), "{file}: {error}");
    }
}

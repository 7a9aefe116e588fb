//! Every step of the published vectors gives the recorded text and result, with one machine and with a fresh one per step.

use std::sync::Arc;

use holon_cu::machine::{Evaluation, Format, Machine, Module, NoDrive, Outcome, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ENGINE, LIMITS, call, on_evaluation_thread, published};

/// A vector's module, compiled.
pub fn compiled(vector: &Value) -> Module {
    let file = vector["module"]["path"].as_str().unwrap().rsplit('/').next().unwrap();
    let wasm = published::module(file);
    let digest: String = Sha256::digest(&wasm).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, vector["module"]["sha256"].as_str().unwrap(), "{file} is not the vector's module");
    ENGINE.compile(&wasm, vector["format"].as_str().unwrap().parse::<Format>().unwrap()).unwrap()
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
            _ => assert!(value.is_string(), "{label}"),
        },
        (expected, found) => panic!("{label}: expected {expected}, got {found:?}"),
    }
    assert_eq!(evaluation.gas_used, 0, "{label}");
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
        let mut machine = Machine::new(&compiled(&vector), LIMITS, Arc::new(NoDrive)).unwrap();
        for step in steps(&vector) {
            let keeps = step["outcome"] == "ok";
            let before = (!keeps).then(|| machine.copy_memory());
            let evaluation = machine.apply(&call(step["messageJson"].as_str().unwrap(), environment)).unwrap();
            check(step, &evaluation);
            if keeps {
                // Modules without WeaveDrive have one length, the others a smaller one without unwinding.
                let expected = step["synchronousDrive"]["memoryBytes"].as_u64().or(step["memory"]["bytes"].as_u64());
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
        let module = compiled(&vector);
        let mut memory: Option<Vec<u8>> = None;
        for step in steps(&vector) {
            let mut machine = match &memory {
                None => Machine::new(&module, LIMITS, Arc::new(NoDrive)),
                Some(memory) => Machine::restore(&module, LIMITS, Arc::new(NoDrive), memory),
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

macro_rules! vectors {
    ($($test:ident: $name:literal,)*) => {
        $(mod $test {
            #[test]
            fn gives_the_recorded_results_with_one_machine() {
                super::one_machine($name);
            }

            #[test]
            fn gives_the_recorded_results_with_a_fresh_machine_per_step() {
                super::fresh_machines($name);
            }
        })*
    };
}

vectors! {
    aos: "aos",
    aos2_0_1: "aos2_0_1",
    aos2_0_3: "aos2_0_3",
    aos2_0_6: "aos2_0_6",
    aos2_0_6_limits: "aos2_0_6-limits",
    aos2_0_4_32: "aos2_0_4_32",
    aos2_0_4_32_limits: "aos2_0_4_32-limits",
    process: "process",
    sqlite: "sqlite",
}

//! The `holon` command against a running network.

use std::process::Command;

use holon_tests::{network::Network, peers};
use serde_json::Value;

/// Runs the command with `--json` and returns exit code and the JSON it printed.
pub fn run(network: &Network, arguments: &[&str]) -> (i32, Value) {
    let mut command: Command = network.command().unwrap();
    let output = command.arg("--json").args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = text.lines().next_back().unwrap_or_default();
    let value = serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("holon {arguments:?} printed no JSON ({error}): {text}\n{errors}"));
    (output.status.code().unwrap(), value)
}

/// The same, of a command that succeeds.
pub fn done(network: &Network, arguments: &[&str]) -> Value {
    let (code, value) = run(network, arguments);
    assert_eq!(code, 0, "holon {arguments:?}: {value}");
    value
}

#[test]
fn the_counter_counts() {
    let network = Network::start().unwrap();
    let counter = network.ready().counter_process.clone();
    // Starting up counts once, to show that it works.
    let start: i64 = done(&network, &["dry-run", "counter", "--action", "Get"])["result"]["Output"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    let step = (41 - start).to_string();
    assert_eq!(done(&network, &["send", &counter, "--action", "Increment", "--data", &step])["result"]["Output"], "41");
    assert_eq!(done(&network, &["send", "counter", "--action", "Increment"])["result"]["Output"], "42");
    let get = done(&network, &["dry-run", "counter", "--action", "Get"]);
    assert_eq!(get["result"]["Output"], "42");
    assert_eq!(get["result"]["Messages"][0]["Data"], "42");

    let sent = done(&network, &["send", "counter", "--action", "Increment", "--data", "8", "--no-wait"]);
    let id = sent["id"].as_str().unwrap();
    assert_eq!(done(&network, &["result", id, "--process", &counter])["result"]["Output"], "50");

    let (code, refused) = run(&network, &["send", "counter", "--action", "Increment", "--data", "many"]);
    assert_eq!(code, 1, "{refused}");
    assert_eq!(done(&network, &["dry-run", "counter", "--action", "Get"])["result"]["Output"], "50");
}

#[test]
fn a_module_is_published_spawned_and_evaluated() {
    let network = Network::start().unwrap();
    let wasm = peers::module("aos2_0_6").unwrap();
    let published = done(&network, &["publish", wasm.to_str().unwrap(), "--format", "aos64", "--tag", "Name=aos"]);
    let module = published["module"].as_str().unwrap();
    let spawned = done(&network, &["spawn", "--module", module, "--tag", "Name=alice"]);
    let process = spawned["process"].as_str().unwrap();
    assert_eq!(done(&network, &["eval", process, "X = 41 return X + 1"])["result"]["Output"]["data"], "42");
    assert_eq!(done(&network, &["eval", process, "return X"])["result"]["Output"]["data"], "41");
    let (code, _) = run(&network, &["eval", process, "error('boom')"]);
    assert_eq!(code, 1);
    let plain = network.command().unwrap().args(["eval", process, "'a' .. X"]).output().unwrap();
    assert!(plain.status.success(), "{}", String::from_utf8_lossy(&plain.stderr));
    assert_eq!(String::from_utf8_lossy(&plain.stdout).trim(), "a41");
}

#[test]
fn wrong_calls_end_with_the_code_that_says_whose_fault_it_is() {
    let network = Network::start().unwrap();
    let code = |arguments: &[&str]| network.command().unwrap().args(arguments).output().unwrap().status.code();
    assert_eq!(code(&["send", "not-an-id", "--action", "Get"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
    let nobody = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    assert_eq!(code(&["send", nobody, "--action", "Get"]), Some(3));
}

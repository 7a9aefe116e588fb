//! `holon inspect` and `holon logs`.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{DEADLINE, User};

#[test]
fn processes_messages_and_modules_are_told_apart_and_described() {
    let user = User::new();
    let network = user.network(".holon");
    let sent = user.run(["send", "counter", "--action", "Increment", "--data", "many", "--json"]);
    let id = sent.json()["id"].as_str().unwrap().to_owned();

    let process = user.run(["inspect", "counter", "--json"]).ok().json();
    assert_eq!(process["kind"], "process");
    assert_eq!(process["id"], network.text("counter_process"));
    assert_eq!(process["module"], network.text("counter_module"));
    assert_eq!(process["scheduler"], network.text("scheduler"));
    assert_eq!(process["authorities"], serde_json::json!([network.text("authority")]));
    assert_eq!((&process["latest"]["nonce"], &process["state"]["nonce"]), (&2.into(), &2.into()), "{process}");
    assert_eq!(process["state"]["stateRoot"].as_str().unwrap().len(), 43);
    assert!(process.get("unknown").is_none(), "{process}");
    let shown = user.run(["inspect", "counter"]).ok().out;
    for label in ["process ", "owner ", "module ", "scheduler ", "log ", "evaluated ", "root "] {
        assert!(shown.lines().any(|line| line.starts_with(label)), "{label}: {shown}");
    }

    let message = user.run(["inspect", &id, "--json"]).ok().json();
    assert_eq!((&message["kind"], &message["scheduled"]["nonce"]), (&"message".into(), &2.into()), "{message}");
    assert_eq!(message["process"], network.text("counter_process"));
    assert!(message["result"]["Error"].as_str().unwrap().contains("whole number"), "{message}");

    let module = user.run(["inspect", &network.text("counter_module"), "--json"]).ok().json();
    assert_eq!((&module["kind"], &module["format"]), (&"module".into(), &"wasm32-unknown-unknown-holon1".into()));
    assert!(module["bytes"].as_u64().unwrap() > 1000, "{module}");

    let nobody = user.run(["inspect", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"]);
    assert_eq!(nobody.code, 3, "{nobody:?}");
    assert!(nobody.err.contains("is not known"), "{}", nobody.err);
}

#[test]
fn crons_of_a_process_are_described() {
    let user = User::new();
    let network = user.network(".holon");
    let module = network.text("counter_module");
    let cron = ["--cron", "10-minutes", "--cron-tag", "Action=Increment", "--json"];
    let spawned = user.run(["spawn", "--module", &module].into_iter().chain(cron)).ok().json();
    let process = user.run(["inspect", spawned["process"].as_str().unwrap(), "--json"]).ok().json();
    let expected =
        serde_json::json!([{ "interval": "10-minutes", "tags": [{ "name": "Action", "value": "Increment" }] }]);
    assert_eq!(process["crons"], expected, "{process}");
}

#[test]
fn logs_tell_the_past_and_follow_what_comes() {
    let user = User::new();
    let _network = user.network(".holon");
    user.run(["send", "counter", "--action", "Increment", "--data", "4"]).ok();
    user.run(["send", "counter", "--action", "Increment", "--data", "many"]);
    let lines = user.run(["logs", "counter"]).ok().out;
    let texts: Vec<&str> = lines.lines().map(|line| line.split_once('Z').unwrap().1.trim()).collect();
    assert_eq!(texts[..2], ["1  1", "2  5"], "{lines}");
    assert!(texts[2].starts_with("3  error the data must be"), "{lines}");
    let errors = user.run(["logs", "counter", "--errors", "--json"]).ok().json();
    assert_eq!(errors["nonce"], 3);
    assert_eq!(user.run(["logs", "counter", "-n", "1"]).ok().out.lines().count(), 1);
    assert_eq!(user.run(["logs", "counter", "--all"]).ok().out.lines().count(), 4, "the spawn said nothing");

    let follow = |lines: &str| {
        let arguments = ["logs", "counter", "-n", lines, "--follow", "--json"];
        let mut child = user.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap()))
    };
    let (mut child, mut lines) = follow("5");
    // Whether it is past or comes is not known, but it is told once.
    user.run(["send", "counter", "--action", "Increment", "--no-wait"]).ok();
    let told: Vec<Value> = lines.by_ref().take(4).collect();
    let nonces: Vec<u64> = told.iter().map(|line| line["nonce"].as_u64().unwrap()).collect();
    assert_eq!((nonces.as_slice(), &told[3]["output"]), ([1, 2, 3, 4].as_slice(), &"6".into()), "{told:#?}");
    user.run(["send", "counter", "--action", "Increment", "--no-wait"]).ok();
    assert_eq!(lines.next().unwrap()["output"], "7");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn logs_of_a_process_that_wakes_by_itself_end_with_what_it_said_last() {
    let user = User::new();
    let network = user.network(".holon");
    let module = network.text("counter_module");
    let cron = ["--cron", "1-second", "--cron-tag", "Action=Increment"];
    let process = user.run(["spawn", "--module", &module, "--json"].iter().chain(&cron)).ok().json()["process"].clone();
    let process = process.as_str().unwrap();
    let counted =
        || user.run(["dry-run", process, "--action", "Get", "--json"]).ok().json()["result"]["Output"].clone();
    let begun = Instant::now();
    while counted().as_str().unwrap().parse::<u32>().unwrap() < 4 {
        assert!(begun.elapsed() < DEADLINE, "no crons come");
        std::thread::sleep(Duration::from_millis(200));
    }
    // No message of the log lies among the last three results, nor will one come after them.
    let said = user.run(["logs", process, "-n", "3"]).ok();
    assert_eq!(said.out.lines().count(), 3, "{said:?}");
    assert!(said.out.lines().all(|line| line.contains("cron 0-1-second")), "{said:?}");
    assert!(user.run(["logs", process]).ok().out.lines().count() >= 4);
}

#[test]
fn the_url_of_one_unit_of_the_running_network_means_that_network() {
    let user = User::new();
    let network = user.network(".holon");
    let cu_url = network.text("cu_url");
    let said = user.run(["send", "counter", "--action", "Increment", "--cu-url", &cu_url]).ok();
    assert!(said.out.contains('2'), "{said:?}");
    // The operator's token is found, too: the unit says what there is to resume.
    let said = user.run(["resume", "counter", "--cu-url", &cu_url]);
    assert!(said.code == 3 && said.err.contains("is not parked"), "{said:?}");
    let said = user.run(["resume", "counter", "--operator-token", "wrong"]);
    assert!(said.code == 3 && !said.err.contains("is not parked"), "{said:?}");
}

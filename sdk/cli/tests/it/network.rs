//! `holon up` and everything a user does with a running network.

use std::fs;

use serde_json::Value;

use crate::program::{Signal, User};

fn value(user: &User, data: &str) -> String {
    let said = user.run(["dry-run", "counter", "--action", "Get", "--json", "--network", data]).ok().json();
    said["result"]["Output"].as_str().unwrap().to_owned()
}

#[test]
fn a_network_comes_up_works_and_stops_in_order() {
    let user = User::new();
    let network = user.network(".holon");
    for member in ["gateway_url", "uploader_url", "mu_url", "su_url", "cu_url"] {
        let url = network.text(member);
        assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with('/'), "{member}: {url}");
    }
    assert_eq!(network.text("explorer_url"), format!("{}/explorer/", network.text("gateway_url")));
    for member in ["scheduler", "authority", "counter_process", "counter_module"] {
        assert_eq!(network.text(member).len(), 43, "{member}");
    }
    assert_eq!(network.text("data"), network.data.canonicalize().unwrap().to_str().unwrap());

    // The proof counted once; commands in the same folder find the network by themselves.
    let sent = user.run(["send", "counter", "--action", "Increment", "--data", "5", "--json"]).ok().json();
    assert_eq!(sent["result"]["Output"], "6", "{sent}");
    assert_eq!(sent["process"], network.text("counter_process"));
    let asked = user.run(["dry-run", "counter", "--action", "Get"]).ok();
    assert!(asked.out.contains("output     6"), "{}", asked.out);
    // A dry run changes nothing, however often it is made.
    user.run(["dry-run", "counter", "--action", "Increment", "--data", "100"]).ok();
    assert_eq!(value(&user, ".holon"), "6");

    let id = sent["id"].as_str().unwrap();
    let again = user.run(["result", id, "--process", "counter", "--json"]).ok().json();
    assert_eq!(again["result"]["Output"], "6");
    let list = user.run(["results", "counter", "--sort", "desc", "--limit", "1", "--json"]).ok().json();
    assert_eq!(list["result"]["Output"], "6");

    let later = user.run(["send", "counter", "--action", "Increment", "--no-wait", "--json"]).ok().json();
    assert!(later.get("result").is_none());
    let result = user.run(["result", later["id"].as_str().unwrap(), "--process", "counter", "--json"]).ok().json();
    assert_eq!(result["result"]["Output"], "7");

    let data = network.data.clone();
    let (status, rest) = network.stop(Signal::Interrupt);
    assert_eq!(status.code(), Some(0));
    assert_eq!(rest, "", "one line only");
    assert!(!data.join("network.json").exists());
    assert_eq!(user.run(["dry-run", "counter", "--action", "Get"]).code, 3);
}

#[test]
fn an_error_of_the_process_is_exit_code_1_and_changes_nothing() {
    let user = User::new();
    let _network = user.network(".holon");
    let said = user.run(["send", "counter", "--action", "Increment", "--data", "many"]);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("whole number"), "{}", said.err);
    assert_eq!(value(&user, ".holon"), "1");
}

#[test]
fn a_module_is_published_spawned_and_used() {
    let user = User::new();
    let _network = user.network(".holon");
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wasm-processes/counter/counter.wasm");
    let module = user.run(["publish", wasm, "--memory-limit", "16-mb", "--json"]).ok().json();
    let spawned = user.run(["spawn", "--module", module["module"].as_str().unwrap(), "--json"]).ok().json();
    let process = spawned["process"].as_str().unwrap();
    let sent = user.run(["send", process, "--action", "Increment", "--data", "2", "--json"]).ok().json();
    assert_eq!(sent["result"]["Output"], "2");
    assert_eq!(value(&user, ".holon"), "1");

    let unknown = user.run(["spawn", "--module", process]);
    assert_eq!(unknown.code, 3);
    assert!(unknown.err.contains("not a module"), "{}", unknown.err);
}

#[test]
fn a_restart_goes_on_where_the_network_ended() {
    let user = User::new();
    let network = user.network("net");
    let ids = |ready: &Value| ["scheduler", "authority", "counter_process"].map(|member| ready[member].clone());
    let before = ids(&network.ready);
    user.run(["send", "counter", "--action", "Increment", "--data", "41", "--network", "net"]).ok();
    assert_eq!(network.stop(Signal::Terminate).0.code(), Some(0));

    // Other ports, the same network.
    let network = user.network("net");
    assert_eq!(ids(&network.ready), before);
    assert_eq!(value(&user, "net"), "42");
    user.run(["send", "counter", "--action", "Increment", "--network", "net"]).ok();
    assert_eq!(value(&user, "net"), "43");
}

#[test]
fn what_was_acknowledged_survives_kill() {
    let user = User::new();
    let network = user.network("net");
    for _ in 0..5 {
        user.run(["send", "counter", "--action", "Increment", "--no-wait", "--network", "net"]).ok();
    }
    network.stop(Signal::Kill);
    // What the killed program left behind misleads nobody.
    assert_eq!(user.run(["dry-run", "counter", "--action", "Get", "--network", "net"]).code, 3);
    let _network = user.network("net");
    assert_eq!(value(&user, "net"), "6");
}

#[test]
fn one_folder_holds_one_network_and_fresh_begins_anew() {
    let user = User::new();
    let network = user.network("net");
    let second = user.run(["up", "--port", "0", "--data", "net"]);
    assert_eq!(second.code, 2, "{second:?}");
    assert!(second.err.contains("is running"), "{}", second.err);
    let first = network.text("counter_process");
    network.stop(Signal::Terminate);

    fs::create_dir(user.home().join("project")).unwrap();
    fs::write(user.home().join("project/mu"), "source").unwrap();
    let elsewhere = user.run(["up", "--port", "0", "--data", "project", "--fresh"]);
    assert_eq!(elsewhere.code, 2, "{elsewhere:?}");
    assert!(user.home().join("project/mu").exists());

    fs::write(user.home().join("net/mine.txt"), "kept").unwrap();
    let network = user.network_with("net", &["--fresh"]);
    assert_ne!(network.text("counter_process"), first);
    assert_eq!(value(&user, "net"), "1");
    assert!(user.home().join("net/mine.txt").exists());
}

#[test]
fn environment_variables_of_the_network_are_enough() {
    let user = User::new();
    let network = user.network("net");
    let env = user.run(["env", "--network", "net"]).ok().out;
    let elsewhere = User::new();
    let mut command = elsewhere.command(["send", &network.text("counter_process"), "--action", "Increment", "--json"]);
    for line in env.lines() {
        let (name, value) = line.strip_prefix("export ").unwrap().split_once('=').unwrap();
        assert!(!value.ends_with('/'), "{line}");
        command.env(name, value);
    }
    let sent: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(sent["result"]["Output"], "2", "{sent}");
}

#[test]
fn a_port_in_use_is_named() {
    let user = User::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().min(65_531).to_string();
    let said = user.run(["up", "--port", &port, "--data", "net"]);
    assert_eq!(said.code, 3);
    assert!(said.err.contains(&port) && said.err.contains("--port"), "{}", said.err);
}

#[test]
fn results_are_watched_as_they_come() {
    let user = User::new();
    let _network = user.network(".holon");
    let watch = ["watch", "counter", "--from", "0", "--count", "3", "--json"];
    let mut child = user.command(watch).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut next = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    };
    // The spawn was evaluated before, then the proof.
    let (spawned, proof) = (next(), next());
    assert_eq!((&spawned["nonce"], &proof["nonce"], &proof["result"]["Output"]), (&0.into(), &1.into(), &"1".into()));
    // Nobody asks for the result of this one.
    user.run(["send", "counter", "--action", "Increment", "--data", "many", "--no-wait"]).ok();
    let failed = next();
    assert_eq!(failed["nonce"], 2);
    assert!(failed["result"]["Error"].as_str().unwrap().contains("whole number"), "{failed}");
    assert!(child.wait().unwrap().success());

    user.run(["send", "counter", "--action", "Increment", "--no-wait"]).ok();
    let more = user.run(["watch", "counter", "--from", failed["cursor"].as_str().unwrap(), "-n", "1"]).ok();
    assert!(more.out.starts_with("3  ") && more.out.contains("output     2"), "{}", more.out);
}

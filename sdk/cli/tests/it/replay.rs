//! `holon replay` and `holon state --replay`: a process from Arweave alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{Signal, User};
use crate::pty::Tty;

/// Longest wait for uploads to Arweave.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_process_is_rebuilt_and_its_state_named() {
    let user = User::new();
    let network = user.network(".holon");
    for _ in 0..3 {
        user.run(["send", "counter", "--action", "Increment"]).ok();
    }
    // The process, the proof, and three more.
    let begun = Instant::now();
    let whole = loop {
        let report = user.run(["replay", "counter", "--json"]).ok().json();
        if report["slot"] == 4 {
            break report;
        }
        assert!(begun.elapsed() < SETTLED_WITHIN, "the log on Arweave ends too early: {report}");
    };
    let root = whole["stateRoot"].as_str().unwrap();
    assert_eq!(root.len(), 43);
    assert_eq!(whole["process"], network.text("counter_process"));

    let said = user.run(["replay", "counter", "--to", "2", "--data", "elsewhere", "--memory", "image"]).ok();
    let earlier = user.run(["state", "counter", "--at", "2", "--replay", "--json"]).ok().json();
    assert!(said.out.contains(earlier["stateRoot"].as_str().unwrap()), "{}", said.out);
    assert_ne!(earlier["stateRoot"], root);
    let image = std::fs::metadata(user.home().join("image")).unwrap().len();
    assert_eq!(Value::from(image), earlier["memoryBytes"]);

    let beyond = user.run(["replay", "counter", "--to", "5"]);
    assert_eq!(beyond.code, 3);
    assert!(beyond.err.contains("ends with slot 4; 5 was asked for"), "{}", beyond.err);
    let farthest = user.run(["replay", "counter", "--to", &u64::MAX.to_string(), "--patience", "0"]);
    assert!(farthest.code == 3 && farthest.err.contains("ends with slot 4"), "{farthest:?}");
    let later = user.run(["state", "counter", "--at", "5"]);
    assert!(later.code == 3 && later.err.contains("its log ends with slot 4"), "{later:?}");
    assert!(later.err.contains("an earlier slot"), "{later:?}");
    let nobody = user.run(["replay", &"A".repeat(43), "--data", "nobody"]);
    assert_eq!(nobody.code, 3);
    assert!(nobody.err.contains("is not known to the gateway"), "{}", nobody.err);
    network.stop(Signal::Interrupt);
}

#[test]
fn a_fork_goes_on_under_the_same_id_and_leaves_the_original_alone() {
    let user = User::new();
    let network = user.network(".holon");
    let process = network.text("counter_process");
    for _ in 0..3 {
        user.run(["send", "counter", "--action", "Increment"]).ok();
    }
    let begun = Instant::now();
    let original = loop {
        let said = user.run(["replay", "counter", "--to", "2", "--json"]);
        if said.code == 0 {
            break said.json();
        }
        assert!(begun.elapsed() < SETTLED_WITHIN, "{said:?}");
    };
    let fork = user.run(["fork", "counter", "--at", "2", "--data", "fork", "--prepare", "--json"]).ok().json();
    assert_eq!((&fork["process"], &fork["slot"]), (&Value::from(process.as_str()), &Value::from(2)));
    let again = user.run(["fork", "counter", "--at", "2", "--data", "fork", "--prepare"]);
    assert_eq!(again.code, 2, "{again:?}");

    let forked = user.network("fork");
    let at_slot = ["replay", &process, "--to", "2", "--log", "scheduler", "--data", "forked", "--network", "fork"];
    let at_slot = user.run(at_slot.iter().chain(&["--json"])).ok().json();
    assert_eq!(at_slot["stateRoot"], original["stateRoot"]);
    // The process, the proof and one message counted two; the next one is the third.
    let sent = ["send", &process, "--action", "Increment", "--network", "fork", "--json"];
    assert_eq!(user.run(sent).ok().json()["result"]["Output"], "3");
    assert_eq!(user.run(sent).ok().json()["result"]["Output"], "4");
    let value = user.run(["dry-run", "counter", "--action", "Get", "--json", "--network", ".holon"]).ok().json();
    assert_eq!(value["result"]["Output"], "4", "the original has its own three");
    forked.stop(Signal::Interrupt);
    // What was forked is there after a restart, too.
    let forked = user.network("fork");
    assert_eq!(user.run(sent).ok().json()["result"]["Output"], "5");
    let elsewhere = tempfile::tempdir().unwrap();
    let gateway = || {
        let said = user.command(["env", "--json"]).current_dir(elsewhere.path()).output().unwrap();
        crate::program::Said::from(said).ok().json()["gateway_url"].clone()
    };
    assert_eq!(gateway(), forked.text("gateway_url"), "the one started last");
    forked.stop(Signal::Interrupt);
    assert_eq!(gateway(), network.text("gateway_url"), "the one before it still runs");

    let refused = user.run(["fork", &"A".repeat(43), "--data", "nothing/here", "--prepare"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(!user.home().join("nothing").exists(), "a refused fork leaves nothing behind");
    network.stop(Signal::Interrupt);
}

#[test]
fn processes_with_crons_go_on_in_a_fork_with_the_blocks_they_had() {
    let user = User::new();
    let network = user.network(".holon");
    let module = network.text("counter_module");
    for (interval, fork) in [("1-second", "fork"), ("1-block", "blocks")] {
        let spawn = ["spawn", "--module", &module, "--json", "--cron", interval, "--cron-tag", "Action=Increment"];
        let process = user.run(spawn).ok().json()["process"].as_str().unwrap().to_owned();
        let mut sent = 0;
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(2500));
            let said = user.run(["send", &process, "--action", "Increment", "--json"]).ok().json();
            sent = said["result"]["Output"].as_str().unwrap().parse().unwrap();
        }
        // More than the messages: crons fired between them.
        assert!(sent >= 4, "{interval}: {sent}");
        let begun = Instant::now();
        let prepared = loop {
            let said = user.run(["fork", &process, "--at", "2", "--data", fork, "--prepare", "--json"]);
            if said.code == 0 {
                break said.json();
            }
            assert!(begun.elapsed() < SETTLED_WITHIN, "{said:?}");
        };
        assert_eq!(prepared["slot"], 2);
        let at = |network: &str, slot: &str| {
            let state = ["state", &process, "--at", slot, "--network", network, "--json"];
            user.run(state).ok().json()["stateRoot"].clone()
        };
        let original: Vec<Value> = ["0", "1", "2"].map(|slot| at(".holon", slot)).into();
        let forked = user.network(fork);
        let again: Vec<Value> = ["0", "1", "2"].map(|slot| at(fork, slot)).into();
        assert_eq!(again, original, "{interval}");
        // Crons go on: there the next messages are not the next ones to be counted.
        let begun = Instant::now();
        for messages in 1.. {
            let said = user.run(["send", &process, "--action", "Increment", "--network", fork, "--json"]).ok().json();
            let count: u64 = said["result"]["Output"].as_str().unwrap().parse().unwrap();
            if count > sent + messages {
                break;
            }
            assert!(begun.elapsed() < SETTLED_WITHIN, "{interval}: {count} after {sent} and {messages} messages");
        }
        forked.stop(Signal::Interrupt);
    }
    network.stop(Signal::Interrupt);
}

/// A compute unit that names the states that a replay of its own finds, but other ones from slot `wrong_from` on.
fn unit(user: Arc<User>, process: String, wrong_from: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut asked = String::new();
            reader.read_line(&mut asked).unwrap();
            let mut line = String::new();
            while reader.read_line(&mut line).unwrap() > 2 {
                line.clear();
            }
            let path = asked.strip_prefix(&format!("GET /root/{process}?slot=")).unwrap_or_else(|| panic!("{asked}"));
            let slot: u64 = path.split([' ', '&']).next().unwrap().parse().unwrap();
            let folder = format!("unit-{wrong_from}");
            let own =
                ["replay", &process, "--to", &slot.to_string(), "--data", &folder, "--network", ".holon", "--json"];
            let own = user.run(own).ok().json();
            let root = match slot < wrong_from {
                true => own["stateRoot"].as_str().unwrap().to_owned(),
                false => "A".repeat(43),
            };
            let answer = serde_json::json!({
                "process": process, "nonce": slot, "timestamp": own["timestamp"], "stateRoot": root,
                "memoryBytes": own["memoryBytes"], "evaluator": "somebody",
            });
            let answer = answer.to_string();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n";
            write!(stream, "{head}Content-Length: {}\r\n\r\n{answer}", answer.len()).unwrap();
        }
    });
    url
}

#[test]
fn a_unit_with_another_state_is_found_out_at_the_first_slot() {
    let user = Arc::new(User::new());
    let network = user.network(".holon");
    let process = network.text("counter_process");
    for _ in 0..68 {
        user.run(["send", "counter", "--action", "Increment", "--no-wait"]).ok();
    }
    let begun = Instant::now();
    while user.run(["replay", "counter", "--to", "69"]).code != 0 {
        assert!(begun.elapsed() < SETTLED_WITHIN, "the log on Arweave ends too early");
    }
    // At the start, at the first sample, after it, and never.
    for wrong_from in [0, 64, 67, 1000] {
        let unit = unit(user.clone(), process.clone(), wrong_from);
        let said = user.run(["replay", "counter", "--compare", &unit]);
        if wrong_from > 69 {
            assert!(said.code == 0 && said.out.contains("the same"), "{said:?}");
            continue;
        }
        assert_eq!(said.code, 3, "{said:?}");
        assert!(said.err.contains(&format!("slot {wrong_from} is the first at which")), "{wrong_from}: {}", said.err);
    }
    network.stop(Signal::Interrupt);
}

/// Before a gateway: passes everything on, but knows nothing of the assignment of slot 2 as long as `hides`.
fn forgetful(gateway: &str, hides: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = gateway.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (gateway, hides) = (gateway.clone(), hides.clone());
            // Whoever asked may have gone away.
            std::thread::spawn(move || pass_on(stream?, &gateway, &hides));
        }
    });
    url
}

fn pass_on(mut stream: TcpStream, gateway: &str, hides: &AtomicBool) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut head, mut size) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let (name, value) = line.split_once(':').unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => size = value.trim().parse().unwrap(),
            "connection" | "accept-encoding" => continue,
            _ => {}
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; size];
    reader.read_exact(&mut body)?;
    let mut upstream = TcpStream::connect(gateway)?;
    write!(upstream, "{head}Connection: close\r\n\r\n")?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if hides.load(Ordering::SeqCst) && head.starts_with("POST /graphql") {
        let split = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
        let mut said: Value = serde_json::from_slice(&answer[split..]).unwrap();
        if let Some(edges) = said["data"]["transactions"]["edges"].as_array_mut() {
            let second = |tag: &Value| tag["name"] == "Nonce" && tag["value"].as_str().unwrap().parse() == Ok(2);
            edges.retain(|edge| !edge["node"]["tags"].as_array().is_some_and(|tags| tags.iter().any(second)));
        }
        let said = said.to_string();
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n";
        answer = format!("{head}Content-Length: {}\r\n\r\n{said}", said.len()).into_bytes();
    }
    stream.write_all(&answer)
}

#[test]
fn a_slot_that_is_missing_is_named_and_looked_for_as_long_as_was_said() {
    let user = User::new();
    let network = user.network(".holon");
    for _ in 0..3 {
        user.run(["send", "counter", "--action", "Increment"]).ok();
    }
    let begun = Instant::now();
    while user.run(["replay", "counter", "--to", "4"]).code != 0 {
        assert!(begun.elapsed() < SETTLED_WITHIN, "the log on Arweave ends too early");
    }
    let hides = Arc::new(AtomicBool::new(true));
    let gateway = forgetful(&network.text("gateway_url"), hides.clone());
    let replay = ["replay", "counter", "--to", "4", "--json", "--network", ".holon", "--gateway-url", &gateway];

    // Less than the fifteen seconds that are the default.
    let begun = Instant::now();
    let said = user.run(replay.iter().chain(&["--data", "short", "--patience", "0"]));
    assert!(said.code == 3 && said.err.contains("slot 2"), "{said:?}");
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());

    // On a terminal it is one line, however narrow that is.
    let tty = Tty::run(user.command(replay.iter().filter(|word| **word != "--json").chain(&[
        "--data",
        "tty",
        "--patience",
        "300",
    ])));
    let screen =
        tty.until("waiting", |lines| lines.iter().any(|line| line.contains("; waiting for slot 2 for 6 seconds (")));
    assert!(screen.len() == 1 && screen[0].ends_with('…'), "{screen:#?}");
    drop(tty);

    // More than that: lines say what is waited for, and the slot is used once it is there.
    let mut command = user.command(replay.iter().chain(&["--data", "long", "--patience", "300"]));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let waited = |line: &str| {
        let (seconds, _) = line.split_once("; waiting for slot 2 for ")?.1.split_once(" seconds (")?;
        seconds.parse::<u64>().ok()
    };
    let mut said = Vec::new();
    loop {
        let line = lines.next().unwrap_or_else(|| panic!("it gave up: {said:#?}")).unwrap();
        said.push(line.clone());
        if waited(&line).is_some_and(|seconds| seconds >= 18) {
            break;
        }
    }
    assert!(said.len() >= 3 && said.iter().all(|line| line.starts_with("2 slots of 5 evaluated, ")), "{said:#?}");
    hides.store(false, Ordering::SeqCst);
    let out = child.wait_with_output().unwrap();
    let report: Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|error| panic!("{error}: {out:?} {said:#?}"));
    assert_eq!((out.status.code(), &report["slot"]), (Some(0), &Value::from(4)), "{report}");
    network.stop(Signal::Interrupt);
}

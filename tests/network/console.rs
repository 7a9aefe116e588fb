//! `holon console` with an official aos: lines are code.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use holon_tests::{network::Network, peers};

use crate::command_line::done;

fn say(mut command: Command, script: &str) -> (Option<i32>, String, String) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_process_of_aos_evaluates_what_its_owner_types() {
    let network = Network::start().unwrap();
    let wasm = peers::module("aos2_0_6").unwrap();
    let published = done(&network, &["publish", wasm.to_str().unwrap(), "--format", "aos64"]);
    let spawned = done(&network, &["spawn", "--module", published["module"].as_str().unwrap(), "--tag", "Name=alice"]);
    let process = spawned["process"].as_str().unwrap();
    let console = |more: &[&str]| {
        let mut command = network.command().unwrap();
        command.args(["console", process]).args(more);
        command
    };

    // Meeting the process leaves no trace: the first line has the first slot.
    let script = "Count = 41\nfunction more(x)\n  return x + 1\nend\nmore(Count)\n[[two\nlines]]\n";
    let (code, out, err) = say(console(&[]), script);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.ends_with("42\ntwo\nlines\n"), "{out}");
    let known = done(&network, &["inspect", process]);
    assert_eq!(known["latest"]["nonce"], 4, "four lines, four messages: {known}");

    let (code, out, err) = say(console(&[]), "error('boom')\n1 + 1\n");
    assert_eq!((code, out.as_str()), (Some(1), ""), "a script stops at the first error");
    assert!(err.contains("boom"), "{err}");
    let (code, out, _) = say(console(&["--dry-run"]), "Count = 7 return Count\n.eval return Count\n");
    assert_eq!((code, out.as_str()), (Some(0), "7\n41\n"));

    // Whoever does not own it looks at it without touching it, and sends messages.
    let folder = tempfile::tempdir().unwrap();
    let wallet = folder.path().join("bob.json");
    let wallet = wallet.to_str().unwrap();
    let made =
        network.command().unwrap().args(["wallet", "new", "--type", "ed25519", "--out", wallet]).output().unwrap();
    assert!(made.status.success());
    let (code, out, _) =
        say(console(&["--wallet", wallet]), "Count = 9 return Count\nCount\n.send Hello X=y good day\n");
    assert_eq!(code, Some(0));
    assert!(out.starts_with("9\n41\n"), "{out}");
    let (code, out, err) = say(console(&[]), "Inbox[#Inbox].Data .. Inbox[#Inbox].Tags.X\n.inbox 1\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("good dayy\n") && out.contains("Hello") && out.contains("good day"), "{out}");
}

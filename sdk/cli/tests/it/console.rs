//! `holon console`, on a terminal and as a script.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::program::User;
use crate::pty::Tty;

#[test]
fn a_process_is_talked_to_on_a_terminal() {
    let user = User::new();
    let network = user.network(".holon");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    let mut tty = Tty::run(user.command(["console", "counter"]));
    let lines = tty.last("counter>");
    assert!(lines[0].contains(&network.text("counter_process")), "{lines:#?}");
    assert!(lines[1].contains("every line is a message"), "{lines:#?}");

    tty.enter("Increment 5");
    tty.answer("counter> Increment 5", "6");
    tty.enter("Get");
    tty.answer("counter> Get", "6");
    // An error of the process is told, and that is all.
    tty.enter("Increment many");
    tty.answer("counter> Increment many", "error the data must be empty or a whole number");
    tty.last("counter>");

    // What only asks changes nothing.
    tty.enter(".dry Increment 100");
    tty.answer("counter> .dry Increment 100", "106");
    tty.enter(".dryrun");
    tty.last("counter (dry run)>");
    tty.enter("Increment 7");
    tty.answer("counter (dry run)> Increment 7", "13");
    tty.enter(".dryrun");
    tty.last("counter>");
    tty.enter("Get");
    tty.until("6 again", |lines| {
        lines.windows(2).filter(|pair| pair[0] == "counter> Get" && pair[1] == "6").count() == 2
    });

    tty.press("\x04");
    assert_eq!(tty.end().code(), Some(0));
}

#[test]
fn what_happens_meanwhile_is_shown_above_what_is_being_typed() {
    let user = User::new();
    let _network = user.network(".holon");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    user.run(["wallet", "new", "--type", "ed25519", "--out", "bob.json"]).ok();
    let mut tty = Tty::run(user.command(["console", "counter"]));
    tty.last("counter>");
    tty.enter("Get");
    tty.answer("counter> Get", "1");
    tty.press("Increment 4");
    tty.last("counter> Increment 4");

    let bob = user.run(["wallet", "show", "--wallet", "bob.json", "--json"]).ok().json();
    let address = bob["address"].as_str().unwrap();
    user.run(["send", "counter", "--action", "Increment", "--data", "20", "--wallet", "bob.json", "--no-wait"]).ok();
    let lines = tty.until("bob's message and the line as it was", |lines| {
        let arrival = lines.iter().position(|line| line.contains("slot 3 Increment") && line.contains(address));
        let tail: Vec<&str> = arrival.map_or(&[][..], |at| &lines[at + 1..]).iter().map(String::as_str).collect();
        tail == ["  20", "  → 21", "counter> Increment 4"]
    });
    assert_eq!(lines.iter().filter(|line| line.contains("←")).count(), 1, "answers are not told twice: {lines:#?}");

    // The line goes on where it was.
    tty.enter("0");
    tty.answer("counter> Increment 40", "61");
    tty.enter(".inbox 1");
    tty.until("the message in the inbox", |lines| {
        let asked = lines.iter().position(|line| line == "counter> .inbox 1");
        asked.and_then(|at| lines.get(at + 1)).is_some_and(|line| line.contains(address))
    });

    // Without the feed nothing is told.
    tty.enter(".pause");
    tty.answer("counter> .pause", "showing only answers");
    user.run(["send", "counter", "--action", "Increment", "--wallet", "bob.json"]).ok();
    tty.enter("Get");
    let lines = tty.answer("counter> Get", "62");
    assert_eq!(lines.iter().filter(|line| line.starts_with("← ") && line.contains("slot 5")).count(), 0, "{lines:#?}");
}

#[test]
fn lines_are_completed_continued_and_remembered() {
    let user = User::new();
    let network = user.network(".holon");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    let mut tty = Tty::run(user.command(["console", "counter"]));
    tty.last("counter>");
    // The log holds an Increment: the proof of `holon up`.
    tty.press("Inc\t");
    tty.last("counter> Increment");
    tty.enter("3 \\");
    tty.last("counter> Increment 3 \\");
    tty.enter("");
    tty.until("the answer", |lines| lines.contains(&"4".to_owned()));
    tty.press(".res\t");
    tty.until("both commands", |lines| lines.iter().any(|line| line.contains(".result") && line.contains(".results")));
    tty.press("\x03");
    tty.last("counter>");
    tty.enter(".exit");
    assert_eq!(tty.end().code(), Some(0));

    let history =
        user.home().join(".local/state/holon/console").join(format!("{}.history", network.text("counter_process")));
    assert_eq!(std::fs::metadata(&history).unwrap().permissions().mode() & 0o077, 0, "for its owner only");
    let mut tty = Tty::run(user.command(["console", "counter"]));
    tty.last("counter>");
    tty.press("\x1b[A");
    tty.last("counter> .exit");
    tty.press("\x12Incr");
    tty.until("the line found", |lines| lines.iter().any(|line| line.contains("Increment 3")));
}

#[test]
fn what_is_typed_before_the_prompt_is_for_the_next_line() {
    let user = User::new();
    let _network = user.network(".holon");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    let mut tty = Tty::run(user.command(["console", "counter"]));
    tty.last("counter>");
    // All at once: nothing of it waits for an answer, least of all the end.
    tty.press("Increment 5\rIncrement 6\rGet\r\x04");
    let lines =
        tty.until("three answers", |lines| lines.windows(2).any(|pair| pair[0] == "counter> Get" && pair[1] == "12"));
    assert!(lines.windows(2).any(|pair| pair[0] == "counter> Increment 5" && pair[1] == "6"), "{lines:#?}");
    assert_eq!(tty.end().code(), Some(0));
}

#[test]
fn colours_are_there_for_those_who_want_them() {
    let user = User::new();
    let _network = user.network(".holon");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    for (variable, coloured) in [("IRRELEVANT", true), ("NO_COLOR", false)] {
        let mut command = user.command(["console", "counter"]);
        command.env(variable, "1");
        let tty = Tty::run(command);
        tty.last("counter>");
        assert_eq!(tty.has_colours(), coloured, "{variable}");
    }
}

#[test]
fn without_a_terminal_it_reads_a_script_that_stops_at_the_first_error() {
    let user = User::new();
    let _network = user.network(".holon");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    let script = |text: &str, more: &[&str]| {
        let mut command = user.command(["console", "counter"].iter().chain(more));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, out, err) = script("# a remark\nIncrement 5\n\nIncrement \\\n  4\nGet", &[]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.starts_with("6\n10\n10\nmessage "), "{out}");

    let (code, out, err) = script("Increment 1\nIncrement many\nIncrement 1\n", &[]);
    assert_eq!((code, out.as_str()), (Some(1), "11\n"), "{err}");
    assert!(err.contains("whole number"), "{err}");

    let (code, out, _) = script("Get\n.info\n", &["--json"]);
    let values: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(code, Some(0));
    assert_eq!((&values[0]["result"]["Output"], &values[1]["kind"]), (&"11".into(), &"process".into()));

    let (code, _, err) = script(".nonsense\n", &[]);
    assert_eq!(code, Some(2), "{err}");
    let said = user.run(["console", "counter", "--run", "Increment 1", "--run", "Get", "--dry-run"]).ok();
    assert!(said.out.starts_with("12\n11\n"), "{}", said.out);
}

#[test]
fn what_a_process_says_does_not_rule_the_terminal() {
    let user = User::new();
    let _network = user.network(".holon");
    user.run(["wallet", "new", "--type", "ed25519"]).ok();
    let mut tty = Tty::run(user.command(["console", "counter"]));
    tty.last("counter>");
    // The counter repeats what it could not read: an order to empty the screen, another to set the title.
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}";
    user.run(["send", "counter", "--action", "Increment", "--data", evil, "--no-wait"]).ok();
    let lines = tty.until("the error", |lines| lines.iter().any(|line| line.contains("whole number")));
    assert!(lines[0].starts_with('●'), "the screen was not emptied: {lines:#?}");
    assert!(lines.iter().any(|line| line.contains("␛[2J")), "{lines:#?}");
    tty.press("\x04");
    assert_eq!(tty.end().code(), Some(0));
}

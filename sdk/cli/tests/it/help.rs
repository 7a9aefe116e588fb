//! Help that helps.

use crate::program::User;
use crate::pty::Tty;

const COMMANDS: [&str; 34] = [
    "up",
    "init",
    "build",
    "test",
    "deploy",
    "console",
    "network",
    "wallet",
    "publish",
    "spawn",
    "send",
    "result",
    "results",
    "watch",
    "logs",
    "inspect",
    "trace",
    "dead-letters",
    "retry",
    "resume",
    "dry-run",
    "eval",
    "replay",
    "state",
    "fork",
    "env",
    "mu",
    "su",
    "cu",
    "weave",
    "announce",
    "completions",
    "man",
    "help",
];

#[test]
fn every_command_shows_examples() {
    let user = User::new();
    for command in COMMANDS.into_iter().filter(|command| *command != "help") {
        let help = user.run([command, "--help"]).ok();
        assert!(help.out.contains("Examples:\n  "), "{command}: {}", help.out);
        assert!(help.out.contains("Usage: holon "), "{command}: {}", help.out);
    }
}

#[test]
fn the_first_page_names_every_command_and_exit_code() {
    let help = User::new().run(["--help"]).ok().out;
    for command in COMMANDS {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
    for code in ["0  done", "1  the process", "2  the command line", "3  a unit"] {
        assert!(help.contains(code), "{code}");
    }
}

#[test]
fn output_to_a_pipe_has_no_colours() {
    let user = User::new();
    let made = user.run(["wallet", "new", "--type", "ed25519"]).ok();
    assert!(!made.out.contains('\x1b') && !made.err.contains('\x1b'), "{made:?}");
}

#[test]
fn no_color_is_honoured_on_a_terminal_too() {
    let user = User::new();
    for (variable, coloured) in [("IRRELEVANT", true), ("NO_COLOR", false)] {
        let mut command = user.command(["wallet", "new", "--type", "ed25519", "--out", variable]);
        command.env(variable, "1");
        let tty = Tty::run(command);
        let lines = tty.until("the wallet", |lines| lines.iter().any(|line| line.starts_with("file")));
        assert_eq!(tty.has_colours(), coloured, "{variable}");
        assert!(!lines.iter().any(|line| line.contains("making a key")), "the spinner is gone: {lines:#?}");
    }
}

#[test]
fn every_shell_completes_commands_and_flags() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = user.run(["completions", shell]).ok().out;
        for word in ["dead-letters", "--no-wait", "dry-run", "scheduler-url", "network", "--config"] {
            let word = if shell == "fish" { word.trim_start_matches('-') } else { word };
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    // A shell that reads it finds nothing wrong, and knows the command afterwards.
    let script = user.run(["completions", "bash"]).ok().out;
    std::fs::write(user.home().join("holon.bash"), script).unwrap();
    let output = std::process::Command::new("bash")
        .args(["--norc", "-c", "source ./holon.bash && complete -p holon"])
        .current_dir(user.home())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json = user.run(["completions", "zsh", "--json"]).ok().json();
    assert_eq!(json["shell"], "zsh");
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let user = User::new();
    let page = user.run(["man"]).ok().out;
    assert!(page.contains(".TH holon 1") && page.contains("Exit codes:"), "{page}");
    let page = user.run(["man", "network", "add"]).ok().out;
    assert!(page.contains(".TH holon-network-add 1"), "{page}");
    assert_eq!(user.run(["man", "nonsense"]).code, 2);

    user.run(["man", "--out", "pages"]).ok();
    for command in COMMANDS.into_iter().filter(|command| *command != "help") {
        let page = std::fs::read_to_string(user.home().join(format!("pages/holon-{command}.1"))).unwrap();
        assert!(page.contains("Examples:"), "{command}");
    }
    let scheduler = std::fs::read_to_string(user.home().join("pages/holon-su.1")).unwrap();
    assert!(scheduler.contains("SU_DATA_DIR"), "units have their own flags");
}

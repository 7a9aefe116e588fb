//! Help that helps.

use crate::program::User;

const COMMANDS: [&str; 18] = [
    "up", "init", "build", "test", "deploy", "wallet", "publish", "spawn", "send", "result", "results", "watch",
    "dry-run", "eval", "replay", "state", "fork", "env",
];

#[test]
fn every_command_shows_examples() {
    let user = User::new();
    for command in COMMANDS {
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

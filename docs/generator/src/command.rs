//! The `holon` command, from what it parses.

use std::fmt::Write;

use clap::Command;

/// Width of the help texts, in characters.
const WIDTH: usize = 100;

pub(crate) fn chapter() -> String {
    let mut command = holon_cli::command().term_width(WIDTH);
    command.build();
    let mut out = String::from(
        "# The command

What `holon --help` and `holon <command> --help` print. `holon up` runs a whole network; everything else talks to one.

",
    );
    described(&mut out, &mut command, 2);
    out
}

fn described(out: &mut String, command: &mut Command, level: usize) {
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let help = command.render_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    let _ = write!(out, "{} {name}\n\n```text\n{}\n```\n", "#".repeat(level), help.join("\n").trim());
    for command in
        command.get_subcommands_mut().filter(|command| command.get_name() != "help" && !command.is_hide_set())
    {
        out.push('\n');
        described(out, command, (level + 1).min(3));
    }
}

//! Options of the units' programs, from what they parse.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::cell;

/// The programs of units.
pub fn programs() -> Vec<Command> {
    let mut programs = vec![
        holon_su::Program::command(),
        holon_mu::Program::command(),
        holon_cu::Program::command(),
        holon_weave::Arguments::command(),
    ];
    for program in &mut programs {
        program.build();
    }
    programs
}

pub(crate) fn chapter() -> String {
    let mut out = String::from(
        "# Options

Every unit is a program of its own. A flag wins over its environment variable, that over the file that `--config` names, that over the
default. The file is TOML; its keys are the flags without the hyphens in front: `gateway-url = \"https://arweave.net\"`. Lists are given
with commas, or as lists in the file. `RUST_LOG` wins over the level of the log.
",
    );
    for program in programs() {
        let about = program.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(out, "\n## {}\n\n{about}.\n\n", program.get_name());
        out.push_str("| flag | variable | default | |\n|---|---|---|---|\n");
        for argument in program.get_arguments() {
            let Some(long) = argument.get_long().filter(|long| !["help", "version"].contains(long)) else { continue };
            let variable = argument.get_env().map(|name| format!("`{}`", name.to_string_lossy())).unwrap_or_default();
            let _ = writeln!(out, "| `--{long}` | {variable} | {} | {} |", default(argument), cell(&help(argument)));
        }
    }
    out
}

fn default(argument: &Arg) -> String {
    let values = argument.get_default_values();
    if values.is_empty() {
        return if argument.is_required_set() { "needed".into() } else { String::new() };
    }
    if matches!(argument.get_action(), ArgAction::SetTrue) {
        return "off".into();
    }
    let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    values.join(", ")
}

fn help(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let choices: Vec<String> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let truth = argument.get_value_parser().type_id() == clap::builder::ValueParser::bool().type_id();
    match choices.is_empty() || truth {
        true => help,
        false => format!("{}: {}", help.trim_end_matches('.'), choices.join(", ")),
    }
}

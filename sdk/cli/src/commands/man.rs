//! `holon man`: the manual.

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;
use serde_json::json;

use crate::arguments::Arguments as Line;
use crate::failure::Failure;
use crate::terminal::{COPY, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon man | man -l -                              the page of the command itself
  holon man send | man -l -                         that of `holon send`
  holon man --out ~/.local/share/man/man1           a page for each command; then: man holon-send";

/// `holon man`
#[derive(Debug, Args)]
pub struct Arguments {
    /// A command [default: holon itself]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Write a page for each command into this folder
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Runs the command.
pub fn run(arguments: Arguments, terminal: Terminal) -> Result<(), Failure> {
    let mut command = Line::documented();
    command.build();
    match arguments.out {
        Some(folder) => write(command, folder, terminal),
        None => {
            let page = page(found(command, &arguments.command)?)?;
            match terminal.is_json() {
                true => terminal.json(&json!({ "page": page })),
                false => {
                    terminal.line(page.trim_end());
                    Ok(())
                }
            }
        }
    }
}

fn found(command: clap::Command, path: &[String]) -> Result<clap::Command, Failure> {
    let mut found = &command;
    for name in path {
        found = found.find_subcommand(name).ok_or_else(|| {
            Failure::usage(format!("there is no command {}", path.join(" "))).hint("`holon --help` lists them")
        })?;
    }
    Ok(found.clone())
}

fn write(command: clap::Command, folder: PathBuf, terminal: Terminal) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::network(format!("cannot write to {}: {error}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    let mut waiting = vec![command];
    let mut written = Vec::new();
    while let Some(command) = waiting.pop() {
        // Whoever looks for `holon help` asks for `man holon`.
        waiting.extend(command.get_subcommands().filter(|command| command.get_name() != "help").cloned());
        let file = folder.join(format!("{}.1", name_of(&command)));
        std::fs::write(&file, page(command)?).map_err(failed)?;
        written.push(file);
    }
    written.sort();
    if terminal.is_json() {
        return terminal.json(&json!({ "pages": written }));
    }
    terminal.field("pages", format!("{} in {COPY}{}{COPY:#}", written.len(), folder.display()));
    Ok(())
}

/// `holon-network-add`.
fn name_of(command: &clap::Command) -> String {
    command.get_bin_name().unwrap_or_else(|| command.get_name()).replace(' ', "-")
}

fn page(command: clap::Command) -> Result<String, Failure> {
    let name = name_of(&command);
    let mut text = Vec::new();
    Man::new(command.name(name)).render(&mut text).map_err(Failure::network)?;
    String::from_utf8(text).map_err(Failure::network)
}

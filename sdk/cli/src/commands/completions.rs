//! `holon completions`: what a shell needs to complete this command.

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use crate::arguments::Arguments as Line;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  source <(holon completions bash)                                         this shell
  holon completions bash > ~/.local/share/bash-completion/completions/holon
  holon completions zsh > ~/.zfunc/_holon                                  with ~/.zfunc in fpath
  holon completions fish > ~/.config/fish/completions/holon.fish";

/// `holon completions`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Runs the command.
pub fn run(arguments: Arguments, terminal: Terminal) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Line::documented(), "holon", &mut script);
    let script = String::from_utf8(script).map_err(Failure::network)?;
    match terminal.is_json() {
        true => terminal.json(&json!({ "shell": arguments.shell.to_string(), "script": script })),
        false => {
            terminal.line(script.trim_end());
            Ok(())
        }
    }
}

//! `holon wallet`: make one, show one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use holon_protocol::Signer;
use serde_json::json;

use crate::arguments::Global;
use crate::failure::Failure;
use crate::terminal::{COPY, Terminal};
use crate::wallet_file::{self, WalletType};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon wallet new                          the default wallet, which other commands sign with
  holon wallet new --out alice.json         another one; also for aos --wallet and aoconnect
  holon wallet new --type ed25519           a hundred times faster to sign with
  holon wallet show --wallet alice.json";

/// `holon wallet`
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a wallet; an existing file is never overwritten
    #[command(after_help = EXAMPLES)]
    New {
        /// Kind of key
        #[arg(long = "type", value_enum, default_value = "rsa")]
        kind: WalletType,
        /// File to write [default: the default wallet]
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Show a wallet's address; the key stays secret
    #[command(after_help = EXAMPLES)]
    Show,
}

/// Runs the command.
pub fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    match arguments.action {
        Action::New { kind, out } => {
            let path = out.map_or_else(wallet_file::default_path, Ok)?;
            if path.exists() {
                return Err(Failure::usage(format!("{} exists and is not overwritten", path.display()))
                    .hint("name another file with --out"));
            }
            let progress = terminal.progress("making a key");
            let wallet = kind.generate()?;
            wallet_file::write(&path, &wallet)?;
            drop(progress);
            show(terminal, &wallet, path)
        }
        Action::Show => {
            let path = global.wallet.clone().map_or_else(wallet_file::default_path, Ok)?;
            show(terminal, &wallet_file::read(&path)?, path)
        }
    }
}

fn show(terminal: Terminal, wallet: &Signer, path: PathBuf) -> Result<(), Failure> {
    let kind = wallet_file::type_name(wallet.signature_type());
    if wallet_file::is_exposed(&path) {
        terminal.note(format!("others can read {0}; keep it to yourself: chmod 600 {0}", path.display()));
    }
    if terminal.is_json() {
        return terminal.json(&json!({ "address": wallet.address(), "type": kind, "path": path }));
    }
    terminal.field("address", format!("{COPY}{}{COPY:#}", wallet.address()));
    terminal.field("type", kind);
    terminal.field("file", path.display().to_string());
    Ok(())
}

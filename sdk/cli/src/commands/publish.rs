//! `holon publish`: a Wasm file becomes a module.

use std::path::PathBuf;

use clap::Args;
use holon_client::module::FORMAT_NATIVE;
use holon_protocol::Tag;
use serde_json::json;

use crate::arguments::{DataArguments, Global, parse_tag};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::{COPY, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon publish counter.wasm
  holon publish aos.wasm --format aos64 --memory-limit 1-gb --tag Name=aos

Formats:
  native    wasm32-unknown-unknown-holon1                        written in Rust with holon-process
  aos32     wasm32-unknown-emscripten4                           official aos, 32 bit
  aos64     wasm64-unknown-emscripten-draft_2024_02_15           official aos, 64 bit
  other values are written into the Module-Format tag as they are";

/// What a guest of our own exports, by which its format is recognised.
const NATIVE_EXPORT: &[u8] = b"holon_handle";
/// How every Wasm file begins.
const WASM_MAGIC: &[u8] = b"\0asm";

/// `holon publish`
#[derive(Debug, Args)]
pub struct Arguments {
    /// The Wasm file
    #[arg(value_name = "WASM")]
    wasm: PathBuf,
    /// Module format [default: recognised for modules of holon-process]
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Memory a process may use: <number>-<kb, mb or gb>
    #[arg(long, value_name = "SIZE", default_value = "1-gb", value_parser = parse_memory)]
    memory_limit: String,
    /// Gas a process may use for one message
    #[arg(long, value_name = "GAS", default_value_t = 9_000_000_000_000)]
    compute_limit: u64,
    /// Another tag of the module; may be repeated
    #[arg(short, long = "tag", value_name = "NAME=VALUE", value_parser = parse_tag)]
    tags: Vec<Tag>,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let name = arguments.wasm.display().to_string();
    let wasm = super::data(DataArguments { data: None, file: Some(arguments.wasm) })
        .map_err(|failure| failure.hint("name the Wasm file of a module; `holon build` makes that of a project"))?;
    if !wasm.starts_with(WASM_MAGIC) {
        return Err(Failure::usage(format!("{name} is not a Wasm file")));
    }
    let format = match arguments.format.as_deref() {
        Some("native") => FORMAT_NATIVE,
        Some("aos32") => "wasm32-unknown-emscripten4",
        Some("aos64") => "wasm64-unknown-emscripten-draft_2024_02_15",
        Some(other) => other,
        None if wasm.windows(NATIVE_EXPORT.len()).any(|window| window == NATIVE_EXPORT) => FORMAT_NATIVE,
        None => {
            return Err(Failure::usage(format!("the format of {name} is not known"))
                .hint("name it: --format aos32 or --format aos64 for official modules, native for holon-process"));
        }
    };

    let connection = connection::find(global)?;
    let wallet = connection.wallet(global, terminal)?;
    let size_bytes = wasm.len();
    let progress = terminal.progress("publishing");
    let module = connection
        .network
        .publish(wasm)
        .format(format)
        .memory_limit(arguments.memory_limit)
        .compute_limit(arguments.compute_limit)
        .tags(arguments.tags)
        .send(&wallet)
        .await?;
    drop(progress);

    if terminal.is_json() {
        return terminal.json(&json!({ "module": module, "format": format, "bytes": size_bytes }));
    }
    terminal.field("module", format!("{COPY}{module}{COPY:#}"));
    terminal.field("format", format);
    terminal.note(format!("spawn it: holon spawn --module {module}"));
    Ok(())
}

fn parse_memory(text: &str) -> Result<String, String> {
    match holon_protocol::process::parse_memory_limit(text) {
        Some(bytes) if bytes > 0 => Ok(text.to_owned()),
        _ => Err("write <number>-<unit>, such as 64-mb or 1-gb".into()),
    }
}

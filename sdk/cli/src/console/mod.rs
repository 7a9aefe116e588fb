//! `holon console`: an interactive console for any process.
//!
//! | room | what happens there |
//! |---|---|
//! | [`line`] | what a line means |
//! | [`lua`] | whether a piece of code is whole |
//! | [`session`] | the process and what is asked of it: sending, dry runs, evaluating |
//! | [`obey`] | doing what a line says, and showing what came of it |
//! | [`editor`] | the line editor: history, several lines, completion |
//! | [`keyboard`] | what is typed while no line is read |
//! | [`complete`] | what Tab offers |
//! | [`feed`] | what happens to the process meanwhile |
//! | [`screen`] | where all of it is written, so that nothing destroys what is being typed |
//!
//! Concurrency: lines are read on a blocking thread, one task follows the process and one thread writes above the line that
//! is being typed; they end with the console.

mod complete;
mod editor;
mod feed;
mod keyboard;
mod line;
mod lua;
mod obey;
mod screen;
mod session;

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use self::editor::{LineEditor, Typed};
use self::keyboard::Keyboard;
use self::line::Language;
use self::obey::{Console, Flow};
use self::screen::Screen;
use self::session::Session;
use crate::arguments::{Global, ProcessName, parse_process};
use crate::connection;
use crate::failure::Failure;
use crate::terminal::{COPY, GOOD, LABEL, STRONG, Terminal};

/// Shown under `--help`.
pub const EXAMPLES: &str = "\
Examples:
  holon console counter                       then: Increment 5
  holon console <process>                     of aos: every line is Lua, evaluated by the process
  holon console <process> --run '#Inbox'      one line, without the console
  holon console <process> < setup.lua         a script: it stops at the first error
  holon console <process> --dry-run           ask only; nothing is sent

Lines are code for processes that evaluate what their owner sends (aos), and messages for others:
  Transfer Recipient=<address> Quantity=10    an action and tags
  Post Topic=\"the weather\" it rains           what is no tag is the data
  Say -- a=b                                  data that looks like a tag

.help lists the commands of the console, Tab completes (also what the process knows), Ctrl-R searches
the history, an open bracket or block goes on in the next line, Ctrl-C stops waiting, Ctrl-D leaves.
What others send to the process, and what it puts out, is shown above the line that is being typed.
Exit code 1 means that a line of a script or of --run failed.";

/// Longest script, in bytes.
const MAX_SCRIPT_BYTES: u64 = 16 * 1024 * 1024;

/// `holon console`
#[derive(Debug, Args)]
pub struct Arguments {
    /// Process id, or `counter`
    #[arg(value_name = "PROCESS", value_parser = parse_process, allow_hyphen_values = true)]
    process: ProcessName,
    /// Do this and leave; may be repeated
    #[arg(short = 'r', long = "run", value_name = "LINE", allow_hyphen_values = true)]
    lines: Vec<String>,
    /// Evaluate this file first; may be repeated
    #[arg(short = 'l', long = "load", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How lines are read [default: as code, if the process evaluates some]
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    language: Option<Language>,
    /// Make lines dry runs: nothing is sent
    #[arg(long)]
    dry_run: bool,
    /// Do not show what happens meanwhile
    #[arg(long)]
    quiet: bool,
}

/// Runs the command.
pub async fn run(arguments: Arguments, global: &Global, terminal: Terminal) -> Result<(), Failure> {
    let connection = connection::find(global)?;
    let process = connection.process(&arguments.process)?;
    let wallet = connection.wallet(global, terminal)?;
    let progress = terminal.progress("meeting the process");
    let session = Box::pin(Session::open(connection, process, wallet, arguments.language)).await;
    drop(progress);
    let (session, language) = session?;
    let session = Arc::new(session);
    // What only its owner may have evaluated can be looked at all the same.
    let asks_only = arguments.dry_run || (language == Language::Code && !session.is_owner());
    let mut console = Console::new(session, language, asks_only, Screen::new(terminal));

    let mut first: Vec<String> = Vec::new();
    for file in &arguments.files {
        first.push(format!(".load {}", file.display()));
    }
    let is_script = !arguments.lines.is_empty() || terminal.is_json() || !std::io::stdin().is_terminal();
    first.extend(arguments.lines.iter().cloned());
    if !arguments.lines.is_empty() {
        return script(&mut console, first.into_iter()).await;
    }
    if is_script {
        script(&mut console, first.into_iter()).await?;
        return Box::pin(standard_input(&mut console)).await;
    }
    welcome(&console, terminal);
    Box::pin(talk(console, first, !arguments.quiet)).await
}

/// Does line after line; the first one that fails ends it.
async fn script(console: &mut Console, lines: impl Iterator<Item = String>) -> Result<(), Failure> {
    for line in lines {
        if let Flow::Leave = Box::pin(console.obey(&line)).await? {
            break;
        }
    }
    Ok(())
}

/// The lines of standard input, as they come; those that belong together as one.
async fn standard_input(console: &mut Console) -> Result<(), Failure> {
    let (sender, mut lines) = tokio::sync::mpsc::channel::<Result<String, Failure>>(1);
    tokio::task::spawn_blocking(move || {
        let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read standard input: {error}"));
        let mut read = 0;
        for line in std::io::stdin().lock().lines() {
            let line = line.map_err(unreadable).and_then(|line| {
                read += line.len() as u64;
                match read > MAX_SCRIPT_BYTES {
                    true => Err(Failure::usage(format!("the script is larger than {MAX_SCRIPT_BYTES} bytes"))),
                    false => Ok(line),
                }
            });
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut open = String::new();
    while let Some(line) = lines.recv().await {
        if !open.is_empty() {
            open.push('\n');
        }
        open.push_str(&line?);
        if !line::is_whole(&open, console.language()) {
            continue;
        }
        if let Flow::Leave = Box::pin(console.obey(&std::mem::take(&mut open))).await? {
            return Ok(());
        }
    }
    // What is open at the end is for the process to judge.
    match open.trim().is_empty() {
        true => Ok(()),
        false => Box::pin(console.obey(&open)).await.map(drop),
    }
}

fn welcome(console: &Console, terminal: Terminal) {
    let Session { birth, connection, wallet, .. } = console.session();
    let name = birth.name.as_ref().map(|name| format!("{STRONG}{name}{STRONG:#}  ")).unwrap_or_default();
    terminal.line(format!("{GOOD}●{GOOD:#} {name}{COPY}{}{COPY:#}  {LABEL}on {}{LABEL:#}", birth.id, connection.name));
    let how = match console.language() {
        Language::Code => "every line is code that the process evaluates",
        Language::Actions => "every line is a message: an action, tags NAME=VALUE, data",
    };
    terminal.line(format!("  {LABEL}{how}; .help, Tab, Ctrl-D{LABEL:#}"));
    if console.language() == Language::Code && !console.session().is_owner() {
        terminal.line(format!("  {LABEL}it belongs to {}, not to this wallet,{LABEL:#}", birth.owner));
        terminal.line(format!("  {LABEL}{}: lines are dry runs, which change nothing{LABEL:#}", wallet.address()));
    }
    terminal.line("");
}

/// Reads and obeys lines until the user leaves. A line that fails is told, and that is all.
async fn talk(mut console: Console, first: Vec<String>, live: bool) -> Result<(), Failure> {
    let _keyboard = Keyboard::hold()?;
    let mut editor = LineEditor::open(console.helper())?;
    console.write_above(editor.printer()?);
    console.follow(live);
    for line in first {
        console.try_to_obey(&line).await;
    }
    loop {
        let prompt = console.prompt();
        let typed;
        (editor, typed) = tokio::task::spawn_blocking(move || {
            let typed = editor.read(&prompt);
            (editor, typed)
        })
        .await
        .map_err(|_| Failure::network("the line editor failed"))?;
        match typed? {
            Typed::End => return Ok(()),
            Typed::Nothing => {}
            Typed::Line(line) => {
                if let Flow::Leave = Box::pin(console.try_to_obey(&line)).await {
                    return Ok(());
                }
            }
        }
    }
}

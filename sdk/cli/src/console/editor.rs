//! The line editor: history, several lines, completion.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, ExternalPrinter};

use super::complete::Helper;
use crate::failure::Failure;
use crate::record;
use crate::terminal::{STRONG, colours};

/// Lines that are remembered for each process.
const HISTORY_LINES: usize = 2_000;

/// What was typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, or several that belong together.
    Line(String),
    /// Ctrl-C: nothing.
    Nothing,
    /// Ctrl-D: the end.
    End,
}

/// Writes above the line that is being typed.
pub type Printer = Box<dyn ExternalPrinter + Send>;

/// A line editor on the terminal.
pub struct LineEditor {
    editor: Editor<Assistant, FileHistory>,
    history: Option<PathBuf>,
}

struct Assistant {
    helper: Helper,
    files: FilenameCompleter,
}

impl LineEditor {
    /// An editor with the history of the process.
    pub fn open(helper: Helper) -> Result<Self, Failure> {
        let color = if colours(&std::io::stdout()) { ColorMode::Enabled } else { ColorMode::Disabled };
        let config = Config::builder()
            .max_history_size(HISTORY_LINES)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(failed)?
            // A line that begins with a space is not remembered: it may hold a secret.
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .color_mode(color)
            .build();
        let mut editor = Editor::with_config(config).map_err(failed)?;
        let history = history(&helper);
        editor.set_helper(Some(Assistant { helper, files: FilenameCompleter::new() }));
        if let Some(path) = &history
            && path.exists()
        {
            // A history that cannot be read is begun anew.
            let _ = editor.load_history(path);
        }
        Ok(Self { editor, history })
    }

    /// What writes above the line.
    pub fn printer(&mut self) -> Result<Printer, Failure> {
        Ok(Box::new(self.editor.create_external_printer().map_err(failed)?))
    }

    /// Reads what is typed behind a prompt. Blocks.
    pub fn read(&mut self, prompt: &str) -> Result<Typed, Failure> {
        let styled = format!("{STRONG}{prompt}{STRONG:#}");
        match self.editor.readline(&(prompt, styled.as_str())) {
            Ok(line) => {
                if !line.trim().is_empty() && self.editor.add_history_entry(line.as_str()).unwrap_or(false) {
                    self.keep();
                }
                Ok(Typed::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Typed::Nothing),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(failed(error)),
        }
    }

    /// Writes the history. Without it the console works all the same.
    fn keep(&mut self) {
        if let Some(path) = &self.history {
            let folder = path.parent().map(|folder| DirBuilder::new().recursive(true).mode(0o700).create(folder));
            if matches!(folder, Some(Ok(()))) {
                let _ = self.editor.append_history(path);
            }
        }
    }
}

/// Each process has a history of its own.
fn history(helper: &Helper) -> Option<PathBuf> {
    Some(record::state_folder()?.join("console").join(format!("{}.history", helper.process())))
}

fn failed(error: ReadlineError) -> Failure {
    Failure::network(format!("the terminal cannot be used: {error}"))
        .hint("without one the console reads a script: holon console <process> < script")
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        if line[..cursor].trim_start().starts_with(".load ") {
            return self.files.complete_path(line, cursor);
        }
        let (start, words) = self.helper.offers(line, cursor);
        let pair = |word: String| Pair { display: word.trim_end().to_owned(), replacement: word };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match self.helper.is_whole(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Hinter for Assistant {
    type Hint = String;
}

impl Highlighter for Assistant {}

impl rustyline::Helper for Assistant {}

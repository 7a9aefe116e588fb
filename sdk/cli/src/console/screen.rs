//! Where the console writes: on standard output, or above the line that is being typed.

use std::sync::mpsc::{SyncSender, sync_channel};

use rustyline::ExternalPrinter;

use crate::failure::Failure;
use crate::harmless::harmless;
use crate::terminal::{ERASE, Terminal, colours};

/// Most texts that wait to be written above the line.
const MAX_WAITING: usize = 256;

/// The console's output. Clones write to the same place.
#[derive(Clone)]
pub struct Screen {
    terminal: Terminal,
    above: Option<SyncSender<String>>,
}

impl Screen {
    /// Without a line that is being typed.
    pub fn new(terminal: Terminal) -> Self {
        Self { terminal, above: None }
    }

    /// For answers to what was typed: nobody types while they are written.
    pub fn terminal(&self) -> Terminal {
        self.terminal
    }

    /// Has [`Self::tell`] write above the line. Its own thread does, because the editor takes one text after the other.
    pub fn write_above(&mut self, mut printer: Box<dyn ExternalPrinter + Send>) -> Result<(), Failure> {
        let (sender, texts) = sync_channel::<String>(MAX_WAITING);
        std::thread::Builder::new()
            .name("console-output".into())
            .spawn(move || {
                for text in texts {
                    if printer.print(text).is_err() {
                        return;
                    }
                }
            })
            .map_err(|error| Failure::network(format!("cannot start a thread: {error}")))?;
        self.above = Some(sender);
        Ok(())
    }

    /// Tells what happened meanwhile. When more comes than anybody can read, some of it is lost here; the log has it.
    pub fn tell(&self, text: &str) {
        let Some(above) = &self.above else {
            self.terminal.line(text);
            return;
        };
        let text = harmless(text);
        let text = match colours(&std::io::stdout()) {
            true => text.into_owned(),
            false => anstream::adapter::strip_str(&text).to_string(),
        };
        // A spinner may stand in the line.
        let _ = above.try_send(format!("{ERASE}{}\n", text.trim_end_matches('\n')));
    }
}

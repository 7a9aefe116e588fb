//! What people and scripts see: results on standard output, everything else on standard error.
//!
//! With `--json` standard output holds JSON only, one value a line. Colours and progress appear only on a terminal
//! (what may take long says so in a line now and then);
//! `NO_COLOR` switches colours off. Whatever is written may hold text of strangers, so it is made [`harmless`] here.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::failure::Failure;
use crate::harmless::harmless;

/// Names of things.
pub const LABEL: Style = Style::new().dimmed();
/// What matters most.
pub const STRONG: Style = Style::new().bold();
/// It worked.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Ids, URLs and commands to copy.
pub const COPY: Style = AnsiColor::Cyan.on_default();
/// It did not work.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Width of the labels in front of values, in columns.
const LABEL_COLUMNS: usize = 10;

/// Goes back to the beginning of the line and empties it.
pub const ERASE: &str = "\r\x1b[2K";

/// Whether colours may be written there.
pub fn colours(stream: &impl anstream::stream::RawStream) -> bool {
    anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never
}

/// Where a command writes.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    json: bool,
}

impl Terminal {
    /// A terminal for people or, with `json`, for programs.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether output is JSON.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// One JSON value on one line.
    pub fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(Failure::network)?;
        self.line(text);
        Ok(())
    }

    /// One line of result. A reader that has gone away (`| head`) is not an error.
    pub fn line(self, text: impl AsRef<str>) {
        let mut out = anstream::stdout().lock();
        let _ = writeln!(out, "{}", harmless(text.as_ref())).and_then(|()| out.flush());
    }

    /// A name and its value, in columns.
    pub fn field(self, label: &str, value: impl AsRef<str>) {
        let value = value.as_ref().replace('\n', &format!("\n{:LABEL_COLUMNS$} ", ""));
        self.line(format!("{LABEL}{label:<LABEL_COLUMNS$}{LABEL:#} {value}"));
    }

    /// Something to know that is not part of the result.
    pub fn note(self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(anstream::stderr(), "{LABEL}{}{LABEL:#}", harmless(text.as_ref()));
        }
    }

    /// A failure: people get two lines on standard error, programs a JSON line there.
    pub fn failure(self, failure: &Failure) {
        let mut err = anstream::stderr();
        if self.json {
            let value = serde_json::json!({ "error": failure.message(), "hint": failure.next_step() });
            let _ = writeln!(err, "{value}");
            return;
        }
        let _ = writeln!(err, "{BAD}error{BAD:#} {}", harmless(failure.message()));
        if let Some(hint) = failure.next_step() {
            let _ = writeln!(err, "{LABEL} help{LABEL:#} {}", harmless(hint));
        }
    }

    /// Shows that something is going on until the returned value is dropped. Nothing without a terminal.
    pub fn progress(self, text: &str) -> Progress {
        let text = text.to_owned();
        self.progress_of(move || text.clone())
    }

    /// The same for what may take long: without a terminal it is a line every few seconds.
    pub fn report_of(self, text: impl Fn() -> String + Send + 'static) -> Progress {
        match self.json || !std::io::stderr().is_terminal() {
            true => Progress::lines(text),
            false => self.progress_of(text),
        }
    }

    /// The same with a text that changes; it is asked for whenever it is drawn.
    pub fn progress_of(self, text: impl Fn() -> String + Send + 'static) -> Progress {
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        match !self.json && !dumb && std::io::stderr().is_terminal() {
            true => Progress::start(text),
            false => Progress(None),
        }
    }
}

/// A running spinner.
pub struct Progress(Option<(Arc<AtomicBool>, JoinHandle<()>)>);

impl Progress {
    const FRAMES: [&str; 8] = ["⣾", "⣽", "⣻", "⢿", "⡿", "⣟", "⣯", "⣷"];
    const FRAME_TIME: Duration = Duration::from_millis(80);

    fn start(text: impl Fn() -> String + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let drawing = thread::Builder::new().name("progress".into()).spawn(move || {
            // Written as it is: without colours the line must be erased all the same.
            let mut err = std::io::stderr();
            let style = if colours(&err) { COPY } else { Style::new() };
            let begun = Instant::now();
            for frame in Self::FRAMES.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let line = format!("{style}{frame}{style:#} {}{}", text(), patience(begun.elapsed()));
                // A line that goes on in the next row would not be erased as a whole.
                let width = terminal_size::terminal_size_of(&err).map(|(width, _)| usize::from(width.0));
                let _ = write!(err, "{ERASE}{}", cut(&line, width.unwrap_or(usize::MAX)));
                let _ = err.flush();
                thread::park_timeout(Self::FRAME_TIME);
            }
            let _ = write!(err, "{ERASE}").and_then(|()| err.flush());
        });
        // Without a thread there is no spinner, and nothing else is missing.
        Self(drawing.ok().map(|drawing| (done, drawing)))
    }
}

impl Progress {
    /// Time between two lines.
    const LINE_EVERY: Duration = Duration::from_secs(5);

    fn lines(text: impl Fn() -> String + Send + 'static) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let saying = thread::Builder::new().name("progress".into()).spawn(move || {
            let mut said = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                thread::park_timeout(Self::LINE_EVERY.saturating_sub(said.elapsed()));
                if said.elapsed() >= Self::LINE_EVERY {
                    said = Instant::now();
                    // Colours are for terminals; whoever cannot read it any more misses nothing else.
                    let _ = writeln!(std::io::stderr(), "{}", anstream::adapter::strip_str(&text()));
                }
            }
        });
        Self(saying.ok().map(|saying| (done, saying)))
    }
}

/// As much of a line as fits into so many columns. Colours, which take none, all stay.
fn cut(line: &str, columns: usize) -> String {
    let fits = anstream::adapter::strip_str(line).to_string().chars().count() <= columns;
    let room = if fits { usize::MAX } else { columns.saturating_sub(1) };
    let (mut out, mut shown, mut in_colour) = (String::with_capacity(line.len()), 0, false);
    for letter in line.chars() {
        in_colour |= letter == '\x1b';
        if in_colour {
            out.push(letter);
            in_colour = letter != 'm';
            continue;
        }
        if shown < room {
            out.push(letter);
        } else if shown == room {
            out.push('…');
        }
        shown += 1;
    }
    out
}

/// How long something takes, once that is long.
fn patience(elapsed: Duration) -> String {
    match elapsed.as_secs() {
        0..5 => String::new(),
        seconds @ 5..60 => format!(" ({seconds} s)"),
        seconds => format!(" ({} min {} s)", seconds / 60, seconds % 60),
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((done, drawing)) = self.0.take() {
            done.store(true, Ordering::Relaxed);
            drawing.thread().unpark();
            let _ = drawing.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_to_the_width_of_the_terminal_and_its_colours_end() {
        let line = format!("{COPY}⣾{COPY:#} ten slots {LABEL}(of 20){LABEL:#} for 5 s");
        let width = "⣾ ten slots (of 20) for 5 s".chars().count();
        assert_eq!(cut(&line, usize::MAX), line);
        assert_eq!(cut(&line, width), line);
        for columns in 1..width {
            let short = cut(&line, columns);
            let plain = anstream::adapter::strip_str(&short).to_string();
            assert!(plain.chars().count() == columns && plain.ends_with('…'), "{columns}: {plain}");
            assert_eq!(short.matches('\x1b').count(), line.matches('\x1b').count(), "{short:?}");
        }
        assert_eq!(anstream::adapter::strip_str(&cut(&line, 0)).to_string(), "…");
    }
}

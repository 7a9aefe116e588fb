//! The program on a terminal: what a person would type, and what stands on the screen.

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

/// Longest wait for anything to appear.
const DEADLINE: Duration = Duration::from_secs(60);
pub const ROWS: u16 = 40;
pub const COLUMNS: u16 = 120;

fn parser() -> vt100::Parser {
    let [rows, columns] = [ROWS, COLUMNS].map(|size| NonZero::new(size).unwrap());
    vt100::Parser::new(rows, columns, 0)
}

/// A program on a terminal; killed when dropped.
pub struct Tty {
    child: Child,
    keyboard: File,
    screen: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

impl Tty {
    pub fn run(mut command: Command) -> Self {
        let size = Winsize { ws_row: ROWS, ws_col: COLUMNS, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        let end = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        // While this program held an end as well, reading would never end; the command holds three.
        drop(command);
        drop(pty.slave);
        let keyboard = File::from(pty.master);
        let screen = Arc::new((Mutex::new(parser()), Condvar::new()));
        let (mut shown, drawing) = (keyboard.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = shown.read(&mut bytes) {
                drawing.0.lock().unwrap().process(&bytes[..count]);
                drawing.1.notify_all();
            }
        });
        Self { child, keyboard, screen }
    }

    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Types a line and Enter.
    pub fn enter(&mut self, line: &str) {
        self.press(&format!("{line}\r"));
    }

    /// Waits until the screen is as it should be, and returns its lines without the empty ones.
    pub fn until(&self, what: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let begun = Instant::now();
        let mut parser = self.screen.0.lock().unwrap();
        loop {
            let lines: Vec<String> = parser
                .screen()
                .rows(0, COLUMNS)
                .map(|row| row.trim_end().to_owned())
                .filter(|row| !row.is_empty())
                .collect();
            if is_so(&lines) {
                return lines;
            }
            let left = DEADLINE.checked_sub(begun.elapsed());
            let left = left.unwrap_or_else(|| panic!("waited for {what}; the screen shows\n{}", lines.join("\n")));
            parser = self.screen.1.wait_timeout(parser, left).unwrap().0;
        }
    }

    /// Waits for a line that begins with a text, and for the line that follows it.
    pub fn answer(&self, line: &str, answer: &str) -> Vec<String> {
        self.until(&format!("{answer:?} below {line:?}"), |lines| {
            lines.windows(2).any(|pair| pair[0].ends_with(line) && pair[1].starts_with(answer))
        })
    }

    /// Waits until the last line is this one: what was typed, behind its prompt.
    pub fn last(&self, line: &str) -> Vec<String> {
        self.until(&format!("{line:?} at the end"), |lines| lines.last().is_some_and(|last| last == line))
    }

    /// Whether anything on the screen is coloured.
    pub fn has_colours(&self) -> bool {
        let parser = self.screen.0.lock().unwrap();
        let cells = (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |column| (row, column)));
        let mut cells = cells.filter_map(|(row, column)| parser.screen().cell(row, column));
        cells.any(|cell| cell.fgcolor() != vt100::Color::Default)
    }

    pub fn end(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < DEADLINE, "the program does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

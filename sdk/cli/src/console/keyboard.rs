//! The terminal's input while no line is read: what is typed meanwhile is for the next line.

use std::io::Stdin;

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

use crate::failure::Failure;

/// Keeps what is typed while a line is obeyed, until dropped.
///
/// A terminal as it is by default gathers lines itself: it would take a Ctrl-D that comes before the prompt for an end
/// of its own and hand on a zero byte, and it would write what is typed into the answer. Ctrl-C still interrupts, and
/// leaves what was typed where it is.
pub struct Keyboard {
    input: Stdin,
    before: Termios,
}

impl Keyboard {
    /// Changes the terminal of standard input.
    pub fn hold() -> Result<Self, Failure> {
        let failed = |error| Failure::network(format!("the terminal cannot be used: {error}"));
        let input = std::io::stdin();
        let before = tcgetattr(&input).map_err(failed)?;
        let mut held = before.clone();
        held.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        held.local_flags.insert(LocalFlags::NOFLSH);
        held.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        held.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        tcsetattr(&input, SetArg::TCSADRAIN, &held).map_err(failed)?;
        Ok(Self { input, before })
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.input, SetArg::TCSADRAIN, &self.before);
    }
}

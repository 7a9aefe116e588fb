//! Text of strangers on a terminal: colours may pass, everything else that a terminal obeys is made visible instead.
//!
//! What a process prints comes from whoever sent it a message. Obeyed as it is, it could move the cursor, overwrite what
//! stands above, set the window's title or write to the clipboard.

use std::borrow::Cow;

/// Longest colour sequence that is let through, in bytes.
const COLOUR_LIMIT_BYTES: usize = 64;
/// Ends every colour.
const RESET: &str = "\x1b[0m";
/// What is shown for an escape character.
const SHOWN_ESCAPE: char = '␛';

/// The text without anything that a terminal obeys but colours; colours end with it.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    let mut coloured = false;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        match colour(rest) {
            Some(sequence) => {
                coloured = !matches!(sequence, RESET | "\x1b[m");
                safe.push_str(sequence);
                rest = &rest[sequence.len()..];
                continue;
            }
            None if rest.starts_with("\r\n") => {}
            None if next == '\x1b' => safe.push(SHOWN_ESCAPE),
            None if is_obeyed(next) => safe.push(char::REPLACEMENT_CHARACTER),
            None => safe.push(next),
        }
        rest = &rest[next.len_utf8()..];
    }
    if coloured {
        safe.push_str(RESET);
    }
    Cow::Owned(safe)
}

/// Whether a terminal does something else with the character than show it; also what turns the direction of writing.
fn is_obeyed(character: char) -> bool {
    let is_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (character.is_control() && !matches!(character, '\n' | '\t')) || is_direction
}

/// The colour sequence that a text begins with.
fn colour(text: &str) -> Option<&str> {
    let parameters = text.strip_prefix("\x1b[")?;
    let length = parameters.bytes().take_while(|byte| byte.is_ascii_digit() || matches!(byte, b';' | b':')).count();
    let whole = "\x1b[".len() + length + 1;
    (parameters.as_bytes().get(length) == Some(&b'm') && whole <= COLOUR_LIMIT_BYTES).then(|| &text[..whole])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_pass_and_end_with_the_text() {
        assert_eq!(harmless("\x1b[31mred\x1b[0m"), "\x1b[31mred\x1b[0m");
        assert_eq!(harmless("\x1b[38;5;12mblue"), "\x1b[38;5;12mblue\x1b[0m");
        assert_eq!(harmless("plain\n\tétoile"), "plain\n\tétoile");
    }

    #[test]
    fn everything_else_that_a_terminal_obeys_is_shown() {
        for (given, shown) in [
            ("a\x1b[2Jb", "a␛[2Jb"),
            ("\x1b]52;c;AAAA\x07", "␛]52;c;AAAA\u{fffd}"),
            ("\x1bP1$tx\x1b\\", "␛P1$tx␛\\"),
            ("\u{9b}31m", "\u{fffd}31m"),
            ("one\r\ntwo\rthree", "one\ntwo\u{fffd}three"),
            ("abc\u{202e}fed", "abc\u{fffd}fed"),
            ("\x1b[", "␛["),
            ("\x1b[31", "␛[31"),
        ] {
            assert_eq!(harmless(given), shown, "{given:?}");
        }
        let long = format!("\x1b[{}m", "1;".repeat(COLOUR_LIMIT_BYTES));
        assert!(harmless(&long).starts_with('␛'));
    }
}

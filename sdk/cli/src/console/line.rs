//! What a line of the console means: code, a message, or a command of the console itself.
//!
//! ```text
//! Increment 5                              action, then data
//! Transfer Recipient=… Quantity=10         action, then tags
//! Post Topic="the weather" it rains -- or  what is no tag any more is the data, to the end
//! Say -- a=b                               data that would look like a tag
//! .inbox 10                                a command of the console
//! ```

use std::path::PathBuf;

use holon_protocol::{MessageId, Tag};

/// How lines that are no commands are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Language {
    /// Code that the process evaluates, as aos does
    Code,
    /// Messages: an action, tags, data
    Actions,
}

/// A line, understood.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// Nothing to do.
    Nothing,
    /// Evaluate code: sent, unless lines are dry runs.
    Code(String),
    /// A message: sent, unless lines are dry runs.
    Message(Draft),
    /// Send this in any case.
    Send(Draft),
    /// Only ask this, in any case.
    Ask(Draft),
    /// What a file holds, as one entry.
    Load(PathBuf),
    /// What the last messages of others were.
    Inbox(usize),
    /// What is known of the process.
    Info,
    /// The last results.
    Results(usize),
    /// The result of a message.
    Result(MessageId),
    /// What became of a message; of the last one sent without an id.
    Trace(Option<MessageId>),
    /// Lines become dry runs, or are sent again.
    DryRun,
    /// Show results as they come, or do not.
    Live(bool),
    /// Read lines until `.done`.
    Editor,
    /// Read lines in another way.
    Lines(Language),
    /// What can be typed.
    Help,
    /// Leave.
    Exit,
}

/// A message to be sent or asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// Tags, the action first.
    pub tags: Vec<Tag>,
    /// Data.
    pub data: String,
}

/// The commands, with what stands behind them and what they do.
pub const COMMANDS: [(&str, &str, &str); 18] = [
    (".send", "ACTION [NAME=VALUE …] [DATA]", "send a message, whatever lines mean"),
    (".dry", "ACTION [NAME=VALUE …] [DATA]", "the same as a dry run: it leaves no trace"),
    (".eval", "CODE", "have the process evaluate code"),
    (".load", "FILE", "evaluate a file, or send what it holds as one entry"),
    (".editor", "", "write several lines, until .done or .cancel"),
    (".inbox", "[N]", "the last messages from others"),
    (".results", "[N]", "the last results"),
    (".result", "MESSAGE", "the result of a message"),
    (".trace", "[MESSAGE]", "what followed from a message; the last one without an id"),
    (".info", "", "what is known of the process"),
    (".dryrun", "", "make lines dry runs, or send them again"),
    (".code", "", "read lines as code"),
    (".actions", "", "read lines as messages"),
    (".live", "", "show what happens while you type"),
    (".pause", "", "do not"),
    (".help", "", "this"),
    (".exit", "", "leave; Ctrl-D does, too"),
    (".quit", "", "the same"),
];

/// Messages or results that `.inbox` and `.results` show unless told.
const LISTED: usize = 5;
/// Most that they show.
const MAX_LISTED: usize = 100;

/// Reads a line.
pub fn read(line: &str, language: Language) -> Result<Entry, String> {
    // Not its end: a line break there belongs to a backslash.
    let text = line.trim_start();
    if text.is_empty() {
        return Ok(Entry::Nothing);
    }
    if text.starts_with('.') {
        return command(text);
    }
    match language {
        Language::Code => Ok(Entry::Code(line.to_owned())),
        Language::Actions if text.starts_with('#') => Ok(Entry::Nothing),
        Language::Actions => draft(text).map(Entry::Message),
    }
}

/// Whether a text can be used as it is, or another line belongs to it.
pub fn is_whole(text: &str, language: Language) -> bool {
    if text.trim_start().starts_with('.') {
        let code = text.trim_start().strip_prefix(".eval");
        return !text.ends_with('\\') && code.is_none_or(super::lua::is_whole);
    }
    match language {
        Language::Code => super::lua::is_whole(text),
        Language::Actions => !text.ends_with('\\'),
    }
}

fn command(text: &str) -> Result<Entry, String> {
    let (name, whole) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let rest = whole.trim();
    let entry = match name {
        ".send" => return some(name, rest).and_then(|_| draft(whole)).map(Entry::Send),
        ".dry" => return some(name, rest).and_then(|_| draft(whole)).map(Entry::Ask),
        ".eval" => return some(name, rest).map(|code| Entry::Code(code.to_owned())),
        ".load" => return some(name, rest).map(|path| Entry::Load(path.into())),
        ".inbox" => return number(name, rest).map(Entry::Inbox),
        ".results" => return number(name, rest).map(Entry::Results),
        ".result" => return message(some(name, rest)?).map(Entry::Result),
        ".trace" if rest.is_empty() => return Ok(Entry::Trace(None)),
        ".trace" => return message(rest).map(|id| Entry::Trace(Some(id))),
        ".info" => Entry::Info,
        ".dryrun" => Entry::DryRun,
        ".code" => Entry::Lines(Language::Code),
        ".actions" => Entry::Lines(Language::Actions),
        ".live" => Entry::Live(true),
        ".pause" => Entry::Live(false),
        ".editor" => Entry::Editor,
        ".help" => Entry::Help,
        ".exit" | ".quit" => Entry::Exit,
        _ => return Err(format!("there is no command {name}; .help lists them")),
    };
    match rest.is_empty() {
        true => Ok(entry),
        false => Err(format!("{name} stands alone")),
    }
}

fn some<'a>(name: &str, rest: &'a str) -> Result<&'a str, String> {
    let usage = || COMMANDS.iter().find(|(command, ..)| *command == name).map_or("", |(_, usage, _)| usage);
    if rest.is_empty() { Err(format!("write {name} {}", usage())) } else { Ok(rest) }
}

fn number(name: &str, rest: &str) -> Result<usize, String> {
    match rest {
        "" => Ok(LISTED),
        rest => match rest.parse() {
            Ok(number @ 1..=MAX_LISTED) => Ok(number),
            _ => Err(format!("write {name} and a number from 1 to {MAX_LISTED}")),
        },
    }
}

fn message(text: &str) -> Result<MessageId, String> {
    text.parse().map_err(|_| format!("{text} is no message id; those have 43 characters"))
}

/// Reads an action, tags and data.
pub fn draft(text: &str) -> Result<Draft, String> {
    // A line break behind a backslash only broke the line; so did a backslash behind which nothing came.
    let text = text.replace("\\\n", "\n");
    let text = text.trim_end().trim_end_matches('\\');
    let mut draft = Draft::default();
    let mut rest = text.trim();
    while !rest.is_empty() {
        if let Some(data) =
            rest.strip_prefix("--").filter(|data| data.is_empty() || data.starts_with(char::is_whitespace))
        {
            draft.data = data.trim_start().to_owned();
            break;
        }
        if let Some((name, value)) = tag_name(rest) {
            let (value, after) = tag_value(value)?;
            draft.tags.push(Tag::new(name, value));
            rest = after.trim_start();
        } else if draft.tags.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            draft.tags.push(Tag::new("Action", &rest[..end]));
            rest = rest[end..].trim_start();
        } else {
            draft.data = rest.to_owned();
            break;
        }
    }
    Ok(draft)
}

/// The name of the tag that a text begins with, and the text behind the equals sign.
fn tag_name(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (!name.is_empty() && name.bytes().all(is_name)).then_some((name, value))
}

/// A value, in quotes or up to the next space, and what follows it.
fn tag_value(text: &str) -> Result<(String, &str), String> {
    let Some(quote) = text.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        let end = text.find(char::is_whitespace).unwrap_or(text.len());
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (position, character) in text.char_indices().skip(1) {
        match character {
            'n' if escaped => value.push('\n'),
            _ if escaped => value.push(character),
            '\\' => {
                escaped = true;
                continue;
            }
            _ if character == quote => return Ok((value, &text[position + 1..])),
            _ => value.push(character),
        }
        escaped = false;
    }
    Err(format!("a value that begins with {quote} must end with it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(draft: &Draft) -> Vec<(&str, &str)> {
        draft.tags.iter().map(|tag| (tag.name.as_str(), tag.value.as_str())).collect()
    }

    #[test]
    fn a_message_is_an_action_tags_and_data() {
        for (text, expected, data) in [
            ("Get", &[("Action", "Get")][..], ""),
            ("Increment 5", &[("Action", "Increment")], "5"),
            (
                "Transfer Recipient=abc Quantity=10",
                &[("Action", "Transfer"), ("Recipient", "abc"), ("Quantity", "10")],
                "",
            ),
            ("Post Topic=\"the weather\" it  rains", &[("Action", "Post"), ("Topic", "the weather")], "it  rains"),
            ("Set {\"a\": 1, \"b\"=2}", &[("Action", "Set")], "{\"a\": 1, \"b\"=2}"),
            ("Say -- a=b", &[("Action", "Say")], "a=b"),
            ("Say a=b", &[("Action", "Say"), ("a", "b")], ""),
            ("Action=Get Key=k", &[("Action", "Get"), ("Key", "k")], ""),
            ("Key=k text", &[("Key", "k")], "text"),
            ("Say X='it", &[], ""),
            ("Say X=\"a\\\"b\\nc\\\\\"", &[("Action", "Say"), ("X", "a\"b\nc\\")], ""),
            ("Increment 3 \\\n", &[("Action", "Increment")], "3"),
            ("Increment 3 \\", &[("Action", "Increment")], "3"),
            ("Post one\\\ntwo", &[("Action", "Post")], "one\ntwo"),
            ("Say Empty= there", &[("Action", "Say"), ("Empty", "")], "there"),
        ] {
            match draft(text) {
                Ok(draft) => assert_eq!((tags(&draft).as_slice(), draft.data.as_str()), (expected, data), "{text}"),
                Err(error) => assert!(expected.is_empty() && error.contains("must end"), "{text}: {error}"),
            }
        }
    }

    #[test]
    fn lines_are_code_or_messages_and_dots_are_commands() {
        assert_eq!(read("1 + 1", Language::Code), Ok(Entry::Code("1 + 1".into())));
        assert!(matches!(read("Get", Language::Actions), Ok(Entry::Message(_))));
        assert_eq!(read("# a remark", Language::Actions), Ok(Entry::Nothing));
        assert_eq!(read("  ", Language::Code), Ok(Entry::Nothing));
        assert_eq!(read(".inbox", Language::Code), Ok(Entry::Inbox(LISTED)));
        assert_eq!(read(".inbox 7", Language::Actions), Ok(Entry::Inbox(7)));
        assert_eq!(read(".eval return 1", Language::Actions), Ok(Entry::Code("return 1".into())));
        assert!(matches!(read(".send Ping", Language::Code), Ok(Entry::Send(_))));
        for (wrong, says) in [
            (".nonsense", ".help"),
            (".inbox 0", "1 to 100"),
            (".load", "FILE"),
            (".result soon", "43"),
            (".exit now", "alone"),
        ] {
            assert!(read(wrong, Language::Code).is_err_and(|error| error.contains(says)), "{wrong}");
        }
    }

    #[test]
    fn every_command_is_known_and_explained() {
        let id = "A".repeat(43);
        for (name, usage, what) in COMMANDS {
            let argument = match usage.split(' ').next() {
                Some("ACTION") => "Get",
                Some("CODE") => "1",
                Some("FILE") => "a.lua",
                Some("MESSAGE") => &id,
                _ => "",
            };
            assert!(read(&format!("{name} {argument}"), Language::Code).is_ok(), "{name}");
            assert!(!what.is_empty());
        }
    }

    #[test]
    fn open_lines_go_on() {
        for (text, language, whole) in [
            ("function f()", Language::Code, false),
            ("function f()", Language::Actions, true),
            ("Post one\\", Language::Actions, false),
            (".eval function f()", Language::Actions, false),
            (".dry Post one\\", Language::Code, false),
            (".inbox", Language::Code, true),
        ] {
            assert_eq!(is_whole(text, language), whole, "{text}");
        }
    }
}

//! What Tab offers: commands of the console, actions and tags that the process has seen, and what its state holds.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holon_client::console;
use holon_protocol::{ProcessId, Tag};
use tokio::runtime::Handle;

use super::line::{self, COMMANDS, Language};
use super::obey::offered;
use super::session::Session;

/// How long a Tab may take to ask the process.
const PATIENCE: Duration = Duration::from_secs(2);
/// Log entries from which actions and tags are learnt at first.
const LEARNT_ENTRIES: u32 = 100;
/// Most words of a kind that are kept.
const MAX_WORDS: usize = 1000;
/// Most tables of the process that are kept.
const MAX_TABLES: usize = 100;
/// Words of the language.
const LUA_WORDS: [&str; 15] = [
    "and", "else", "elseif", "false", "for", "function", "if", "local", "nil", "not", "repeat", "return", "then",
    "true", "while",
];

/// What helps to write lines. Clones share what they know.
#[derive(Clone)]
pub struct Helper(Arc<Shared>);

struct Shared {
    session: Arc<Session>,
    /// Tasks of the console; absent where there is none.
    runtime: Option<Handle>,
    known: Mutex<Known>,
}

struct Known {
    language: Language,
    lines_as_they_are: bool,
    /// Whether the log has been looked at.
    learnt: bool,
    actions: BTreeSet<String>,
    tags: BTreeSet<String>,
    /// Names in tables of the process, as they were when they were asked for.
    tables: HashMap<String, Vec<String>>,
}

impl Helper {
    /// A helper for lines to a process.
    pub fn new(session: Arc<Session>, language: Language) -> Self {
        let known = Known {
            language,
            lines_as_they_are: false,
            learnt: false,
            actions: BTreeSet::new(),
            tags: BTreeSet::new(),
            tables: HashMap::new(),
        };
        Self(Arc::new(Shared { session, runtime: Handle::try_current().ok(), known: Mutex::new(known) }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process.
    pub fn process(&self) -> ProcessId {
        self.0.session.process()
    }

    /// How lines are read.
    pub fn language(&self) -> Language {
        self.known().language
    }

    /// Reads lines in another way.
    pub fn set_language(&self, language: Language) {
        self.known().language = language;
    }

    /// Every line is whole: an editor collects them.
    pub fn take_lines_as_they_are(&self, as_they_are: bool) {
        self.known().lines_as_they_are = as_they_are;
    }

    /// Whether Enter takes the text, or begins another line.
    pub fn is_whole(&self, text: &str) -> bool {
        let (as_they_are, language) = {
            let known = self.known();
            (known.lines_as_they_are, known.language)
        };
        as_they_are || line::is_whole(text, language)
    }

    /// The state of the process may have changed.
    pub fn forget_what_was_there(&self) {
        self.known().tables.clear();
    }

    /// Actions and names of tags that are worth offering.
    pub fn learn(&self, tags: &[Tag]) {
        let mut known = self.known();
        for tag in offered(tags) {
            let words = if tag.name == "Action" { &mut known.actions } else { &mut known.tags };
            let word = if tag.name == "Action" { &tag.value } else { &tag.name };
            if words.len() < MAX_WORDS && !word.is_empty() && !word.contains(char::is_whitespace) {
                words.insert(word.clone());
            }
        }
    }

    /// The place where the word at the cursor begins, and what it may become. Called on the thread of the line editor.
    pub fn offers(&self, line: &str, cursor: usize) -> (usize, Vec<String>) {
        let before = &line[..cursor];
        let (start, command) = (before.len() - before.trim_start().len(), before.trim_start());
        if command.starts_with('.') && !command.contains(char::is_whitespace) {
            return (start, begun_with(COMMANDS.iter().map(|(name, ..)| (*name).to_owned()), command, " "));
        }
        let (language, behind) = match command.split_once(char::is_whitespace) {
            Some((".eval", _)) => (Language::Code, true),
            Some((".send" | ".dry", _)) => (Language::Actions, true),
            Some((name, _)) if name.starts_with('.') => return (cursor, Vec::new()),
            _ => (self.language(), false),
        };
        match language {
            Language::Code => self.names(before),
            Language::Actions => {
                self.learn_from_the_log();
                let from = before.rfind(char::is_whitespace).map_or(0, |space| space + 1);
                let word = &before[from..];
                let words = before[..from].split_whitespace().count() - usize::from(behind);
                let known = self.known();
                match words {
                    0 => (from, begun_with(known.actions.iter().cloned(), word, " ")),
                    _ => (from, begun_with(known.tags.iter().cloned(), word, "=")),
                }
            }
        }
    }

    fn learn_from_the_log(&self) {
        if std::mem::replace(&mut self.known().learnt, true) {
            return;
        }
        let session = self.0.session.clone();
        let entries = self.wait(async move { session.last_entries(LEARNT_ENTRIES).await.ok() });
        for message in entries.into_iter().flatten().filter_map(|entry| entry.message) {
            // The spawn is no message that anybody would send again.
            if !message.tags.contains("Type", "Process") {
                self.learn(&message.tags.0);
            }
        }
    }

    /// Names of the process's own tables, asked for with a dry run.
    fn names(&self, before: &str) -> (usize, Vec<String>) {
        let is_part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '.' | ':');
        let from = before
            .rfind(|character| !is_part(character))
            .map_or(0, |last| last + before[last..].chars().next().map_or(0, char::len_utf8));
        let path = &before[from..];
        match path.rfind(['.', ':']) {
            Some(dot) if is_table(&path[..dot]) => {
                (from + dot + 1, begun_with(self.table(&path[..dot]).into_iter(), &path[dot + 1..], ""))
            }
            Some(_) => (from, Vec::new()),
            None if path.is_empty() => (from, Vec::new()),
            None => {
                let words = LUA_WORDS.iter().map(|word| (*word).to_owned());
                (from, begun_with(self.table("_G").into_iter().chain(words), path, ""))
            }
        }
    }

    fn table(&self, path: &str) -> Vec<String> {
        if let Some(names) = self.known().tables.get(path) {
            return names.clone();
        }
        let code = format!(
            "local names, value = {{}}, {path}\n\
             if type(value) == 'table' then\n\
               for name in pairs(value) do if type(name) == 'string' then names[#names + 1] = name end end\n\
             end\n\
             return table.concat(names, '\\n')"
        );
        let session = self.0.session.clone();
        let result = self.wait(async move { session.ask_code(&code).await.ok() });
        let Some(result) = result.filter(|result| console::error(result).is_none()) else { return Vec::new() };
        let text = anstream::adapter::strip_str(&console::output(&result)).to_string();
        let is_name =
            |name: &&str| !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        let mut names: Vec<String> =
            text.lines().map(str::trim).filter(is_name).take(MAX_WORDS).map(str::to_owned).collect();
        names.sort();
        let mut known = self.known();
        if known.tables.len() < MAX_TABLES {
            known.tables.insert(path.to_owned(), names.clone());
        }
        names
    }

    /// Waits on the thread of the line editor, which may block.
    fn wait<T>(&self, answer: impl Future<Output = Option<T>>) -> Option<T> {
        self.0.runtime.as_ref()?.block_on(async { tokio::time::timeout(PATIENCE, answer).await.ok().flatten() })
    }
}

/// Whether a text names a table and can do nothing else when it is evaluated.
fn is_table(path: &str) -> bool {
    let is_name = |name: &str| {
        name.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
    };
    path.split('.').all(is_name)
}

fn begun_with(words: impl Iterator<Item = String>, begin: &str, end: &str) -> Vec<String> {
    let found: BTreeSet<String> =
        words.filter(|word| word.starts_with(begin)).map(|word| format!("{word}{end}")).collect();
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_evaluated_to_complete_them() {
        for good in ["Handlers", "ao.env.Process", "_G"] {
            assert!(is_table(good), "{good}");
        }
        for bad in ["", "f()", "a..b", "a:b", "1a", "a.b "] {
            assert!(!is_table(bad), "{bad}");
        }
    }

    #[test]
    fn words_are_sorted_once_each_and_end_as_they_go_on() {
        let words = ["Post", "Get", "Put", "Post"].map(str::to_owned);
        assert_eq!(begun_with(words.into_iter(), "P", "="), ["Post=", "Put="]);
    }
}

//! Doing what a line says, and showing what came of it.

use std::path::Path;
use std::sync::Arc;

use holon_client::{Sort, console, outgoing};
use holon_protocol::result::EvaluationResult;
use holon_protocol::{MessageId, Tag};

use super::complete::Helper;
use super::editor::Printer;
use super::feed::{self, Feed};
use super::line::{self, COMMANDS, Draft, Entry, Language};
use super::screen::Screen;
use super::session::{Session, evaluation};
use crate::commands::{inspect, show};
use crate::facts;
use crate::failure::{self, Failure};
use crate::terminal::{BAD, COPY, LABEL, STRONG, Terminal};

/// Log entries among which messages of others are looked for.
const INBOX_LOOKED_THROUGH: u32 = 500;
/// Longest prompt of a process, in characters.
const MAX_PROMPT_CHARS: usize = 80;
/// Most bytes of a file that is loaded.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// Whether the console goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    On,
    /// The user leaves.
    Leave,
}

/// A console: a process and how lines are taken.
pub struct Console {
    session: Arc<Session>,
    helper: Helper,
    asks_only: bool,
    screen: Screen,
    feed: Option<Feed>,
    /// Lines of `.editor`, while it is open.
    editing: Option<Vec<String>>,
}

impl Console {
    /// A console; with `asks_only` lines are dry runs.
    pub fn new(session: Arc<Session>, language: Language, asks_only: bool, screen: Screen) -> Self {
        let helper = Helper::new(session.clone(), language);
        Self { session, helper, asks_only, screen, feed: None, editing: None }
    }

    /// The process.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// How lines are read.
    pub fn language(&self) -> Language {
        self.helper.language()
    }

    /// What helps the line editor.
    pub fn helper(&self) -> Helper {
        self.helper.clone()
    }

    /// Has what happens meanwhile written above the line that is being typed.
    pub fn write_above(&mut self, printer: Printer) {
        if let Err(failure) = self.screen.write_above(printer) {
            self.screen.terminal().failure(&failure);
        }
    }

    /// Follows the process, or does not.
    pub fn follow(&mut self, live: bool) {
        self.feed = live.then(|| feed::start(self.session.clone(), self.helper.clone(), self.screen.clone()));
    }

    /// What stands in front of the line, on one line and without the colours of strangers.
    pub fn prompt(&self) -> String {
        if self.editing.is_some() {
            return "… ".to_owned();
        }
        let own = self.session.prompt().filter(|_| self.language() == Language::Code);
        let name = own.unwrap_or_else(|| match &self.session.birth.name {
            Some(name) => name.clone(),
            None => self.session.process().to_string().chars().take(8).collect(),
        });
        let name = anstream::adapter::strip_str(&name).to_string();
        let name: String = name.chars().filter(|character| !character.is_control()).take(MAX_PROMPT_CHARS).collect();
        let name = name.trim().trim_end_matches('>').trim_end();
        let dry = if self.asks_only { " (dry run)" } else { "" };
        format!("{name}{dry}> ")
    }

    /// Does what a line says and tells what went wrong.
    pub async fn try_to_obey(&mut self, line: &str) -> Flow {
        match Box::pin(self.obey(line)).await {
            Ok(flow) => flow,
            Err(failure) => {
                self.screen.terminal().failure(&failure);
                Flow::On
            }
        }
    }

    /// Does what a line says.
    pub async fn obey(&mut self, line: &str) -> Result<Flow, Failure> {
        if self.editing.is_some() {
            return Box::pin(self.edit(line)).await;
        }
        let entry = line::read(line, self.language()).map_err(Failure::usage)?;
        let terminal = self.screen.terminal();
        match entry {
            Entry::Nothing => {}
            Entry::Exit => return Ok(Flow::Leave),
            Entry::Help => help(terminal)?,
            Entry::Code(code) => self.evaluate(&code).await?,
            Entry::Message(draft) if self.asks_only => self.ask(draft).await?,
            Entry::Message(draft) | Entry::Send(draft) => self.send(draft).await?,
            Entry::Ask(draft) => self.ask(draft).await?,
            Entry::Load(path) => Box::pin(self.load(&path)).await?,
            Entry::Inbox(count) => self.inbox(count).await?,
            Entry::Results(count) => self.results(count).await?,
            Entry::Result(id) => {
                let result = self.patiently("evaluating", self.session.network().result(self.session.process(), id));
                show::result(terminal, self.session.process(), Some(id), &result.await?)?;
            }
            Entry::Trace(id) => self.trace(id).await?,
            Entry::Info => {
                let facts = Box::pin(facts::of_process(&self.session.connection, self.session.process()));
                inspect::process(terminal, &facts.await?)?;
            }
            Entry::DryRun => {
                self.asks_only = !self.asks_only;
                terminal.note(match self.asks_only {
                    true => "lines are dry runs now; .dryrun again sends them",
                    false => "lines are sent now",
                });
            }
            Entry::Live(live) => {
                self.follow(live);
                terminal.note(if live { "showing what happens" } else { "showing only answers" });
            }
            Entry::Editor => {
                self.editing = Some(Vec::new());
                self.helper.take_lines_as_they_are(true);
                terminal.note("write; .done takes it, .cancel does not");
            }
            Entry::Lines(language) => {
                self.helper.set_language(language);
                terminal.note(match language {
                    Language::Code => "lines are code now",
                    Language::Actions => "lines are messages now",
                });
            }
        }
        Ok(Flow::On)
    }

    /// A line of the editor.
    async fn edit(&mut self, line: &str) -> Result<Flow, Failure> {
        let done = match line.trim() {
            ".done" => true,
            ".cancel" => false,
            _ => {
                self.editing.get_or_insert_default().push(line.to_owned());
                return Ok(Flow::On);
            }
        };
        let lines = self.editing.take().unwrap_or_default();
        self.helper.take_lines_as_they_are(false);
        match done {
            true => self.one_entry(lines.join("\n")).await.map(|()| Flow::On),
            false => Ok(Flow::On),
        }
    }

    /// A text of several lines as one piece of code, or as one message.
    async fn one_entry(&mut self, text: String) -> Result<(), Failure> {
        match self.language() {
            _ if text.trim().is_empty() => Ok(()),
            Language::Code => self.evaluate(&text).await,
            Language::Actions => {
                let draft = line::draft(&text).map_err(Failure::usage)?;
                if self.asks_only { self.ask(draft).await } else { self.send(draft).await }
            }
        }
    }

    async fn load(&mut self, path: &Path) -> Result<(), Failure> {
        let unreadable = |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
        let size_bytes = std::fs::metadata(path).map_err(unreadable)?.len();
        if size_bytes > MAX_FILE_BYTES {
            return Err(Failure::usage(format!("{} is larger than {MAX_FILE_BYTES} bytes", path.display())));
        }
        let text = std::fs::read_to_string(path).map_err(unreadable)?;
        self.one_entry(text).await
    }

    async fn evaluate(&self, code: &str) -> Result<(), Failure> {
        let (id, result) = match self.asks_only {
            true => (None, self.patiently("asking", self.session.ask_code(code)).await?),
            false => {
                let (id, result) = self.sent(evaluation(code)).await?;
                (Some(id), result)
            }
        };
        self.helper.forget_what_was_there();
        self.session.remember_prompt(console::prompt(&result));
        let terminal = self.screen.terminal();
        if terminal.is_json() {
            terminal.json(&show::Shown { id, process: self.session.process(), result: &result })?;
        }
        if let Some(error) = console::error(&result) {
            return Err(Failure::process(error));
        }
        if !terminal.is_json() {
            let output = console::output(&result);
            if !output.is_empty() {
                terminal.line(output);
            }
            if let Some(sent) = emitted(&result) {
                terminal.note(sent);
            }
        }
        Ok(())
    }

    async fn send(&self, draft: Draft) -> Result<(), Failure> {
        self.helper.learn(&draft.tags);
        let (id, result) = self.sent(draft).await?;
        self.answer(Some(id), &result)
    }

    async fn ask(&self, draft: Draft) -> Result<(), Failure> {
        self.helper.learn(&draft.tags);
        let result = self.patiently("asking", self.session.ask(draft)).await?;
        self.answer(None, &result)
    }

    /// Shows what came of a message: the output as it is, and what the process sends.
    fn answer(&self, id: Option<MessageId>, result: &EvaluationResult) -> Result<(), Failure> {
        let terminal = self.screen.terminal();
        if terminal.is_json() {
            return show::result(terminal, self.session.process(), id, result);
        }
        if let Some(error) = console::error(result) {
            return Err(Failure::process(error));
        }
        let output = console::output(result);
        if !output.is_empty() {
            terminal.line(&output);
        }
        show::emissions(terminal, result);
        if output.is_empty() && emitted(result).is_none() {
            terminal.note("done, without a word");
        }
        Ok(())
    }

    /// Sends, and waits for the result.
    async fn sent(&self, draft: Draft) -> Result<(MessageId, EvaluationResult), Failure> {
        let process = self.session.process();
        let id = self.patiently("sending", self.session.send(draft)).await?;
        let result = self.patiently("evaluating", self.session.network().result(process, id)).await;
        let later = |failure: Failure| failure.hint(format!("it is in the log; ask again: .result {id}"));
        Ok((id, result.map_err(later)?))
    }

    /// Waits for an answer until Ctrl-C.
    async fn patiently<T, E: Into<Failure>>(
        &self,
        what: &str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        let _progress = self.screen.terminal().progress(what);
        tokio::select! {
            answer = Box::pin(answer) => answer.map_err(Into::into),
            _ = tokio::signal::ctrl_c() => Err(Failure::network(format!("stopped waiting ({what})"))),
        }
    }

    /// What others sent, the newest last.
    async fn inbox(&self, count: usize) -> Result<(), Failure> {
        let entries = self.session.last_entries(INBOX_LOOKED_THROUGH).await?;
        let own = self.session.wallet.address();
        let arrivals: Vec<_> = entries
            .iter()
            .filter_map(feed::Arrival::of)
            .filter(|arrival| arrival.nonce > 0 && arrival.signer != Some(own))
            .collect();
        let terminal = self.screen.terminal();
        for arrival in &arrivals[arrivals.len().saturating_sub(count)..] {
            match terminal.is_json() {
                true => terminal.json(arrival)?,
                false => terminal.line(arrival.shown()),
            }
        }
        if arrivals.is_empty() {
            terminal.note(format!("nobody else has sent anything among the last {INBOX_LOOKED_THROUGH} messages"));
        }
        Ok(())
    }

    async fn results(&self, count: usize) -> Result<(), Failure> {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let list = self.session.network().results(self.session.process()).sort(Sort::Descending).limit(count);
        let terminal = self.screen.terminal();
        for edge in list.page().await?.edges.iter().rev() {
            if terminal.is_json() {
                terminal.json(&edge.node)?;
                continue;
            }
            match console::error(&edge.node) {
                Some(error) => terminal.line(format!("{BAD}error{BAD:#} {}", failure::plain(&error))),
                None => {
                    let output = console::output(&edge.node);
                    let sent = emitted(&edge.node).map(|sent| format!("  {LABEL}{sent}{LABEL:#}")).unwrap_or_default();
                    terminal.line(format!("{}{sent}", if output.is_empty() { "–" } else { &output }));
                }
            }
        }
        Ok(())
    }

    async fn trace(&self, id: Option<MessageId>) -> Result<(), Failure> {
        let id = id.or_else(|| self.session.last_sent());
        let id = id.ok_or_else(|| Failure::usage("nothing has been sent yet").hint("name a message: .trace <id>"))?;
        crate::commands::trace::show(&self.session.connection, self.screen.terminal(), id).await
    }
}

/// What a result sends out, in a few words.
fn emitted(result: &EvaluationResult) -> Option<String> {
    let count = |many: usize, one: &str, more: &str| match many {
        0 => None,
        1 => Some(format!("1 {one}")),
        many => Some(format!("{many} {more}")),
    };
    let parts: Vec<String> = [
        count(outgoing(result).len(), "message sent", "messages sent"),
        count(result.spawns.len(), "process spawned", "processes spawned"),
        count(result.assignments.len(), "assignment", "assignments"),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn help(terminal: Terminal) -> Result<(), Failure> {
    if terminal.is_json() {
        return COMMANDS.iter().try_for_each(|(name, arguments, what)| {
            terminal.json(&serde_json::json!({ "command": name, "arguments": arguments, "what": what }))
        });
    }
    for (name, arguments, what) in COMMANDS {
        let command = format!("{name} {arguments}");
        let command = command.trim_end();
        terminal.line(format!("  {COPY}{command:<36}{COPY:#} {what}"));
    }
    terminal.line(format!(
        "\n  {LABEL}A message is{LABEL:#} {STRONG}ACTION NAME=VALUE … DATA{STRONG:#}{LABEL}; quote values with spaces, \\ at the end of a line goes on{LABEL:#}"
    ));
    Ok(())
}

/// Tags that are worth offering again.
pub fn offered(tags: &[Tag]) -> impl Iterator<Item = &Tag> {
    const MACHINERY: [&str; 8] =
        ["Data-Protocol", "Variant", "Type", "SDK", "Reference", "From-Process", "From-Module", "Content-Type"];
    tags.iter().filter(|tag| !MACHINERY.contains(&tag.name.as_str()) && !tag.name.starts_with("Pushed-For"))
}

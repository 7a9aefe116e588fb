//! What became of each pushed item, kept for a while so that one can see where a message went: events by item, written in
//! the same transactions that carry the work on. Wallets, addresses of clients and data are not in it.

mod page;
mod report;

use holon_protocol::{ItemId, ProcessId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::crank::descent::Descent;
use crate::crank::step::Follow;
use crate::crank::task::{Forwarded, ForwardedKind, Purpose, Signed, Task, Work};
use crate::json::{self, JsonText};

pub use page::{MAX_PAGE, Query as PageQuery};
pub use report::{DEFAULT_NODES, MAX_NODES, Report, Reporter};

/// Longest error text kept, in characters.
pub const MAX_TEXT_CHARACTERS: usize = 1_000;
/// Most skipped outbox entries told of one result.
pub const MAX_SKIPPED: usize = 16;

/// Something that happened to an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// It came to be.
    Made(Made),
    /// The result of this item asked for another one.
    Child(ItemId),
    /// Its scheduler has it, or Arweave, if it is for a wallet.
    Scheduled,
    /// The scheduler has the same content under another id, whose result is somebody else's to push.
    Duplicate,
    /// Its result was pulled.
    Evaluated(Evaluated),
    /// It, or something that its result asked for, was given up.
    GaveUp {
        /// At which stage.
        stage: String,
        /// Why.
        reason: String,
    },
}

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A message.
    Message,
    /// A message to a wallet.
    WalletMessage,
    /// A process.
    Process,
    /// The notice of a spawn.
    Notice,
    /// An assignment of another item.
    Assignment,
    /// A cron result, which has no item: its id is made up of the process and the result's cursor.
    Cron,
}

/// How an item came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub descent: Descent,
    /// The process that asked for it; `None`: a client.
    pub emitter: Option<ProcessId>,
    /// Process or wallet it is for.
    pub to: ItemId,
}

/// What a result is, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluated {
    /// The error of the result, cut.
    pub error: Option<String>,
    /// Messages that are sent.
    pub messages: usize,
    /// Processes that are spawned.
    pub spawns: usize,
    /// Assignments that are made.
    pub assignments: usize,
    /// Entries that cannot be used, with their reasons: the first of them.
    pub skipped: Vec<(String, String)>,
}

/// `text`, not longer than is kept.
pub fn cut(text: &str) -> String {
    text.chars().take(MAX_TEXT_CHARACTERS).collect()
}

/// The error text of a result, `None` when it has none.
pub fn error_of(result: &JsonText) -> Option<String> {
    let error = result.json().member("Error").filter(|error| error.kind() != json::Kind::Null)?;
    let text = error.string().unwrap_or_else(|| error.compact());
    if text.is_empty() { None } else { Some(cut(&text)) }
}

/// What a result asks for, in short.
pub fn evaluated(error: Option<String>, follow: &Follow) -> Evaluated {
    let count = |fits: fn(&Work) -> bool| follow.tasks.iter().filter(|task| fits(&task.work)).count();
    Evaluated {
        error,
        messages: count(|work| matches!(work, Work::Message { .. })),
        spawns: count(|work| matches!(work, Work::Spawn { .. })),
        assignments: count(|work| matches!(work, Work::Assign { .. })),
        skipped: (follow.skipped.iter().take(MAX_SKIPPED))
            .map(|skipped| (skipped.entry.clone(), cut(&skipped.reason)))
            .collect(),
    }
}

/// What is told when a task reaches the stage `work`: an item was signed.
pub fn of_stage(task: &Task, work: &Work) -> Vec<(ItemId, What)> {
    let Work::Send(signed) = work else { return Vec::new() };
    let (kind, to) = match &signed.purpose {
        Purpose::Message { process } => (Kind::Message, (*process).into()),
        Purpose::Wallet { address } => (Kind::WalletMessage, ItemId::from_bytes(*address.as_bytes())),
        Purpose::Spawn { .. } => (Kind::Process, signed.item),
        Purpose::Notice { .. } => (Kind::Notice, signed.emitter.into()),
    };
    made(signed.item, Made { kind, descent: task.descent, emitter: Some(signed.emitter), to })
}

/// What is told when a task is done and `follow` follows. `error` is that of the result, if it pulled one.
pub fn of_done(task: &Task, follow: &Follow, error: Option<String>) -> Vec<(ItemId, What)> {
    let first_pull = || {
        follow.tasks.first().and_then(|next| match &next.work {
            Work::Pull { message, .. } => Some((ItemId::from(*message), next.descent)),
            _ => None,
        })
    };
    match &task.work {
        Work::Confirm(Forwarded { item, kind, .. }) => {
            let (kind, to) = match kind {
                ForwardedKind::Message { process } => (Kind::Message, (*process).into()),
                ForwardedKind::Process { .. } => (Kind::Process, *item),
            };
            let descent = Descent { origin: Some(*item), ..task.descent };
            scheduled(*item, Made { kind, descent, emitter: None, to })
        }
        Work::ConfirmAssignment { process, .. } => {
            let Some((id, descent)) = first_pull() else { return Vec::new() };
            scheduled(id, Made { kind: Kind::Assignment, descent, emitter: None, to: (*process).into() })
        }
        Work::Assign { emitter, assign, .. } => {
            let Some((id, descent)) = first_pull() else { return Vec::new() };
            let to = assign.process.into();
            scheduled(id, Made { kind: Kind::Assignment, descent, emitter: Some(*emitter), to })
        }
        Work::Send(Signed { item, purpose: Purpose::Message { .. }, .. }) if follow.tasks.is_empty() => {
            vec![(*item, What::Duplicate)]
        }
        Work::Send(signed) => vec![(signed.item, What::Scheduled)],
        Work::Pull { message, .. } => vec![((*message).into(), What::Evaluated(evaluated(error, follow)))],
        Work::Message { .. } | Work::Spawn { .. } | Work::Notice { .. } => Vec::new(),
    }
}

/// What is told when a task is given up: of its item, or of the message that asked for it.
pub fn of_death(task: &Task, reason: &str) -> Vec<(ItemId, What)> {
    let item = task.item().or(task.descent.parent);
    let gave_up = What::GaveUp { stage: task.stage().to_owned(), reason: cut(reason) };
    item.map(|item| (item, gave_up)).into_iter().collect()
}

fn made(item: ItemId, made: Made) -> Vec<(ItemId, What)> {
    let parent = made.descent.parent.filter(|parent| *parent != item);
    let child = parent.map(|parent| (parent, What::Child(item)));
    child.into_iter().chain([(item, What::Made(made))]).collect()
}

fn scheduled(item: ItemId, how: Made) -> Vec<(ItemId, What)> {
    let mut told = made(item, how);
    told.push((item, What::Scheduled));
    told
}

//! The units of durable work: what is still to be done after something was accepted.

use std::time::Duration;

use bytes::Bytes;
use holon_protocol::{Address, ItemId, MessageId, Nonce, ProcessId, Tags, Timestamp};
use holon_unit::trace_context::message_span;
use serde::{Deserialize, Serialize};

use super::descent::Descent;
use super::outgoing::{Assign, Message, Spawn};
use super::step::assignment_claim;
use crate::outbox::Share;

/// Position of a task in the outbox; smaller is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(pub u64);

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Something to do. It stays in the outbox until it is done, replaced by what follows from it, or given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Value of `Pushed-For` of everything that descends from it (spec 04 §10.7).
    pub root: Option<ItemId>,
    /// Which push it belongs to, and how far down.
    #[serde(default)]
    pub descent: Descent,
    /// What to do.
    pub work: Work,
}

/// What a task does, and the stage it has reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// A client's item is on its way to the scheduler. After a crash or a lost answer the scheduler is asked whether it
    /// took it.
    Confirm(Forwarded),
    /// A client's assignment is on its way to the scheduler; the same.
    ConfirmAssignment {
        /// Process that receives it.
        process: ProcessId,
        /// What is assigned.
        message: ItemId,
        /// The first nonce that can be the one this request got; an older assignment of the same item is another one's.
        /// Absent in what was stored before it was known.
        #[serde(default)]
        first: Option<Nonce>,
        /// Where it went.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        toward: Option<Toward>,
    },
    /// Pull the result of a message and push what it contains.
    Pull {
        /// The message, assignment or process whose result is wanted.
        message: MessageId,
        /// Process that evaluates it.
        process: ProcessId,
        /// Its place in the log, as far as the scheduler told it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<Nonce>,
    },
    /// Build and sign an outgoing message.
    Message {
        /// Process that emitted it.
        emitter: ProcessId,
        /// What it emitted.
        message: Message,
    },
    /// Build and sign a process.
    Spawn {
        /// Process that emitted it.
        emitter: ProcessId,
        /// What it emitted.
        spawn: Spawn,
    },
    /// Build and sign the notice that tells the emitter of its new process.
    Notice {
        /// Process that emitted the spawn.
        emitter: ProcessId,
        /// The new process.
        spawned: ProcessId,
        /// Tags of the spawn as emitted.
        tags: Tags,
    },
    /// Signed bytes to hand over; every attempt sends the same ones.
    Send(Signed),
    /// Ask a scheduler to assign an existing item.
    Assign {
        /// Process that asked for it.
        emitter: ProcessId,
        /// What it asked for.
        assign: Assign,
        /// The first nonce that can be the one it gets; nothing has been sent before this is stored.
        #[serde(default)]
        first: Option<Nonce>,
    },
}

/// A client's item that is being forwarded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forwarded {
    /// Its id.
    pub item: ItemId,
    /// What it is.
    pub kind: ForwardedKind,
    /// Where it went. Absent in what was stored before it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub toward: Option<Toward>,
    /// When it came. Absent in what was stored before it was kept, and once the operator wants it pushed however old it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub came: Option<Timestamp>,
}

/// How much older than the item's coming its assignment may be for it to be believed that this is what put it into the log:
/// clocks differ.
pub const CLOCKS_DIFFER: Duration = Duration::from_secs(60 * 60);

impl Forwarded {
    /// Whether an item with an assignment of this time can have been put into its log by this coming of it. Items are public:
    /// what stands there since long before, or nobody says since when, is not for whoever brings it once more.
    pub fn put(&self, assigned: Option<Timestamp>) -> bool {
        let Some(came) = self.came else { return true };
        let differ = u64::try_from(CLOCKS_DIFFER.as_millis()).unwrap_or(u64::MAX);
        assigned.is_some_and(|assigned| assigned.0 >= came.0.saturating_sub(differ))
    }
}

/// The scheduler to which something of a client was forwarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toward {
    /// Its origin: scheme, host and port.
    pub origin: String,
    /// Whether the operator did not name it.
    pub stranger: bool,
}

/// What a client's item is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ForwardedKind {
    /// A message to this process.
    Message {
        /// Its target.
        process: ProcessId,
    },
    /// A new process.
    Process {
        /// Its ANS-104 target, if any: a process that is told of it by an assignment (spec 04 §2.2).
        target: Option<ProcessId>,
        /// What is known about it from its tags.
        record: ProcessRecord,
        /// Whether the result of its boot is pushed.
        boot: bool,
    },
}

/// What the messenger needs to know about a process; it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Value of its first `Module` tag, empty if there is none.
    pub module: String,
    /// Wallet of its scheduler.
    pub scheduler: Address,
    /// Whether it wakes by itself.
    #[serde(default)]
    pub cron: bool,
}

impl ProcessRecord {
    /// What the tags of a process say; its scheduler is told apart, because a spawn need not name one.
    pub fn of_tags(tags: &Tags, scheduler: Address) -> Self {
        let module = tags.get("Module").unwrap_or_default().to_owned();
        Self { module, scheduler, cron: tags.get("Cron-Interval").is_some() }
    }
}

/// An item this messenger signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signed {
    /// Its id.
    pub item: ItemId,
    /// Process on whose behalf it was signed.
    pub emitter: ProcessId,
    /// Its bytes; stored next to the task, not inside its text.
    #[serde(skip)]
    pub raw: Bytes,
    /// Where it goes and what follows.
    pub purpose: Purpose,
}

/// Where a signed item goes and what follows once it is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Purpose {
    /// A message to a process: to the target's scheduler; its result is pulled.
    Message {
        /// The target.
        process: ProcessId,
    },
    /// A message to a wallet: to Arweave; nothing follows.
    Wallet {
        /// The wallet.
        address: Address,
    },
    /// A new process: to this scheduler; the notice follows.
    Spawn {
        /// What is known about it.
        record: ProcessRecord,
        /// Tags of the spawn as emitted.
        tags: Tags,
    },
    /// The notice of a spawn: to the emitter's scheduler; its result and that of the boot are pulled.
    Notice {
        /// The new process.
        spawned: ProcessId,
    },
}

/// Tasks that must keep their order among each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// Results of one process are pushed in the order in which its messages were accepted.
    Results(ProcessId),
    /// Items of one emitter to one target are posted in outbox order.
    Outgoing(ProcessId, ItemId),
    /// Spawns of one emitter that name the same scheduler, or none, are posted in outbox order: a scheduler that does not
    /// answer holds up nobody else's.
    Spawns(ProcessId, Option<Address>),
    /// No order.
    Free(TaskId),
}

impl Lane {
    /// The process that emitted what is in the lane, or whose results are; `None` where there is no order to keep.
    pub fn process(&self) -> Option<ProcessId> {
        match self {
            Self::Results(process) | Self::Outgoing(process, _) | Self::Spawns(process, _) => Some(*process),
            Self::Free(_) => None,
        }
    }
}

impl Task {
    /// Names of the stages.
    pub const STAGES: [&'static str; 6] =
        ["confirm", "pull-result", "build-message", "build-process", "send", "write-assign"];

    /// Every stage with what kinds of tasks reach it.
    pub const KINDS: [(&'static str, &'static str); 11] = [
        ("confirm", "message"),
        ("confirm", "process"),
        ("confirm", "assignment"),
        ("pull-result", "result"),
        ("build-message", "message"),
        ("build-message", "notice"),
        ("build-process", "process"),
        ("send", "message"),
        ("send", "process"),
        ("send", "notice"),
        ("write-assign", "assignment"),
    ];

    /// The share of the work it belongs to: that of its lane's process, else of the process it is for.
    pub fn share(&self) -> Share {
        let process = self.lane(TaskId(0)).process().or_else(|| match &self.work {
            Work::Confirm(Forwarded { item, kind, .. }) => Some(match kind {
                ForwardedKind::Message { process } => *process,
                ForwardedKind::Process { .. } => (*item).into(),
            }),
            Work::ConfirmAssignment { process, .. } => Some(*process),
            _ => None,
        });
        process.map_or(Share(0), Share::of)
    }

    /// The lane of the task once it has this id.
    pub fn lane(&self, id: TaskId) -> Lane {
        match &self.work {
            Work::Confirm(_) | Work::ConfirmAssignment { .. } => Lane::Free(id),
            Work::Pull { process, .. } => Lane::Results(*process),
            Work::Message { emitter, message } => Lane::Outgoing(*emitter, message.target),
            Work::Spawn { emitter, spawn } => Lane::Spawns(*emitter, named(&spawn.tags)),
            Work::Notice { emitter, .. } => Lane::Outgoing(*emitter, (*emitter).into()),
            Work::Assign { emitter, assign, .. } => Lane::Outgoing(*emitter, assign.process.into()),
            Work::Send(signed) => match &signed.purpose {
                Purpose::Message { process } => Lane::Outgoing(signed.emitter, (*process).into()),
                Purpose::Wallet { address } => Lane::Outgoing(signed.emitter, ItemId::from_bytes(*address.as_bytes())),
                Purpose::Spawn { tags, .. } => Lane::Spawns(signed.emitter, named(tags)),
                Purpose::Notice { .. } => Lane::Outgoing(signed.emitter, signed.emitter.into()),
            },
        }
    }

    /// The item it is about, `None` before there is one.
    pub fn item(&self) -> Option<ItemId> {
        match &self.work {
            Work::Confirm(forwarded) => Some(forwarded.item),
            Work::Pull { message, .. } => Some((*message).into()),
            Work::Send(signed) => Some(signed.item),
            _ => None,
        }
    }

    /// The span in which it is worked on.
    pub fn span(&self) -> tracing::Span {
        let none = || "-".to_owned();
        let process = self.process().map_or_else(none, |process| process.to_string());
        let item = self.item().map_or_else(none, |item| item.to_string());
        message_span("mu", self.descent.trace_id(), process, item)
    }

    /// Process or wallet that it is for, as far as there is one.
    fn process(&self) -> Option<ItemId> {
        match &self.work {
            Work::Confirm(Forwarded { item, kind, .. }) => match kind {
                ForwardedKind::Message { process } => Some((*process).into()),
                ForwardedKind::Process { .. } => Some(*item),
            },
            Work::ConfirmAssignment { process, .. } | Work::Pull { process, .. } => Some((*process).into()),
            Work::Message { message, .. } => Some(message.target),
            Work::Spawn { .. } => None,
            Work::Notice { emitter, .. } => Some((*emitter).into()),
            Work::Assign { assign, .. } => Some(assign.process.into()),
            Work::Send(signed) => match &signed.purpose {
                Purpose::Message { process } => Some((*process).into()),
                Purpose::Wallet { address } => Some(ItemId::from_bytes(*address.as_bytes())),
                Purpose::Spawn { .. } => Some(signed.item),
                Purpose::Notice { .. } => Some(signed.emitter.into()),
            },
        }
    }

    /// The process in whose log its item may be by now without anybody having heard of it, before what came later; of an assignment,
    /// which has no id yet, what stands for it.
    pub fn posted_to(&self) -> Option<(ProcessId, ItemId)> {
        match &self.work {
            Work::Confirm(Forwarded { kind: ForwardedKind::Message { process }, item, .. }) => Some((*process, *item)),
            Work::Send(signed) => match &signed.purpose {
                Purpose::Message { process } => Some((*process, signed.item)),
                Purpose::Notice { .. } => Some((signed.emitter, signed.item)),
                Purpose::Wallet { .. } | Purpose::Spawn { .. } => None,
            },
            // Which assignment it becomes, its scheduler says afterwards.
            Work::ConfirmAssignment { process, message, .. } => {
                Some((*process, assignment_claim(*process, (*message).into())))
            }
            Work::Assign { assign, first: Some(_), .. } => {
                Some((assign.process, assignment_claim(assign.process, assign.message.into())))
            }
            _ => None,
        }
    }

    /// The scheduler that has to say whether it took something of a client.
    pub fn toward(&self) -> Option<&Toward> {
        match &self.work {
            Work::Confirm(Forwarded { toward, .. }) | Work::ConfirmAssignment { toward, .. } => toward.as_ref(),
            _ => None,
        }
    }

    /// The process that asked for it, or whose result is to be pulled.
    pub fn emitter(&self) -> Option<ProcessId> {
        match &self.work {
            Work::Confirm(_) => None,
            Work::ConfirmAssignment { process, .. } | Work::Pull { process, .. } => Some(*process),
            Work::Message { emitter, .. }
            | Work::Spawn { emitter, .. }
            | Work::Notice { emitter, .. }
            | Work::Assign { emitter, .. }
            | Work::Send(Signed { emitter, .. }) => Some(*emitter),
        }
    }

    /// The `traceparent` header of requests for this task, `None` when it is not known what it descends from.
    pub fn traceparent(&self) -> Option<String> {
        let span = self.item().or(self.descent.parent).or(self.descent.origin)?;
        Some(self.descent.trace_id()?.traceparent(span.as_bytes()))
    }

    /// What it is to bring about, for metrics.
    pub fn kind(&self) -> &'static str {
        match &self.work {
            Work::Confirm(Forwarded { kind: ForwardedKind::Message { .. }, .. }) | Work::Message { .. } => "message",
            Work::Confirm(Forwarded { kind: ForwardedKind::Process { .. }, .. }) | Work::Spawn { .. } => "process",
            Work::ConfirmAssignment { .. } | Work::Assign { .. } => "assignment",
            Work::Pull { .. } => "result",
            Work::Notice { .. } => "notice",
            Work::Send(signed) => match &signed.purpose {
                Purpose::Message { .. } | Purpose::Wallet { .. } => "message",
                Purpose::Spawn { .. } => "process",
                Purpose::Notice { .. } => "notice",
            },
        }
    }

    /// Name of the stage, for logs and metrics.
    pub fn stage(&self) -> &'static str {
        let [confirm, pull, message, process, send, assign] = Self::STAGES;
        match &self.work {
            Work::Confirm(_) | Work::ConfirmAssignment { .. } => confirm,
            Work::Pull { .. } => pull,
            Work::Message { .. } | Work::Notice { .. } => message,
            Work::Spawn { .. } => process,
            Work::Send(_) => send,
            Work::Assign { .. } => assign,
        }
    }
}

/// The scheduler that a spawn's tags, as emitted, name.
fn named(tags: &Tags) -> Option<Address> {
    tags.get("Scheduler")?.parse().ok()
}

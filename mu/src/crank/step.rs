//! What follows from what: one task and the outcome of one effect in, the next thing to do or store out.
//!
//! No I/O, clock or randomness here: the shell performs effects and hands their outcomes back, a simulation does the
//! same with a seed.

use bytes::Bytes;
use holon_protocol::{Address, AssignmentId, ItemId, MessageId, Nonce, ProcessId, Timestamp};
use sha2::{Digest, Sha256};

use super::compose::{self, Claims, Emitter, Unsigned};
use super::descent::Descent;
use super::outgoing::{self, Assign, Outgoing, Skipped};
use super::task::{Forwarded, ForwardedKind, ProcessRecord, Purpose, Signed, Task, Work};
use crate::json::JsonText;

/// After this many failures to pull a result the scheduler is asked whether it has the message at all.
pub const PULL_ATTEMPTS_UNCHECKED: u32 = 4;
/// How often a scheduler is looked for that has published no usable location, before what it is for is given up.
pub const LOCATE_ATTEMPTS: u32 = 10;
/// How often an id is looked up that the gateway has and its index does not know, before what it is for is given up: an hour with
/// the usual waits. Indexes lag behind by minutes, and some things they never show.
pub const INDEX_ATTEMPTS: u32 = 64;
/// How often a scheduler is asked whether it took a client's item, which says each time that it did not: half an hour with the
/// usual waits. It may come late, because schedulers hold items back until they can tell their turn.
pub const CONFIRM_ATTEMPTS: u32 = 40;
/// How often a refused assignment is repeated: an item pushed a moment ago may not be on the gateway yet (spec 04 §8.2).
pub const ASSIGN_ATTEMPTS: u32 = 6;

/// Why an item is not pushed that its scheduler has had for long.
const OLD_ITEM: &str = "its scheduler has had it since long before it came here, so its result was pushed then, or is for others to push; \
    taken up again, it is pushed unless this messenger knows that it was";

/// A scheduler to be located.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheduler {
    /// The one of this process.
    Of(ProcessId),
    /// The one with this wallet.
    Wallet(Address),
}

/// Something only the shell can do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask a scheduler whether it has an item: `There` or `NotThere`. With `refused` the item was refused just now, with this text.
    Find {
        /// Whom to ask.
        scheduler: Scheduler,
        /// The item; the process itself when it equals `process`.
        item: ItemId,
        /// Process it is for.
        process: ProcessId,
        /// Why it was refused.
        refused: Option<String>,
    },
    /// Ask a process's scheduler whether it assigned an item lately: `Assigned` or `NotThere`.
    FindAssignment {
        /// Process that receives it.
        process: ProcessId,
        /// What was to be assigned.
        message: ItemId,
        /// The first nonce that can be the one that is looked for; `None`: the newest one that fits is taken.
        first: Option<Nonce>,
        /// Why it was refused.
        refused: Option<String>,
    },
    /// Ask a process's scheduler how long its log is: `NextNonce`.
    NextNonce {
        /// The process.
        process: ProcessId,
    },
    /// Ask the compute unit for a result: `Result` or `NotYet`.
    Pull {
        /// Message, assignment or process.
        message: MessageId,
        /// Process that evaluates it.
        process: ProcessId,
    },
    /// Learn the emitter's record and whether the target is a wallet: `Facts`.
    Facts {
        /// Emitter.
        emitter: ProcessId,
        /// Target of a message.
        target: Option<ItemId>,
    },
    /// Sign: `Signed`.
    Sign {
        /// What to sign.
        unsigned: Unsigned,
        /// What it is for.
        purpose: Purpose,
    },
    /// Post bytes to a scheduler: `Accepted` or `Refused`.
    Post {
        /// Where to.
        scheduler: Scheduler,
        /// A data item.
        raw: Bytes,
    },
    /// Upload bytes to Arweave: `Accepted` or `Refused`.
    Upload {
        /// A data item.
        raw: Bytes,
    },
    /// Post an assignment to the scheduler of its process: `Assigned` or `Refused`.
    PostAssign {
        /// The assignment.
        assign: Assign,
    },
}

/// Where an item stands in a log, and since when, as far as its scheduler tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Its place.
    pub nonce: Option<Nonce>,
    /// When it got it, by the scheduler's clock.
    pub timestamp: Option<Timestamp>,
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The scheduler has the item.
    There(Standing),
    /// The scheduler has no such item, or made no such assignment.
    NotThere,
    /// The scheduler made an assignment with this id, at this place of its log if it says so.
    Assigned(AssignmentId, Option<Nonce>),
    /// The scheduler made no other assignment than such whose results others push.
    Claimed,
    /// The nonce that the next entry of a log gets, or a later one.
    NextNonce(Nonce),
    /// The compute unit's answer.
    Result(JsonText),
    /// The compute unit is still busy.
    NotYet,
    /// What was asked for.
    Facts {
        /// The emitter's record.
        record: ProcessRecord,
        /// Whether the target is a wallet.
        wallet: bool,
    },
    /// The signed item.
    Signed {
        /// Its id.
        item: ItemId,
        /// Its bytes.
        raw: Bytes,
    },
    /// Taken, at this place of a log if the scheduler says so.
    Accepted(Option<Nonce>),
    /// Refused by the peer; the same request will be refused again.
    Refused(String),
    /// It did not work this time: the peer answered with something that cannot be used.
    Failed(String),
    /// The peer could not be asked or is out of order, which says nothing about what it was asked for.
    Unreachable(String),
    /// The same, and nothing was sent to it.
    Unsent(String),
    /// The scheduler has published no location that can be used.
    Unlocated(String),
    /// The gateway has it, and its index does not know it.
    Unindexed(String),
    /// The peer has enough to do for us already.
    Crowded,
    /// It can never work.
    Impossible(String),
}

/// Whose failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// That of a peer which could not be asked: everything else it is asked for fails just the same.
    Peer,
    /// That of the task, as far as anybody can tell.
    Task,
}

/// How the messenger behaves where the specification leaves a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Whether the result of a spawned process's boot is pushed.
    pub boot: bool,
    /// Whether processes with cron tags are monitored from their birth on.
    pub auto_cron: bool,
    /// Whether what a process says of its own origin is replaced; always, but in tests of what happens otherwise.
    pub origins: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { boot: true, auto_cron: false, origins: true }
    }
}

/// What to do next with a task.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Perform this; nothing to store.
    Effect(Effect),
    /// Store this stage durably before going on with its first effect.
    Stage(Work),
    /// The task is done: remove it and store what follows, in one transaction.
    Done(Follow),
    /// Wait a little and ask again; not a failure.
    Again,
    /// Wait longer each time, and ask again; not a failure.
    Crowded,
    /// Failed this time: repeat later from the stored stage.
    Retry(Fault, String),
    /// Failed for good: keep the task as a dead letter with this reason, and store what follows all the same.
    Dead(String, Follow),
}

/// What follows from a finished task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Follow {
    /// New tasks in their order.
    pub tasks: Vec<Task>,
    /// Outbox entries that cannot be used.
    pub skipped: Vec<Skipped>,
    /// Processes that exist now.
    pub processes: Vec<(ProcessId, ProcessRecord)>,
    /// What the crons of these are accounted to: see [`Descent::lineage`].
    pub lineage: Option<ItemId>,
    /// What happens once, whoever comes to it how often and at which messenger.
    pub once: Option<Once>,
}

/// What is claimed before it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Once {
    /// Its claim.
    pub claim: ItemId,
    /// How many of the first tasks do not follow if it is claimed already.
    pub tasks: usize,
    /// Whether another one is looked for if it is claimed already; else the rest is done without them.
    pub another: bool,
}

impl Follow {
    fn tasks(tasks: Vec<Task>) -> Self {
        Self { tasks, ..Self::default() }
    }

    /// Tasks none of which follows if this is claimed already.
    fn once(claim: ItemId, tasks: Vec<Task>) -> Self {
        Self { once: Some(Once { claim, tasks: tasks.len(), another: false }), ..Self::tasks(tasks) }
    }

    /// The pull of an assignment, unless that is another one's by now: then ours is to be looked for again.
    fn assigned(claim: ItemId, pull: Task) -> Self {
        Self { once: Some(Once { claim, tasks: 1, another: true }), ..Self::tasks(vec![pull]) }
    }
}

impl Task {
    /// The first effect of a stored task's stage when it is taken up, after `failures` failures. A result that cannot be
    /// pulled may be that of a message which its scheduler does not have; such a one is not asked for any longer.
    pub fn effect_after(&self, failures: u32) -> Effect {
        match &self.work {
            Work::Pull { message, process, .. } if failures >= PULL_ATTEMPTS_UNCHECKED => Effect::Find {
                scheduler: Scheduler::Of(*process),
                item: (*message).into(),
                process: *process,
                refused: None,
            },
            // It may have been sent before, and a scheduler need not refuse to assign the same item twice.
            Work::Assign { assign, first: first @ Some(_), .. } => Effect::FindAssignment {
                process: assign.process,
                message: assign.message,
                first: *first,
                refused: None,
            },
            _ => self.effect(),
        }
    }

    /// Asks where something is that was signed and posted, `None` where nothing was.
    pub fn find(&self) -> Option<Effect> {
        let Work::Send(signed) = &self.work else { return None };
        let (scheduler, process) = (signed.scheduler(), signed.log());
        Some(Effect::Find { scheduler, item: signed.item, process, refused: None })
    }

    /// The first effect of the task's stage.
    pub fn effect(&self) -> Effect {
        match &self.work {
            Work::Confirm(Forwarded { item, kind, .. }) => {
                let (scheduler, process) = match kind {
                    ForwardedKind::Message { process } => (Scheduler::Of(*process), *process),
                    ForwardedKind::Process { record, .. } => (Scheduler::Wallet(record.scheduler), (*item).into()),
                };
                Effect::Find { scheduler, item: *item, process, refused: None }
            }
            Work::ConfirmAssignment { process, message, first, .. } => {
                Effect::FindAssignment { process: *process, message: *message, first: *first, refused: None }
            }
            Work::Pull { message, process, .. } => Effect::Pull { message: *message, process: *process },
            Work::Message { emitter, message } => Effect::Facts { emitter: *emitter, target: Some(message.target) },
            Work::Spawn { emitter, .. } | Work::Notice { emitter, .. } => {
                Effect::Facts { emitter: *emitter, target: None }
            }
            Work::Send(signed) => {
                let raw = signed.raw.clone();
                match &signed.purpose {
                    Purpose::Wallet { .. } => Effect::Upload { raw },
                    _ => Effect::Post { scheduler: signed.scheduler(), raw },
                }
            }
            Work::Assign { assign, first: None, .. } => Effect::NextNonce { process: assign.process },
            Work::Assign { assign, first: Some(_), .. } => Effect::PostAssign { assign: assign.clone() },
        }
    }
}

impl Signed {
    fn scheduler(&self) -> Scheduler {
        match &self.purpose {
            Purpose::Message { process } => Scheduler::Of(*process),
            Purpose::Spawn { record, .. } => Scheduler::Wallet(record.scheduler),
            Purpose::Notice { .. } | Purpose::Wallet { .. } => Scheduler::Of(self.emitter),
        }
    }

    /// The process in whose log the item stands once it is scheduled.
    fn log(&self) -> ProcessId {
        match &self.purpose {
            Purpose::Message { process } => *process,
            Purpose::Spawn { .. } => self.item.into(),
            Purpose::Notice { .. } | Purpose::Wallet { .. } => self.emitter,
        }
    }
}

/// What follows from `outcome` of `effect`, performed for `task` after it failed `failures` times by its own fault.
pub fn step(task: &Task, failures: u32, policy: Policy, effect: &Effect, outcome: Outcome) -> Next {
    if let (Work::Pull { .. }, Effect::Find { .. }) = (&task.work, effect) {
        return match outcome {
            Outcome::NotThere => dead(task, policy, "its scheduler does not have this message".into()),
            // A scheduler that cannot be asked does not keep the result from being pulled.
            _ => Next::Effect(task.effect()),
        };
    }
    match outcome {
        Outcome::Unreachable(reason) | Outcome::Unsent(reason) => return Next::Retry(Fault::Peer, reason),
        Outcome::Failed(reason) => return retry(reason),
        Outcome::Unlocated(reason) if failures + 1 < LOCATE_ATTEMPTS => return retry(reason),
        Outcome::Unindexed(reason) if failures + 1 < INDEX_ATTEMPTS => return retry(reason),
        Outcome::Unlocated(reason) | Outcome::Unindexed(reason) => return dead(task, policy, reason),
        Outcome::Crowded => return Next::Crowded,
        Outcome::Impossible(reason) => return dead(task, policy, reason),
        Outcome::NotYet => return Next::Again,
        _ => {}
    }
    match (&task.work, effect, outcome) {
        (Work::Confirm(forwarded), _, Outcome::There(standing)) => {
            if forwarded.put(standing.timestamp) {
                Next::Done(forwarded_accepted(forwarded, task.descent, standing.nonce))
            } else {
                // It was pushed when it came, or is for others to push; unless the operator knows better.
                dead(task, policy, OLD_ITEM.into())
            }
        }
        (Work::Confirm(_) | Work::ConfirmAssignment { .. }, _, Outcome::NotThere) => {
            if failures + 1 < CONFIRM_ATTEMPTS {
                retry("the scheduler does not have it (yet)".into())
            } else {
                dead(task, policy, "the scheduler does not have it".into())
            }
        }
        (Work::ConfirmAssignment { process, .. }, _, Outcome::Assigned(id, nonce)) => {
            Next::Done(client_assignment_accepted(*process, id, task.descent, nonce))
        }
        (Work::Pull { message, process, .. }, _, Outcome::Result(result)) => match outgoing::read(&result) {
            Ok(outgoing) => Next::Done(push(*process, task.root, task.descent.below((*message).into()), outgoing)),
            Err(error) => retry(error.to_string()),
        },
        (Work::Message { emitter, message }, _, Outcome::Facts { record, wallet }) => {
            let purpose = if wallet {
                Purpose::Wallet { address: Address::from_bytes(*message.target.as_bytes()) }
            } else {
                Purpose::Message { process: message.target.into() }
            };
            sign(task, policy, compose::message(&emitter_of(*emitter, record, policy), message, task.root), purpose)
        }
        (Work::Spawn { emitter, spawn }, _, Outcome::Facts { record, .. }) => {
            let scheduler = match compose::named_scheduler(spawn) {
                Ok(named) => named.unwrap_or(record.scheduler),
                Err(reason) => return dead(task, policy, reason),
            };
            let record_of_new = ProcessRecord::of_tags(&spawn.tags, scheduler);
            let purpose = Purpose::Spawn { record: record_of_new, tags: spawn.tags.clone() };
            sign(task, policy, compose::spawn(&emitter_of(*emitter, record, policy), spawn, task.root), purpose)
        }
        (Work::Notice { emitter, spawned, tags }, _, Outcome::Facts { record, .. }) => {
            let unsigned = compose::notice(&emitter_of(*emitter, record, policy), *spawned, tags);
            sign(task, policy, unsigned, Purpose::Notice { spawned: *spawned })
        }
        (
            Work::Message { emitter, .. } | Work::Spawn { emitter, .. } | Work::Notice { emitter, .. },
            Effect::Sign { purpose, .. },
            Outcome::Signed { item, raw },
        ) => Next::Stage(Work::Send(Signed { item, emitter: *emitter, raw, purpose: purpose.clone() })),
        (Work::Send(signed), _, Outcome::Accepted(nonce) | Outcome::There(Standing { nonce, .. })) => {
            Next::Done(sent(task, policy, signed, nonce))
        }
        (Work::Send(signed), Effect::Post { .. }, Outcome::Refused(reason)) => Next::Effect(Effect::Find {
            scheduler: signed.scheduler(),
            item: signed.item,
            process: signed.log(),
            refused: Some(reason),
        }),
        (Work::Send(_), Effect::Upload { .. }, Outcome::Refused(reason)) => dead(task, policy, reason),
        (Work::Send(_), Effect::Find { refused: Some(reason), .. }, Outcome::NotThere) => {
            if is_duplicate(reason) {
                // The same content under another id is there: whoever sent that one pulls its result.
                Next::Done(unsent(task, policy))
            } else {
                dead(task, policy, reason.clone())
            }
        }
        (Work::Assign { emitter, assign, .. }, _, Outcome::NextNonce(first)) => {
            Next::Stage(Work::Assign { emitter: *emitter, assign: assign.clone(), first: Some(first) })
        }
        (Work::Assign { .. } | Work::ConfirmAssignment { .. }, _, Outcome::Claimed) => Next::Done(Follow::default()),
        // An assignment that a result asked for has no root (spec 04 §10.7).
        (Work::Assign { assign, .. }, _, Outcome::Assigned(id, nonce)) => {
            let pull = pull(id.into(), assign.process, None, task.descent, nonce);
            Next::Done(Follow::assigned(assignment_claim(assign.process, id), pull))
        }
        (Work::Assign { assign, first, .. }, Effect::PostAssign { .. }, Outcome::Refused(reason)) => {
            Next::Effect(Effect::FindAssignment {
                process: assign.process,
                message: assign.message,
                first: *first,
                refused: Some(reason),
            })
        }
        (Work::Assign { assign, .. }, Effect::FindAssignment { refused: None, .. }, Outcome::NotThere) => {
            Next::Effect(Effect::PostAssign { assign: assign.clone() })
        }
        (Work::Assign { .. }, Effect::FindAssignment { refused: Some(reason), .. }, Outcome::NotThere) => {
            let reason = reason.clone();
            if is_duplicate(&reason) {
                Next::Done(Follow::default())
            } else if failures + 1 < ASSIGN_ATTEMPTS {
                retry(reason)
            } else {
                dead(task, policy, reason)
            }
        }
        (_, effect, outcome) => retry(format!("{outcome:?} is no answer to {effect:?}")),
    }
}

fn emitter_of(process: ProcessId, record: ProcessRecord, policy: Policy) -> Emitter {
    Emitter { process, record, claims: if policy.origins { Claims::Replaced } else { Claims::Kept } }
}

fn retry(reason: String) -> Next {
    Next::Retry(Fault::Task, reason)
}

fn dead(task: &Task, policy: Policy, reason: String) -> Next {
    Next::Dead(reason, unsent(task, policy))
}

/// What follows from a client's item, which stands at `descent`, once its scheduler has it (spec 04 §2.1, §2.2), at `nonce` of
/// its log if that is known.
pub fn forwarded_accepted(forwarded: &Forwarded, descent: Descent, nonce: Option<Nonce>) -> Follow {
    let root = Some(forwarded.item);
    match &forwarded.kind {
        ForwardedKind::Message { process } => {
            Follow::once(forwarded.item, vec![pull(forwarded.item, *process, root, descent, nonce)])
        }
        ForwardedKind::Process { target, record, boot } => {
            let process = ProcessId::from(forwarded.item);
            let announce = target.map(|target| Task {
                root,
                descent: descent.below(forwarded.item),
                work: Work::Assign {
                    emitter: process,
                    assign: Assign { process: target, message: forwarded.item, base_layer: false, exclude: Vec::new() },
                    first: None,
                },
            });
            let boot = boot.then(|| pull(forwarded.item, process, root, descent, Some(Nonce(0))));
            Follow {
                processes: vec![(process, record.clone())],
                lineage: descent.lineage(),
                ..Follow::once(forwarded.item, announce.into_iter().chain(boot).collect())
            }
        }
    }
}

/// What follows from an assignment that a client asked for: it is the root of its descendants (spec 04 §10.7).
pub fn client_assignment_accepted(
    process: ProcessId,
    id: AssignmentId,
    descent: Descent,
    nonce: Option<Nonce>,
) -> Follow {
    let claim = assignment_claim(process, id);
    let id = ItemId::from(id);
    let descent = Descent { trace: descent.trace, ..Descent::of_origin(id) };
    Follow::assigned(claim, pull(id, process, Some(id), descent, nonce))
}

/// What the result of an assignment is claimed by. Its id is whatever the scheduler says it is, so it claims nothing but that
/// scheduler's: not an item, and not an assignment to a process that lives elsewhere.
pub(super) fn assignment_claim(process: ProcessId, id: AssignmentId) -> ItemId {
    let hash = Sha256::new_with_prefix("assignment").chain_update(process.as_bytes()).chain_update(id.as_bytes());
    ItemId::from_bytes(hash.finalize().into())
}

/// The tasks for everything a result of `emitter` asks for, which stands at `descent`: messages, spawns, assignments.
pub fn push(emitter: ProcessId, root: Option<ItemId>, descent: Descent, outgoing: Outgoing) -> Follow {
    let Outgoing { messages, spawns, assignments, skipped } = outgoing;
    let works = (messages.into_iter().map(|message| Work::Message { emitter, message }))
        .chain(spawns.into_iter().map(|spawn| Work::Spawn { emitter, spawn }))
        .chain(assignments.into_iter().map(|assign| Work::Assign { emitter, assign, first: None }));
    Follow { tasks: works.map(|work| Task { root, descent, work }).collect(), skipped, ..Follow::default() }
}

fn sign(
    task: &Task,
    policy: Policy,
    unsigned: Result<Unsigned, holon_protocol::item::ItemError>,
    purpose: Purpose,
) -> Next {
    match unsigned {
        Ok(unsigned) => Next::Effect(Effect::Sign { unsigned, purpose }),
        Err(error) => dead(task, policy, error.to_string()),
    }
}

/// What follows from an item that reached its destination.
fn sent(task: &Task, policy: Policy, signed: &Signed, nonce: Option<Nonce>) -> Follow {
    match &signed.purpose {
        Purpose::Message { process } => {
            Follow::once(signed.item, vec![pull(signed.item, *process, task.root, task.descent, nonce)])
        }
        Purpose::Wallet { .. } => Follow::default(),
        Purpose::Spawn { record, tags } => {
            let spawned = ProcessId::from(signed.item);
            let work = Work::Notice { emitter: signed.emitter, spawned, tags: tags.clone() };
            Follow {
                tasks: vec![Task { root: task.root, descent: task.descent.below(signed.item), work }],
                processes: vec![(spawned, record.clone())],
                lineage: task.descent.lineage(),
                ..Follow::default()
            }
        }
        Purpose::Notice { .. } => {
            let told = pull(signed.item, signed.emitter, task.root, task.descent, nonce);
            let mut follow = Follow::once(signed.item, vec![told]);
            follow.tasks.extend(unsent(task, policy).tasks);
            follow
        }
    }
}

/// What follows from a task that is given up or whose item did not get there: a process boots whether or not its emitter
/// heard of it.
pub fn unsent(task: &Task, policy: Policy) -> Follow {
    let spawned = match &task.work {
        Work::Notice { spawned, .. } | Work::Send(Signed { purpose: Purpose::Notice { spawned }, .. }) => *spawned,
        _ => return Follow::default(),
    };
    let boot = policy.boot.then(|| pull(spawned.into(), spawned, task.root, task.descent, Some(Nonce(0))));
    Follow::tasks(boot.into_iter().collect())
}

fn pull(message: ItemId, process: ProcessId, root: Option<ItemId>, descent: Descent, nonce: Option<Nonce>) -> Task {
    Task { root, descent, work: Work::Pull { message: message.into(), process, nonce } }
}

/// Whether a scheduler's refusal says that it has the content already. Schedulers word it freely, all of them with one
/// of these.
fn is_duplicate(reason: &str) -> bool {
    let reason = reason.to_ascii_lowercase();
    ["exists", "duplicate", "already"].iter().any(|word| reason.contains(word))
}

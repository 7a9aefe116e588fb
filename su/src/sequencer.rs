//! One order for one process: a state machine without I/O, clock or randomness (spec 02 §3.2, §3.3, §4).
//!
//! The shell feeds [`Input`]s and carries out [`Action`]s. At any time at most one request has its *turn*: it is looked
//! up, then signed. As soon as it is signed the next one gets its turn, while the signed entry is still on its way to
//! the disk; its answer waits for [`Input::Durable`].
//!
//! ```text
//! Submit ─► waiting ─► LookUp ─► LookedUp ─► Sign ─► Signed ─► Store … Durable ─► Answer
//!                        │ duplicate                    (next turn begins here)
//!                        └─► Answer, once what it duplicates is durable
//! ```

use std::collections::{HashMap, VecDeque};

use holon_protocol::assignment::Assignment;
use holon_protocol::chain::HashChain;
use holon_protocol::{AssignmentId, BlockHeight, MessageId, Nonce, ProcessId, Timestamp};

/// Most requests that may wait for their turn in one process.
pub const MAX_WAITING: usize = 8192;

/// The newest entry of a process's log: all that the next position depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its position.
    pub nonce: Nonce,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Its assignment.
    pub assignment: AssignmentId,
    /// Its link.
    pub hash_chain: HashChain,
}

/// Content of an item without who signed it and when: the scheduler's dedupe hash (spec 01 §12), 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub String);

/// Both forms of the dedupe hash of one item. The ordered form is stored; both are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Over sorted tags.
    pub ordered: ContentHash,
    /// Over tags in their original order, as old records have it.
    pub unordered: ContentHash,
}

/// What asks for a position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The process itself: its log begins.
    Process,
    /// A message with its body.
    Message {
        /// Item id.
        id: MessageId,
        /// Set when repeats of the content are refused (pushed messages).
        content: Option<Content>,
    },
    /// An item that is already published; the log gets its id only.
    Assigned {
        /// Its id.
        id: MessageId,
        /// Set when repeats of the content are refused.
        content: Option<Content>,
        /// Fields the evaluator must not load, verbatim.
        exclude: Vec<String>,
    },
}

impl Subject {
    /// The content whose repetition is refused.
    pub fn content(&self) -> Option<&Content> {
        match self {
            Self::Process => None,
            Self::Message { content, .. } | Self::Assigned { content, .. } => content.as_ref(),
        }
    }

    /// The id whose repetition is refused.
    pub fn unique_id(&self) -> Option<MessageId> {
        match self {
            Self::Message { id, .. } => Some(*id),
            Self::Process | Self::Assigned { .. } => None,
        }
    }
}

/// The shell's name for a request; never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What the store knew about a request already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// An entry with this message and its body.
    Message,
    /// An entry with this content.
    Content,
}

/// Why a request gets no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such process on this scheduler.
    #[error("NotFound(\"Process not found\")")]
    UnknownProcess,
    /// The item has a position already.
    #[error("MessageExists(\"Message already exists\")")]
    Exists,
    /// An item with this content has a position already.
    #[error("MessageExists(\"Deep hash already exists\")")]
    ContentExists,
    /// The assignment could not be signed; the text says why.
    #[error("the assignment cannot be made: {0}")]
    NotSigned(String),
    /// [`MAX_WAITING`] requests wait already.
    #[error("{MAX_WAITING} messages wait for this process already; try again later")]
    Busy,
    /// The store failed; nothing is accepted any more.
    #[error("the scheduler cannot store messages at present")]
    Halted,
}

impl Refusal {
    /// Whether the same request may succeed later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Busy | Self::Halted)
    }
}

/// The fate of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has a position, on disk.
    Scheduled {
        /// Its position.
        nonce: Nonce,
        /// Its assignment.
        assignment: AssignmentId,
    },
    /// It has none.
    Refused(Refusal),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A request arrived.
    Submit(Ticket, Subject),
    /// The store was asked as [`Action::LookUp`] said.
    LookedUp {
        /// What it knew.
        known: Option<Known>,
        /// Wall clock; may jump in any direction.
        now: Timestamp,
        /// L1 height last seen.
        height: BlockHeight,
    },
    /// The assignment of [`Action::Sign`] is signed and has this id.
    Signed(AssignmentId),
    /// It could not be signed.
    NotSigned(String),
    /// Every entry up to this position is on disk.
    Durable(Nonce),
    /// The store failed: what is not durable may never be.
    Failed,
}

/// What the shell must do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Ask the store for the subject's id and content, then feed [`Input::LookedUp`].
    LookUp(Ticket, Subject),
    /// Sign, then feed [`Input::Signed`] or [`Input::NotSigned`].
    Sign(Ticket, Assignment),
    /// Write the signed entry after every earlier one of this process; feed [`Input::Durable`] when it is on disk.
    Store(Ticket, Nonce),
    /// Tell who asked.
    Answer(Ticket, Answer),
}

#[derive(Debug)]
enum Turn {
    Free,
    LookingUp(Ticket, Subject),
    Signing(Ticket, Subject, Assignment),
}

/// An entry that is signed and that a look-up may not find in the store: it is not on disk, or came there while the
/// look-up was under way.
#[derive(Debug)]
struct InFlight {
    nonce: Nonce,
    id: Option<MessageId>,
    content: Option<ContentHash>,
}

/// The state of one process's order.
#[derive(Debug)]
pub struct Sequencer {
    process: ProcessId,
    head: Option<Head>,
    durable: Option<Nonce>,
    turn: Turn,
    waiting: VecDeque<(Ticket, Subject)>,
    in_flight: VecDeque<InFlight>,
    ids: HashMap<MessageId, Nonce>,
    contents: HashMap<ContentHash, Nonce>,
    /// Answers that wait for a position to be durable, in order of position.
    answers: VecDeque<(Nonce, Ticket, Answer)>,
    halted: bool,
}

impl Sequencer {
    /// Continues after the newest stored entry, which must be durable.
    pub fn resume(process: ProcessId, head: Option<Head>) -> Self {
        Self {
            process,
            head,
            durable: head.map(|head| head.nonce),
            turn: Turn::Free,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            ids: HashMap::new(),
            contents: HashMap::new(),
            answers: VecDeque::new(),
            halted: false,
        }
    }

    /// The newest entry known to be on disk: all that readers may see.
    pub fn durable(&self) -> Option<Nonce> {
        self.durable
    }

    /// Whether nothing is under way, so that the state can be dropped and resumed from the store.
    pub fn is_idle(&self) -> bool {
        !self.halted
            && matches!(self.turn, Turn::Free)
            && self.waiting.is_empty()
            && self.in_flight.is_empty()
            && self.answers.is_empty()
    }

    /// Takes one input. At most one of the returned actions is a [`Action::LookUp`] or [`Action::Sign`].
    ///
    /// Inputs that do not fit the state (a signature nobody asked for) do nothing.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.halted {
            if let Input::Submit(ticket, _) = input {
                actions.push(Action::Answer(ticket, Answer::Refused(Refusal::Halted)));
            }
            return actions;
        }
        match input {
            Input::Submit(ticket, _) if self.waiting.len() >= MAX_WAITING => {
                actions.push(Action::Answer(ticket, Answer::Refused(Refusal::Busy)));
            }
            Input::Submit(ticket, subject) => {
                self.waiting.push_back((ticket, subject));
                self.next_turn(&mut actions);
            }
            Input::LookedUp { known, now, height } => self.looked_up(known, now, height, &mut actions),
            Input::Signed(id) => self.signed(id, &mut actions),
            Input::NotSigned(reason) => {
                if let Turn::Signing(ticket, ..) = std::mem::replace(&mut self.turn, Turn::Free) {
                    actions.push(Action::Answer(ticket, Answer::Refused(Refusal::NotSigned(reason))));
                }
                self.next_turn(&mut actions);
            }
            Input::Durable(through) => self.became_durable(through, &mut actions),
            Input::Failed => self.fail(&mut actions),
        }
        actions
    }

    /// Gives turns until one request needs the store, or nobody waits.
    fn next_turn(&mut self, actions: &mut Vec<Action>) {
        while matches!(self.turn, Turn::Free) {
            let Some((ticket, subject)) = self.waiting.pop_front() else { return };
            match (&subject, self.head) {
                (Subject::Process, Some(_)) => self.refuse_duplicate(ticket, Refusal::Exists, actions),
                (Subject::Process, None) | (_, Some(_)) => {
                    actions.push(Action::LookUp(ticket, subject.clone()));
                    self.turn = Turn::LookingUp(ticket, subject);
                }
                (_, None) => actions.push(Action::Answer(ticket, Answer::Refused(Refusal::UnknownProcess))),
            }
        }
    }

    fn looked_up(&mut self, known: Option<Known>, now: Timestamp, height: BlockHeight, actions: &mut Vec<Action>) {
        let (ticket, subject) = match std::mem::replace(&mut self.turn, Turn::Free) {
            Turn::LookingUp(ticket, subject) => (ticket, subject),
            other => {
                self.turn = other;
                return;
            }
        };
        let same_id = subject.unique_id().is_some_and(|id| self.ids.contains_key(&id));
        let same_content = subject.content().is_some_and(|content| {
            self.contents.contains_key(&content.ordered) || self.contents.contains_key(&content.unordered)
        });
        self.forget_durable();
        if same_id || known == Some(Known::Message) {
            self.refuse_duplicate(ticket, Refusal::Exists, actions);
            self.next_turn(actions);
        } else if same_content || known == Some(Known::Content) {
            self.refuse_duplicate(ticket, Refusal::ContentExists, actions);
            self.next_turn(actions);
        } else {
            let assignment = self.position(&subject, now, height);
            actions.push(Action::Sign(ticket, assignment.clone()));
            self.turn = Turn::Signing(ticket, subject, assignment);
        }
    }

    /// The next position (spec 02 §4.2, §4.3).
    fn position(&self, subject: &Subject, now: Timestamp, height: BlockHeight) -> Assignment {
        let (message, exclude) = match subject {
            Subject::Process => (None, Vec::new()),
            Subject::Message { id, .. } => (Some(*id), Vec::new()),
            Subject::Assigned { id, exclude, .. } => (Some(*id), exclude.clone()),
        };
        let (nonce, timestamp, hash_chain) = match self.head {
            None => (Nonce(0), now, HashChain::first(self.process)),
            Some(head) => (
                Nonce(head.nonce.0 + 1),
                now.max(Timestamp(head.timestamp.0 + 1)),
                head.hash_chain.next(head.assignment),
            ),
        };
        Assignment {
            process: self.process,
            epoch: 0,
            nonce,
            hash_chain,
            block_height: height,
            timestamp,
            message,
            exclude,
        }
    }

    fn signed(&mut self, id: AssignmentId, actions: &mut Vec<Action>) {
        let (ticket, subject, assignment) = match std::mem::replace(&mut self.turn, Turn::Free) {
            Turn::Signing(ticket, subject, assignment) => (ticket, subject, assignment),
            other => {
                self.turn = other;
                return;
            }
        };
        let nonce = assignment.nonce;
        self.head =
            Some(Head { nonce, timestamp: assignment.timestamp, assignment: id, hash_chain: assignment.hash_chain });
        let entry = InFlight {
            nonce,
            id: subject.unique_id(),
            content: subject.content().map(|content| content.ordered.clone()),
        };
        if let Some(id) = entry.id {
            self.ids.insert(id, nonce);
        }
        if let Some(content) = &entry.content {
            self.contents.insert(content.clone(), nonce);
        }
        self.in_flight.push_back(entry);
        self.answers.push_back((nonce, ticket, Answer::Scheduled { nonce, assignment: id }));
        actions.push(Action::Store(ticket, nonce));
        self.next_turn(actions);
    }

    /// A duplicate may be of an entry that a crash could still lose; "exists" must not be said before it is durable.
    fn refuse_duplicate(&mut self, ticket: Ticket, refusal: Refusal, actions: &mut Vec<Action>) {
        match self.head {
            Some(head) if self.durable < Some(head.nonce) => {
                self.answers.push_back((head.nonce, ticket, Answer::Refused(refusal)));
            }
            _ => actions.push(Action::Answer(ticket, Answer::Refused(refusal))),
        }
    }

    fn became_durable(&mut self, through: Nonce, actions: &mut Vec<Action>) {
        self.durable = self.durable.max(Some(through));
        // A look-up under way may have asked the store before these entries were in it.
        if !matches!(self.turn, Turn::LookingUp(..)) {
            self.forget_durable();
        }
        while let Some((_, ticket, answer)) = self.answers.pop_front_if(|(nonce, ..)| *nonce <= through) {
            actions.push(Action::Answer(ticket, answer));
        }
    }

    /// Forgets what any look-up from now on finds in the store.
    fn forget_durable(&mut self) {
        let durable = self.durable;
        while let Some(entry) = self.in_flight.pop_front_if(|entry| Some(entry.nonce) <= durable) {
            if let Some(id) = entry.id {
                self.ids.remove(&id);
            }
            if let Some(content) = entry.content {
                self.contents.remove(&content);
            }
        }
    }

    fn fail(&mut self, actions: &mut Vec<Action>) {
        self.halted = true;
        let turn = match std::mem::replace(&mut self.turn, Turn::Free) {
            Turn::Free => None,
            Turn::LookingUp(ticket, _) | Turn::Signing(ticket, ..) => Some(ticket),
        };
        let answers = self.answers.drain(..).map(|(_, ticket, _)| ticket);
        let waiting = self.waiting.drain(..).map(|(ticket, _)| ticket);
        for ticket in answers.chain(turn).chain(waiting) {
            actions.push(Action::Answer(ticket, Answer::Refused(Refusal::Halted)));
        }
    }
}

#[cfg(test)]
#[path = "sequencer_tests.rs"]
mod tests;

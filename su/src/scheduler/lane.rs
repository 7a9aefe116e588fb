//! One process's lane: its sequencer, and the requests it knows by ticket.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holon_protocol::assignment::Assignment;
use holon_protocol::{DataItem, MessageId, Nonce, ProcessId};
use tokio::sync::oneshot;

use super::writer::Entry;
use super::{Request, Shared, lock};
use crate::assignment::sign;
use crate::log::{EntryKind, Record, StoreError};
use crate::metrics::Function;
use crate::sequencer::{Action, Answer, Head, Input, Known, Sequencer, Subject, Ticket};

/// How long a lane keeps a pool thread before it lets others go first.
pub(super) const QUANTUM: Duration = Duration::from_millis(8);

pub(super) struct Lane {
    process: ProcessId,
    /// Newest durable nonce plus one; 0 when there is none.
    durable: AtomicU64,
    state: Mutex<State>,
}

struct State {
    sequencer: Sequencer,
    pending: HashMap<Ticket, Pending>,
    next_ticket: u64,
    /// What was signed last, until the sequencer says to store it.
    signed: Option<Signed>,
}

struct Signed {
    assignment: Assignment,
    item: DataItem,
}

struct Pending {
    request: Request,
    submitted: Instant,
    turn: Option<Instant>,
    answer: oneshot::Sender<Answer>,
}

impl Lane {
    pub(super) fn new(process: ProcessId, head: Option<Head>) -> Self {
        Self {
            process,
            durable: AtomicU64::new(head.map_or(0, |head| head.nonce.0 + 1)),
            state: Mutex::new(State {
                sequencer: Sequencer::resume(process, head),
                pending: HashMap::new(),
                next_ticket: 0,
                signed: None,
            }),
        }
    }

    pub(super) fn durable(&self) -> Option<Nonce> {
        self.durable.load(Ordering::Acquire).checked_sub(1).map(Nonce)
    }

    pub(super) fn is_idle(&self) -> bool {
        lock(&self.state).sequencer.is_idle()
    }

    pub(super) fn submit(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        request: Request,
        submitted: Instant,
    ) -> oneshot::Receiver<Answer> {
        let (answer, receiver) = oneshot::channel();
        let mut state = lock(&self.state);
        let ticket = Ticket(state.next_ticket);
        state.next_ticket += 1;
        let subject = request.subject.clone();
        state.pending.insert(ticket, Pending { request, submitted, turn: None, answer });
        let work = self.step(&mut state, shared, Input::Submit(ticket, subject));
        drop(state);
        // Here and now: the caller is on the pool, and whoever posted waits for this most likely.
        if let Some(work) = work {
            self.work(shared, work);
        }
        receiver
    }

    /// Every entry up to `through` is on disk. Readers see them before whoever posted them hears of it.
    pub(super) fn became_durable(self: &Arc<Self>, shared: &Arc<Shared>, through: Nonce) {
        self.durable.fetch_max(through.0 + 1, Ordering::AcqRel);
        let mut state = lock(&self.state);
        // Durability gives no one a turn.
        self.step(&mut state, shared, Input::Durable(through));
    }

    pub(super) fn fail(&self) {
        let mut state = lock(&self.state);
        for action in state.sequencer.step(Input::Failed) {
            if let Action::Answer(ticket, answer) = action {
                state.answer(ticket, answer);
            }
        }
    }

    /// Feeds one input and carries out what does not take time, under the lock so that entries reach the writer in
    /// order. Returns the look-up or signature that comes next.
    fn step(self: &Arc<Self>, state: &mut State, shared: &Arc<Shared>, input: Input) -> Option<Action> {
        let mut work = None;
        for action in state.sequencer.step(input) {
            match action {
                Action::LookUp(..) | Action::Sign(..) => work = Some(action),
                Action::Answer(ticket, answer) => {
                    if let Some(pending) = state.pending.get(&ticket)
                        && let (Some(turn), Answer::Scheduled { .. }) = (pending.turn, &answer)
                    {
                        let function = match pending.request.subject {
                            Subject::Assigned { .. } => Function::WriteAssignment,
                            Subject::Process | Subject::Message { .. } => Function::WriteItem,
                        };
                        shared.metrics.observe(function, turn.elapsed());
                    }
                    state.answer(ticket, answer);
                }
                Action::Store(ticket, nonce) => {
                    if let (Some(signed), Some(pending)) = (state.signed.take(), state.pending.get_mut(&ticket)) {
                        shared.writer.entry(self.entry(signed, pending, nonce));
                    }
                }
            }
        }
        work
    }

    fn entry(self: &Arc<Self>, signed: Signed, pending: &mut Pending, nonce: Nonce) -> Entry {
        let Signed { item, assignment } = signed;
        let (kind, message) = match &pending.request.subject {
            Subject::Process => (EntryKind::Process, MessageId::from(self.process)),
            Subject::Message { id, .. } => (EntryKind::Message, *id),
            Subject::Assigned { id, .. } => (EntryKind::Assigned, *id),
        };
        let content = pending.request.subject.content().map(|content| content.ordered.clone());
        Entry {
            lane: self.clone(),
            process: self.process,
            record: Record {
                nonce,
                kind,
                timestamp: assignment.timestamp,
                block_height: assignment.block_height,
                assignment: item.id().into(),
                message,
                hash_chain: assignment.hash_chain,
                assignment_bytes: item.raw().clone(),
            },
            item: pending.request.item.take(),
            content,
            memory: pending.request.memory.take(),
        }
    }
}

impl State {
    fn answer(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(pending) = self.pending.remove(&ticket) {
            // Whoever asked may have gone; the entry stays.
            let _ = pending.answer.send(answer);
        }
    }
}

/// Work of a lane on a pool thread. There is at most one for each lane: the sequencer hands out one piece at a time.
impl Lane {
    fn spawn(self: &Arc<Self>, shared: &Arc<Shared>, work: Action) {
        let (lane, shared) = (self.clone(), shared.clone());
        shared.pool.clone().spawn(move || lane.work(&shared, work));
    }

    fn work(self: &Arc<Self>, shared: &Arc<Shared>, work: Action) {
        if let Err(error) = self.run(shared, work) {
            shared.halt(&error);
        }
    }

    fn run(self: &Arc<Self>, shared: &Arc<Shared>, mut work: Action) -> Result<(), StoreError> {
        let started = Instant::now();
        loop {
            let (input, signed) = match &work {
                Action::LookUp(ticket, subject) => {
                    self.begin_turn(shared, *ticket);
                    let known = self.look_up(shared, subject)?;
                    let height = holon_protocol::BlockHeight(shared.height.load(Ordering::Relaxed));
                    (Input::LookedUp { known, now: shared.clock.now(), height }, None)
                }
                Action::Sign(_, assignment) => match sign(assignment, &shared.wallet) {
                    Ok(item) => {
                        let signed = Signed { assignment: assignment.clone(), item };
                        (Input::Signed(signed.item.id().into()), Some(signed))
                    }
                    Err(error) => (Input::NotSigned(error.to_string()), None),
                },
                Action::Store(..) | Action::Answer(..) => return Ok(()),
            };
            let mut state = lock(&self.state);
            state.signed = signed;
            let next = self.step(&mut state, shared, input);
            drop(state);
            match next {
                None => return Ok(()),
                Some(next) if started.elapsed() >= QUANTUM => {
                    self.spawn(shared, next);
                    return Ok(());
                }
                Some(next) => work = next,
            }
        }
    }

    fn begin_turn(&self, shared: &Shared, ticket: Ticket) {
        if let Some(pending) = lock(&self.state).pending.get_mut(&ticket) {
            pending.turn = Some(Instant::now());
            shared.metrics.observe(Function::AcquireWriteLock, pending.submitted.elapsed());
        }
    }

    fn look_up(&self, shared: &Shared, subject: &Subject) -> Result<Option<Known>, StoreError> {
        let store = &shared.store;
        if let Some(id) = subject.unique_id()
            && store.find(self.process, id.into())?.is_some()
        {
            return Ok(Some(Known::Message));
        }
        if let Some(content) = subject.content()
            && (store.has_content(self.process, &content.ordered)?
                || store.has_content(self.process, &content.unordered)?)
        {
            return Ok(Some(Known::Content));
        }
        Ok(None)
    }
}

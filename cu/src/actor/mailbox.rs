//! Requests that wait for a process, and how they are answered.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Actor, State, lock};
use crate::error::Error;
use crate::log::{Goal, Logged};
use crate::runner::Runner;

/// Most requests that wait for one process.
pub(super) const MAILBOX_LIMIT: usize = 10_000;

/// Who waits for what.
pub(super) enum Reply {
    Evaluated(oneshot::Sender<Result<(), Error>>),
    State(oneshot::Sender<Result<Arc<State>, Error>>),
    /// The state if the process is past it, nothing if its memory stands there.
    Past(oneshot::Sender<Result<Option<Arc<State>>, Error>>),
}

impl Reply {
    /// Whether nobody waits any more.
    pub fn is_closed(&self) -> bool {
        match self {
            Self::Evaluated(reply) => reply.is_closed(),
            Self::State(reply) => reply.is_closed(),
            Self::Past(reply) => reply.is_closed(),
        }
    }

    /// Answers that it failed.
    pub fn fail(self, error: Error) {
        // Whoever asked may have gone away.
        match self {
            Self::Evaluated(reply) => drop(reply.send(Err(error))),
            Self::State(reply) => drop(reply.send(Err(error))),
            Self::Past(reply) => drop(reply.send(Err(error))),
        }
    }

    /// Answers with what a replay found.
    pub fn found(self, state: Result<Arc<State>, Error>) {
        match self {
            Self::Evaluated(reply) => drop(reply.send(state.map(drop))),
            Self::State(reply) => drop(reply.send(state)),
            Self::Past(reply) => drop(reply.send(state.map(Some))),
        }
    }
}

/// Somebody wants a process to be somewhere.
pub(super) struct Request {
    pub goal: Goal,
    /// The log entry there, if the caller has it.
    pub entry: Option<Box<Logged>>,
    pub reply: Reply,
}

/// What waits for a process.
#[derive(Default)]
pub(super) struct Mailbox {
    pub waiting: Vec<Request>,
    /// Whether its loop runs.
    pub running: bool,
}

/// Lets a mailbox be served again, and fails what still waits, however its loop ends.
pub(super) struct Serving<'a>(pub &'a Actor);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let mut mailbox = lock(&self.0.mailbox);
        mailbox.running = false;
        for request in mailbox.waiting.drain(..) {
            request.reply.fail(Error::Stopping);
        }
    }
}

/// Answers all that it failed.
pub(super) fn fail(requests: Vec<Request>, error: &Error) {
    for request in requests {
        request.reply.fail(error.clone());
    }
}

/// Answers those who only want evaluation to a point that has been passed.
pub(super) fn answer_passed(requests: &mut Vec<Request>, runner: &Runner) {
    let Some(link) = runner.stream.link() else { return };
    let passed = |request: &mut Request| matches!(request.reply, Reply::Evaluated(_)) && request.goal.reached(link);
    for request in requests.extract_if(.., passed) {
        if let Reply::Evaluated(reply) = request.reply {
            // Whoever asked may have gone away.
            let _ = reply.send(Ok(()));
        }
    }
}

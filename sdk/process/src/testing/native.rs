//! One process under test.

use super::{Answer, resident::Resident};
use crate::{Environment, Message, Process, Tag};

/// A process under test. Its owner is `owner`, its id `process`, its authority `authority`.
#[derive(Debug)]
pub struct Native<P> {
    resident: Resident<P>,
    nonce: u64,
}

impl<P: Process> Default for Native<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Process> Native<P> {
    /// A process that has just been created, with no parameters.
    pub fn new() -> Self {
        Self::with(Vec::new(), "").0
    }

    /// A process created with these tags and data, and what its boot led to.
    pub fn with(tags: Vec<Tag<'static>>, data: &str) -> (Self, Answer) {
        let mut environment = Environment::default();
        environment.process.id = "process".to_owned();
        environment.process.owner = "owner".to_owned();
        environment.process.tags = vec![Tag::new("Type", "Process"), Tag::new("Authority", "authority")];
        environment.process.tags.extend(tags);
        environment.module.id = "module".to_owned();
        let boot = Message {
            id: Some("process".into()),
            data: Some(data.to_owned().into()),
            owner: "owner".into(),
            from: "owner".into(),
            target: "process".into(),
            tags: environment.process.tags.clone(),
            ..Message::default()
        };
        let mut native = Self { resident: Resident::new(environment), nonce: 0 };
        let answer = native.apply(boot);
        (native, answer)
    }

    /// Sends a message from the owner.
    pub fn send(&mut self, action: &str, data: &str) -> Answer {
        self.send_from("owner", action, data)
    }

    /// Sends a message that this sender signed itself.
    pub fn send_from(&mut self, from: &str, action: &str, data: &str) -> Answer {
        let message = self.message(from, action, data);
        self.apply(message)
    }

    /// A message from this sender at the next position, to be changed and [applied](Self::apply).
    pub fn message(&self, from: &str, action: &str, data: &str) -> Message<'static> {
        Message {
            id: Some(format!("message-{}", self.nonce).into()),
            data: Some(data.to_owned().into()),
            owner: from.to_owned().into(),
            from: from.to_owned().into(),
            target: self.resident.environment.process.id.clone().into(),
            tags: vec![
                Tag::new("Action", action.to_owned()),
                Tag::new("Data-Protocol", "ao"),
                Tag::new("Type", "Message"),
            ],
            epoch: Some(0),
            nonce: Some(self.nonce),
            timestamp: Some(1_700_000_000_000 + self.nonce),
            block_height: Some(1_500_000),
            ..Message::default()
        }
    }

    /// Applies a message; after an error, and after a message marked `read_only`, the state is what it was before.
    pub fn apply(&mut self, message: Message<'_>) -> Answer {
        self.nonce += 1;
        self.resident.apply(&message)
    }

    /// The state, once the process has begun.
    pub fn state(&self) -> Option<&P> {
        self.resident.state()
    }
}

//! A process run natively: the whole path from JSON text to JSON text, without a Wasm toolchain.
//!
//! The host of a compiled process puts memory back after an error. [`Native`] does the same by replaying the messages that
//! succeeded, which also shows that a process depends on nothing but its log.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    Assign, Environment, Message, Process, Tag,
    outbox::{Sent, Spawned},
    runtime::Runtime,
};

/// What one message led to.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Answer {
    /// Messages sent.
    pub messages: Vec<Sent>,
    /// Processes asked for.
    pub spawns: Vec<Spawned>,
    /// Assignments asked for.
    pub assignments: Vec<Assign>,
    /// Output, `""` when there was none.
    pub output: Value,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// A process under test. Its owner is `owner`, its id `process`, its authority `authority`.
#[derive(Debug)]
pub struct Native<P> {
    runtime: Runtime<P>,
    environment: Environment,
    /// Messages that succeeded, as texts.
    log: Vec<String>,
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
    pub fn with(tags: Vec<Tag>, data: &str) -> (Self, Answer) {
        let mut environment = Environment::default();
        environment.process.id = "process".to_owned();
        environment.process.owner = "owner".to_owned();
        environment.process.tags = vec![Tag::new("Type", "Process"), Tag::new("Authority", "authority")];
        environment.process.tags.extend(tags);
        environment.module.id = "module".to_owned();
        let boot = Message {
            id: Some("process".to_owned()),
            data: Some(data.to_owned()),
            owner: "owner".to_owned(),
            from: "owner".to_owned(),
            target: "process".to_owned(),
            tags: environment.process.tags.clone(),
            ..Message::default()
        };
        let mut native = Self { runtime: Runtime::default(), environment, log: Vec::new(), nonce: 0 };
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
    pub fn message(&self, from: &str, action: &str, data: &str) -> Message {
        Message {
            id: Some(format!("message-{}", self.nonce)),
            data: Some(data.to_owned()),
            owner: from.to_owned(),
            from: from.to_owned(),
            target: self.environment.process.id.clone(),
            tags: vec![Tag::new("Action", action), Tag::new("Data-Protocol", "ao"), Tag::new("Type", "Message")],
            epoch: Some(0),
            nonce: Some(self.nonce),
            timestamp: Some(1_700_000_000_000 + self.nonce),
            block_height: Some(1_500_000),
            ..Message::default()
        }
    }

    /// Applies a message; after an error, and after a message marked `read_only`, the state is what it was before.
    pub fn apply(&mut self, message: Message) -> Answer {
        let text = serde_json::to_string(&message).unwrap_or_default();
        let answer = self.handle(&text);
        self.nonce += 1;
        if answer.error.is_none() && !message.read_only {
            self.log.push(text);
        } else {
            self.replay();
        }
        answer
    }

    /// The state, once the process has begun.
    pub fn state(&self) -> Option<&P> {
        self.runtime.state()
    }

    fn replay(&mut self) {
        self.runtime = Runtime::default();
        for text in std::mem::take(&mut self.log) {
            self.handle(&text);
            self.log.push(text);
        }
    }

    fn handle(&mut self, message: &str) -> Answer {
        let environment = serde_json::to_string(&self.environment).unwrap_or_default();
        let mut answer: Value = serde_json::from_str(&self.runtime.handle(message, &environment)).unwrap_or_default();
        let response = answer["response"].take();
        if answer["ok"] == Value::Bool(true) {
            serde_json::from_value(response).unwrap_or_default()
        } else {
            Answer { error: Some(response.as_str().unwrap_or("no answer").to_owned()), ..Answer::default() }
        }
    }
}

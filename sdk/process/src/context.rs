//! What a handler sees of the message it answers, and where it puts what it says.

use serde_json::Value;

use crate::{
    Assign, Environment, Error, Message, Outgoing, Spawn,
    outbox::{Outbox, Sent},
};

/// One message being handled.
#[derive(Debug)]
pub struct Context<'a> {
    message: &'a Message,
    environment: &'a Environment,
    reference: &'a mut u64,
    outbox: Outbox,
    output: Option<Value>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(message: &'a Message, environment: &'a Environment, reference: &'a mut u64) -> Self {
        Self { message, environment, reference, outbox: Outbox::default(), output: None }
    }

    /// The message.
    pub fn message(&self) -> &'a Message {
        self.message
    }

    /// The process and its module.
    pub fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// This process's id.
    pub fn process_id(&self) -> &'a str {
        &self.environment.process.id
    }

    /// Whether the message comes from the wallet or process that created this process.
    pub fn is_from_owner(&self) -> bool {
        let process = &self.environment.process;
        self.message.from == process.tag("From-Process").unwrap_or(&process.owner)
    }

    /// Sends a message and returns its reference. The answer to it carries the reference as `X-Reference`.
    ///
    /// # Errors
    /// The message has no receiver, its tags are too large, or the outbox is full.
    pub fn send(&mut self, message: Outgoing) -> Result<u64, Error> {
        let reference = self.reference.saturating_add(1);
        self.outbox.send(message, reference)?;
        *self.reference = reference;
        Ok(reference)
    }

    /// Sends a message to whom this one is from, with its `Reference` as `X-Reference` so that the sender can match it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reply(&mut self, message: Outgoing) -> Result<u64, Error> {
        let mut message = message.to(self.message.from.as_str());
        if let Some(reference) = self.message.tag("Reference") {
            message = message.tag("X-Reference", reference);
        }
        self.send(message)
    }

    /// Creates a process and returns the reference under which the network will report its id (`Action: Spawned`).
    ///
    /// # Errors
    /// The module is missing, the tags are too large, or the outbox is full.
    pub fn spawn(&mut self, spawn: Spawn) -> Result<u64, Error> {
        let reference = self.reference.saturating_add(1);
        self.outbox.spawn(spawn, &self.environment.process, &self.environment.module, reference)?;
        *self.reference = reference;
        Ok(reference)
    }

    /// Puts an existing item into the logs of processes.
    ///
    /// # Errors
    /// The item or the processes are missing, or the outbox is full.
    pub fn assign(&mut self, assign: Assign) -> Result<(), Error> {
        self.outbox.assign(assign)
    }

    /// Sets the result's `Output`, which callers of results and dry runs see. The last one wins.
    pub fn output(&mut self, output: impl Into<Value>) {
        self.output = Some(output.into());
    }

    /// What has been sent so far.
    pub fn sent(&self) -> &[Sent] {
        &self.outbox.messages
    }

    pub(crate) fn finish(self) -> (Outbox, Option<Value>) {
        (self.outbox, self.output)
    }
}

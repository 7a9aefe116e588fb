//! What a process said to a message, as tests look at it.

use holon_client::{Outgoing, console, outgoing};
use holon_protocol::result::EvaluationResult;

use crate::error::Error;

/// The answer of a process to one message or dry run.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What a console would print.
    pub output: String,
    /// The error that the process reported. Then its state is what it was before the message, and nothing was sent.
    pub error: Option<String>,
    /// What it sends, in order.
    pub messages: Vec<Outgoing>,
    /// What it spawns, in order.
    pub spawns: Vec<Outgoing>,
    /// All of it, as the compute unit told it.
    pub result: EvaluationResult,
}

impl Answer {
    /// The same, unless the process reported an error.
    ///
    /// # Errors
    /// [`Error::Process`] with the text of the process.
    pub fn ok(self) -> Result<Self, Error> {
        match self.error {
            Some(error) => Err(Error::Process(error)),
            None => Ok(self),
        }
    }

    /// The first message it sends whose `Action` is this.
    pub fn message(&self, action: &str) -> Option<&Outgoing> {
        self.messages.iter().find(|message| message.tags.get("Action") == Some(action))
    }
}

impl From<EvaluationResult> for Answer {
    fn from(result: EvaluationResult) -> Self {
        Self {
            output: console::output(&result),
            error: console::error(&result),
            messages: outgoing(&result),
            spawns: result.spawns.iter().map(Outgoing::read).collect(),
            result,
        }
    }
}

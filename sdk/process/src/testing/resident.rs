//! A process with its log, which an error leaves as it was.

use super::Answer;
use crate::{Environment, Message, Process, runtime::Runtime};

/// A process, its environment and the messages that succeeded.
#[derive(Debug)]
pub(super) struct Resident<P> {
    runtime: Runtime<P>,
    pub environment: Environment,
    log: Vec<String>,
}

impl<P: Process> Resident<P> {
    pub fn new(environment: Environment) -> Self {
        Self { runtime: Runtime::default(), environment, log: Vec::new() }
    }

    /// Applies a message; after an error, and after a message marked `read_only`, the state is what it was before.
    pub fn apply(&mut self, message: &Message<'_>) -> Answer {
        let text = serde_json::to_string(message).unwrap_or_default();
        let answer = self.handle(&text);
        if answer.error.is_none() && !message.read_only {
            self.log.push(text);
        } else {
            self.runtime = Runtime::default();
            for text in std::mem::take(&mut self.log) {
                self.handle(&text);
                self.log.push(text);
            }
        }
        answer
    }

    pub fn state(&self) -> Option<&P> {
        self.runtime.state()
    }

    fn handle(&mut self, message: &str) -> Answer {
        let environment = serde_json::to_string(&self.environment).unwrap_or_default();
        let mut answer = String::new();
        self.runtime.handle(message.as_bytes(), environment.as_bytes(), &mut answer);
        Answer::read(&answer)
    }
}

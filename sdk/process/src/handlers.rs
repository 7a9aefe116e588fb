//! What a process is, and which function answers which action.

use std::collections::BTreeMap;

use crate::{Context, Error};

/// A function that answers a message.
pub type Handler<P> = fn(&mut P, &mut Context<'_>) -> Result<(), Error>;

/// A process: the value that lives in memory, how it begins, and what it answers.
pub trait Process: Sized + 'static {
    /// The state a new process begins with. Runs once, with the item that created the process; its tags and data are the
    /// place for parameters. An error leaves the process without state, and the next message tries again.
    ///
    /// # Errors
    /// When the process cannot begin with these parameters.
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error>;

    /// Registers the handlers. Runs once after [`boot`](Self::boot).
    fn handlers(handlers: &mut Handlers<Self>);

    /// Whether a message is handled at all. By default those whose sender can be believed: signed by it, or pushed by one
    /// of the process's authorities.
    ///
    /// # Errors
    /// When the message is refused.
    fn admit(&self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let message = ctx.message();
        if ctx.environment().trusts(message) {
            Ok(())
        } else {
            Err(Error::new(format!(
                "message is not trusted: it claims to be from {} but was signed by {}, which is no authority of this process",
                message.from, message.owner
            )))
        }
    }

    /// Answers a message whose action has no handler. By default an error that lists the actions there are.
    ///
    /// # Errors
    /// When the message is refused.
    fn unhandled(&mut self, known: &[&str], ctx: &mut Context<'_>) -> Result<(), Error> {
        let known = known.join(", ");
        Err(Error::new(match ctx.message().action() {
            Some(action) => format!("no handler for the action \"{action}\"; this process answers {known}"),
            None => format!("the message has no Action tag; this process answers {known}"),
        }))
    }
}

/// The handlers of a process, by action.
#[derive(Debug)]
pub struct Handlers<P> {
    by_action: BTreeMap<&'static str, Handler<P>>,
}

impl<P> Default for Handlers<P> {
    fn default() -> Self {
        Self { by_action: BTreeMap::new() }
    }
}

impl<P> Handlers<P> {
    /// Answers messages with this `Action` (exact, case-sensitive) by this function, in place of an earlier one.
    pub fn on(&mut self, action: &'static str, handler: Handler<P>) -> &mut Self {
        self.by_action.insert(action, handler);
        self
    }

    pub(crate) fn get(&self, action: &str) -> Option<Handler<P>> {
        self.by_action.get(action).copied()
    }

    pub(crate) fn actions(&self) -> Vec<&str> {
        self.by_action.keys().copied().collect()
    }
}

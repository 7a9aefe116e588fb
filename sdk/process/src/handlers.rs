//! What a process is, and which function answers which action.

use serde::de::DeserializeOwned;

use crate::{Context, Error, bail, typed};

/// A function that answers a message.
type Handler<P> = Box<dyn Fn(&mut P, &mut Context<'_>) -> Result<(), Error>>;

/// A process: the value that lives in memory, how it begins, and what it answers.
pub trait Process: Sized + 'static {
    /// The state a new process begins with. Runs once, with the item that created the process; its tags
    /// ([`Context::process`]) and data are the place for parameters. An error leaves the process without state, and the next
    /// message tries again.
    ///
    /// # Errors
    /// When the process cannot begin with these parameters.
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error>;

    /// Registers the handlers. Runs once after [`boot`](Self::boot).
    fn handlers(handlers: &mut Handlers<Self>);

    /// Whether a message is handled at all. By default those that were sent to this process, by somebody who can be believed:
    /// who signed it, or a process that one of this process's authorities pushed it for. An item that was for somebody else and
    /// only assigned to this process is refused.
    ///
    /// # Errors
    /// When the message is refused.
    fn admit(&self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let message = ctx.message();
        if !ctx.caller().is_verified() {
            bail!(
                "message is not trusted: it claims to be from {} but was signed by {}, which is no authority of this process",
                message.from,
                message.owner
            );
        }
        if ctx.is_assigned() {
            bail!(
                "assignment is not taken: the item was for {}, and this process answers only its own",
                message.target
            );
        }
        Ok(())
    }

    /// Answers a message whose action has no handler. By default an error that lists the actions there are.
    ///
    /// # Errors
    /// When the message is refused.
    fn unhandled(&mut self, known: &[&str], ctx: &mut Context<'_>) -> Result<(), Error> {
        let mut list = String::new();
        for (index, action) in known.iter().enumerate() {
            list.push_str(if index > 0 { ", " } else { "" });
            list.push_str(action);
        }
        match ctx.message().action() {
            Some(action) => bail!("no handler for the action \"{action}\"; this process answers {list}"),
            None => bail!("the message has no Action tag; this process answers {list}"),
        }
    }
}

/// The handlers of a process, by action.
pub struct Handlers<P> {
    entries: Vec<Entry<P>>,
}

struct Entry<P> {
    action: &'static str,
    /// Whether it answers only the process's own schedule.
    scheduled: bool,
    handler: Handler<P>,
}

impl<P> Default for Handlers<P> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<P> std::fmt::Debug for Handlers<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| entry.action)).finish()
    }
}

impl<P: 'static> Handlers<P> {
    /// Answers messages with this `Action` (exact, case-sensitive) by this function, in place of an earlier one.
    pub fn on(
        &mut self,
        action: &'static str,
        handler: impl Fn(&mut P, &mut Context<'_>) -> Result<(), Error> + 'static,
    ) -> &mut Self {
        self.insert(Entry { action, scheduled: false, handler: Box::new(handler) })
    }

    /// The same with the message's tags and data read into a type of yours; see [`Message::read`](crate::Message::read). A
    /// message that does not fit is refused with the name of the tag.
    pub fn on_typed<M: DeserializeOwned + 'static>(
        &mut self,
        action: &'static str,
        handler: impl Fn(&mut P, &mut Context<'_>, M) -> Result<(), Error> + 'static,
    ) -> &mut Self {
        self.on(action, move |process, ctx| {
            let message = ctx.message();
            handler(process, ctx, typed::read(&message.tags, message.data.as_deref())?)
        })
    }

    /// The same with the message's data, which is JSON, read into a type of yours.
    pub fn on_json<M: DeserializeOwned + 'static>(
        &mut self,
        action: &'static str,
        handler: impl Fn(&mut P, &mut Context<'_>, M) -> Result<(), Error> + 'static,
    ) -> &mut Self {
        self.on(action, move |process, ctx| handler(process, ctx, ctx.message().json()?))
    }

    /// Answers this `Action` only when the process's own schedule says it (`Cron-Tag-Action` of a `Cron-Interval`).
    pub fn on_cron(
        &mut self,
        action: &'static str,
        handler: impl Fn(&mut P, &mut Context<'_>) -> Result<(), Error> + 'static,
    ) -> &mut Self {
        self.insert(Entry { action, scheduled: true, handler: Box::new(handler) })
    }

    fn insert(&mut self, entry: Entry<P>) -> &mut Self {
        // Kept in order: a few handlers need no library's sorting.
        let place = self.entries.iter().position(|later| later.action >= entry.action).unwrap_or(self.entries.len());
        match self.entries.get_mut(place) {
            Some(earlier) if earlier.action == entry.action => *earlier = entry,
            _ => self.entries.insert(place, entry),
        }
        self
    }
}

impl<P: Process> Handlers<P> {
    /// Answers the message.
    pub(crate) fn answer(&self, process: &mut P, ctx: &mut Context<'_>) -> Result<(), Error> {
        let action = ctx.message().action();
        match self.entries.iter().find(|entry| Some(entry.action) == action) {
            Some(entry) if entry.scheduled && !ctx.message().cron => {
                bail!("the action \"{}\" is for the schedule of this process only", entry.action)
            }
            Some(entry) => (entry.handler)(process, ctx),
            None => {
                let known: Vec<&str> = self.entries.iter().map(|entry| entry.action).collect();
                process.unhandled(&known, ctx)
            }
        }
    }
}

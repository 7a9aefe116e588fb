//! What a handler sees of the message it answers, and where it puts what it says.

use serde::Serialize;

use crate::{
    Assign, Caller, Environment, Error, Message, Outgoing, Random, Spawn, bail, message::Described, outbox::Outbox,
};

/// Most bytes of log lines one message may leave.
pub const LOG_BYTES_LIMIT: usize = 64 << 10;

/// Most characters of an error in the tag of a refusal; the data has all of it.
const SHOWN_ERROR_CHARS: usize = 500;

/// One message being handled.
#[derive(Debug)]
pub struct Context<'a> {
    message: &'a Message<'a>,
    environment: &'a Environment,
    reference: &'a mut u64,
    outbox: &'a mut Outbox,
    random: Option<Random>,
    said: Said,
}

/// What a message leaves beside its outbox.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The output as JSON.
    pub output: Option<Result<String, Error>>,
    /// Lines of the log, each with its end.
    pub log: String,
}

impl<'a> Context<'a> {
    pub(crate) fn new(
        message: &'a Message<'a>,
        environment: &'a Environment,
        reference: &'a mut u64,
        outbox: &'a mut Outbox,
    ) -> Self {
        Self { message, environment, reference, outbox, random: None, said: Said::default() }
    }

    /// The message.
    pub fn message(&self) -> &'a Message<'a> {
        self.message
    }

    /// The process and its module.
    pub fn environment(&self) -> &'a Environment {
        self.environment
    }

    /// This process: its id, and the tags it was created with.
    pub fn process(&self) -> &'a Described {
        &self.environment.process
    }

    /// This process's id.
    pub fn process_id(&self) -> &'a str {
        &self.environment.process.id
    }

    /// Who the message is from, and how that is known.
    pub fn caller(&self) -> Caller<'a> {
        Caller::of(self.message, self.environment)
    }

    /// Who the message is from: the wallet that signed it, or the process it was pushed for. Handlers are only called when
    /// that is [verified](Self::caller), unless [`Process::admit`](crate::Process::admit) says otherwise.
    pub fn from(&self) -> &'a str {
        &self.message.from
    }

    /// Milliseconds since 1970 when the message was scheduled; 0 where the host gives no time.
    pub fn now(&self) -> u64 {
        self.message.timestamp.unwrap_or_default()
    }

    /// Whether the message comes from the wallet or process that created this process, or from the schedule it was created
    /// with.
    pub fn is_from_owner(&self) -> bool {
        match self.caller() {
            Caller::Schedule => true,
            caller => caller.address() == Some(self.environment.owner()),
        }
    }

    /// Goes on only if the message [is from the owner](Self::is_from_owner).
    ///
    /// # Errors
    /// When it is not.
    pub fn require_owner(&self) -> Result<(), Error> {
        if !self.is_from_owner() {
            let (owner, from) = (self.environment.owner(), self.from());
            bail!("only the owner of this process, {owner}, may do that, not {from}");
        }
        Ok(())
    }

    /// Whether the item was for somebody else and only assigned to this process.
    pub fn is_assigned(&self) -> bool {
        self.message.target != self.environment.process.id
    }

    /// Whether nothing will be kept: a dry run, whose sender nobody verified.
    pub fn is_dry_run(&self) -> bool {
        self.message.read_only
    }

    /// Sends a message and returns its reference. The answer to it carries the reference as `X-Reference`
    /// ([`Message::answers`]).
    ///
    /// # Errors
    /// The message has no receiver, its tags are too large, or the outbox is full.
    pub fn send(&mut self, message: Outgoing<'_>) -> Result<u64, Error> {
        let reference = self.reference.saturating_add(1);
        self.outbox.send(&message, reference)?;
        *self.reference = reference;
        Ok(reference)
    }

    /// Answers this message as `aos` does: to whom its tag `Reply-To` names, else to whom it is from, with its `X-Reference`
    /// or else its `Reference` as `X-Reference`, so that who waits for the answer can match it, and its `X-Origin`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn reply(&mut self, message: Outgoing<'_>) -> Result<u64, Error> {
        let asked = self.message;
        let reference = asked.tag("X-Reference").or_else(|| asked.tag("Reference"));
        let message = message
            .to(asked.tag("Reply-To").unwrap_or(&asked.from))
            .first("X-Reference", reference)
            .first("X-Origin", asked.tag("X-Origin"));
        self.send(message)
    }

    /// Tells the sender that its message is refused, as token processes do: a reply with the action `<Action>-Error`, the message's id
    /// and the error's text, in place of anything this message has sent so far. The result itself is no error, so what a
    /// process that waits for an answer learns does not depend on anybody looking at results; and the state is not put back: refuse
    /// before changing it.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn refuse(&mut self, error: &Error) -> Result<(), Error> {
        self.outbox.clear();
        let asked = self.message;
        let mut answer = Outgoing::new().action([asked.action().unwrap_or_default(), "-Error"].concat());
        if let Some(id) = &asked.id {
            answer = answer.tag("Message-Id", &**id);
        }
        // An error may quote what it was given; the tags of an item are bounded.
        let text = error.text();
        let shown = text.char_indices().nth(SHOWN_ERROR_CHARS).map_or(text, |(end, _)| text.get(..end).unwrap_or(text));
        self.reply(answer.tag("Error", shown).data(text))?;
        self.output(text);
        Ok(())
    }

    /// Passes this message on as `aos` does: with its action, data and `X-` tags unless `message` has its own, and so that the
    /// answer goes to whom this message is from.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn forward(&mut self, target: &str, message: Outgoing<'_>) -> Result<u64, Error> {
        let asked = self.message;
        let reference = asked.tag("X-Reference").or_else(|| asked.tag("Reference"));
        let origin = asked.tag("X-Origin").unwrap_or(&asked.from);
        let message = message
            .or_from(asked)
            .to(target)
            .first("X-Origin", Some(origin))
            .first("X-Reference", reference)
            .first("Reply-To", Some(asked.tag("Reply-To").unwrap_or(&asked.from)));
        self.send(message)
    }

    /// Creates a process and returns the reference under which the network will report its id (`Action: Spawned`).
    ///
    /// # Errors
    /// The module is missing, the tags are too large, or the outbox is full.
    pub fn spawn(&mut self, spawn: Spawn<'_>) -> Result<u64, Error> {
        let reference = self.reference.saturating_add(1);
        self.outbox.spawn(&spawn, &self.environment.process, &self.environment.module, reference)?;
        *self.reference = reference;
        Ok(reference)
    }

    /// Puts an existing item into the logs of processes.
    ///
    /// # Errors
    /// The item or the processes are missing, or the outbox is full.
    pub fn assign(&mut self, assign: Assign<'_>) -> Result<(), Error> {
        self.outbox.assign(&assign)
    }

    /// Sets the result's `Output`, which callers of results and dry runs see. The last one wins. A value without JSON, for example
    /// a map whose keys are no texts, makes the message fail.
    pub fn output(&mut self, output: impl Serialize) {
        // serde_json's own words would take two kilobytes in every module, and there is only one way to fail.
        let no_json = |_| Error::new("the output has no JSON: the keys of a map must be texts or numbers");
        self.said.output = Some(serde_json::to_string(&output).map_err(no_json));
    }

    /// Leaves a line in the result's `Output`, of failed messages too. With lines the `Output` has the shape that consoles of `aos` show
    /// live: `{"data": lines, "print": true, "prompt": ""}`, and the value given to [`output`](Self::output) is its
    /// member `output`. Beyond [`LOG_BYTES_LIMIT`] lines are dropped.
    pub fn log(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if self.said.log.len() + line.len() < LOG_BYTES_LIMIT {
            self.said.log.push_str(line);
            self.said.log.push('\n');
        }
    }

    /// Numbers that look random and are the same on every computer. They follow from the message, its place in the log and this
    /// process: nobody but a scheduler can choose them, and everybody can compute them once the message is in the log.
    /// So nothing secret can be made of them.
    pub fn random(&mut self) -> &mut Random {
        let message = self.message;
        self.random.get_or_insert_with(|| {
            let mut place = String::new();
            for number in [message.epoch, message.nonce, message.timestamp] {
                crate::json::write_number(&mut place, number.unwrap_or_default(), 20);
            }
            Random::from_parts(&[
                &self.environment.process.id,
                message.id.as_deref().unwrap_or_default(),
                message.hash_chain.as_deref().unwrap_or_default(),
                &place,
            ])
        })
    }

    pub(crate) fn finish(self) -> Said {
        self.said
    }
}

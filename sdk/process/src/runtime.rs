//! One message in, one result out: the texts are those of spec 06 §3.1 and §3.2.

use crate::{
    Context, Environment, Error, Handlers, Message, Process,
    context::Said,
    error::joined,
    json::{same, write_text},
    outbox::Outbox,
};

/// Room that is kept for the next answer's texts, in bytes each.
pub(crate) const KEPT_TEXT_BYTES: usize = 16 << 10;

/// A process between messages.
#[derive(Debug)]
pub struct Runtime<P> {
    living: Option<Living<P>>,
    /// Number of the last message or spawn; together with the process it names it for ever.
    reference: u64,
    surroundings: Surroundings,
    outbox: Outbox,
}

#[derive(Debug)]
struct Living<P> {
    state: P,
    handlers: Handlers<P>,
}

/// The environment, which hardly ever changes, and the text it was read from.
#[derive(Debug)]
struct Surroundings {
    text: Vec<u8>,
    environment: Environment,
}

impl<P> Default for Runtime<P> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P> Runtime<P> {
    /// A process that has not begun.
    pub const fn new() -> Self {
        let surroundings = Surroundings { text: Vec::new(), environment: Environment::new() };
        Self { living: None, reference: 0, surroundings, outbox: Outbox::new() }
    }
}

impl<P: Process> Runtime<P> {
    /// Handles one message. `message` and `environment` are JSON texts; so is what `answer` becomes,
    /// `{"ok":true,"response":{"Messages","Spawns","Assignments","Output"}}`, with `Error` and the log lines alone in the response
    /// when the process refused, or `{"ok":false,"response":text}` when a text is not what it should be.
    ///
    /// After an `Error` the state may have been changed half-way: the host puts memory back (spec 05 §5.7).
    pub fn handle(&mut self, message: &[u8], environment: &[u8], answer: &mut String) {
        answer.clear();
        answer.shrink_to(KEPT_TEXT_BYTES);
        self.outbox.clear();
        let read = self.surroundings.become_those(environment).and_then(|()| Message::parse(utf8("message", message)?));
        let message = match read {
            Ok(message) => message,
            Err(error) => {
                answer.push_str("{\"ok\":false,\"response\":");
                write_text(answer, error.text());
                answer.push('}');
                return;
            }
        };
        let (said, error) = self.apply(&message);
        answer.push_str("{\"ok\":true,\"response\":{");
        let output = match (error, said.output) {
            (Some(error), _) | (None, Some(Err(error))) => {
                answer.push_str("\"Error\":");
                write_text(answer, error.text());
                if said.log.is_empty() {
                    answer.push_str("}}");
                    return;
                }
                None
            }
            (None, output) => {
                answer.push_str("\"Messages\":[");
                answer.push_str(&self.outbox.messages);
                answer.push_str("],\"Spawns\":[");
                answer.push_str(&self.outbox.spawns);
                answer.push_str("],\"Assignments\":[");
                answer.push_str(&self.outbox.assignments);
                answer.push(']');
                output.and_then(Result::ok)
            }
        };
        answer.push_str(",\"Output\":");
        if said.log.is_empty() {
            answer.push_str(output.as_deref().unwrap_or("\"\""));
        } else {
            answer.push_str("{\"data\":");
            write_text(answer, said.log.trim_end_matches('\n'));
            if let Some(output) = output {
                answer.push_str(",\"output\":");
                answer.push_str(&output);
            }
            answer.push_str(",\"print\":true,\"prompt\":\"\"}");
        }
        answer.push_str("}}");
    }

    fn apply(&mut self, message: &Message<'_>) -> (Said, Option<Error>) {
        let Self { living, reference, surroundings, outbox } = self;
        let mut ctx = Context::new(message, &surroundings.environment, reference, outbox);
        let error = answer(living, &mut ctx).err();
        (ctx.finish(), error)
    }

    /// The state, once the process has begun.
    pub fn state(&self) -> Option<&P> {
        self.living.as_ref().map(|living| &living.state)
    }
}

fn answer<P: Process>(living: &mut Option<Living<P>>, ctx: &mut Context<'_>) -> Result<(), Error> {
    let living = match living {
        Some(living) => living,
        None => {
            let state = P::boot(ctx)?;
            let mut handlers = Handlers::default();
            P::handlers(&mut handlers);
            let living = living.insert(Living { state, handlers });
            if ctx.message().id.as_deref() == Some(ctx.process_id()) {
                return Ok(());
            }
            // A log that does not begin with the process itself: the first message boots and is answered too.
            living
        }
    };
    living.state.admit(ctx)?;
    living.handlers.answer(&mut living.state, ctx)
}

fn utf8<'a>(what: &str, text: &'a [u8]) -> Result<&'a str, Error> {
    std::str::from_utf8(text).map_err(|_| Error::new(joined(&["the ", what, " is not UTF-8"])))
}

impl Surroundings {
    fn become_those(&mut self, text: &[u8]) -> Result<(), Error> {
        if self.text.is_empty() || !same(&self.text, text) {
            self.environment = Environment::parse(utf8("environment", text)?)?;
            text.clone_into(&mut self.text);
        }
        Ok(())
    }
}

//! One message in, one result out: the texts are those of spec 06 §3.1 and §3.2.

use serde_json::{Value, json};

use crate::{Context, Environment, Error, Handlers, Message, Process, outbox::Outbox};

/// A process between messages.
#[derive(Debug)]
pub struct Runtime<P> {
    living: Option<Living<P>>,
    /// Number of the last message or spawn; together with the process it names it for ever.
    reference: u64,
}

#[derive(Debug)]
struct Living<P> {
    state: P,
    handlers: Handlers<P>,
}

impl<P> Default for Runtime<P> {
    fn default() -> Self {
        Self { living: None, reference: 0 }
    }
}

impl<P: Process> Runtime<P> {
    /// Handles one message. `message` and `environment` are JSON texts; so is the answer,
    /// `{"ok":true,"response":{"Messages","Spawns","Assignments","Output"}}`, with `Error` alone in the response when the
    /// process refused, or `{"ok":false,"response":text}` when a text is not what it should be.
    ///
    /// After an `Error` the state may have been changed half-way: the host puts memory back (spec 05 §5.7).
    pub fn handle(&mut self, message: &str, environment: &str) -> String {
        let answer = match parse(message, environment) {
            Ok((message, environment)) => match self.apply(&message, &environment) {
                Ok((outbox, output)) => json!({"ok": true, "response": {
                    "Messages": outbox.messages,
                    "Spawns": outbox.spawns,
                    "Assignments": outbox.assignments,
                    "Output": output.unwrap_or_else(|| Value::from("")),
                }}),
                Err(error) => json!({"ok": true, "response": {"Error": error.text()}}),
            },
            Err(error) => json!({"ok": false, "response": error.text()}),
        };
        answer.to_string()
    }

    fn apply(&mut self, message: &Message, environment: &Environment) -> Result<(Outbox, Option<Value>), Error> {
        let mut ctx = Context::new(message, environment, &mut self.reference);
        let living = match &mut self.living {
            Some(living) => living,
            None => {
                let state = P::boot(&mut ctx)?;
                let mut handlers = Handlers::default();
                P::handlers(&mut handlers);
                let living = self.living.insert(Living { state, handlers });
                if message.id.as_deref() == Some(environment.process.id.as_str()) {
                    return Ok(ctx.finish());
                }
                // A log that does not begin with the process itself: the first message boots and is answered too.
                living
            }
        };
        living.state.admit(&mut ctx)?;
        match message.action().and_then(|action| living.handlers.get(action)) {
            Some(handler) => handler(&mut living.state, &mut ctx)?,
            None => living.state.unhandled(&living.handlers.actions(), &mut ctx)?,
        }
        Ok(ctx.finish())
    }

    /// The state, once the process has begun.
    pub fn state(&self) -> Option<&P> {
        self.living.as_ref().map(|living| &living.state)
    }
}

fn parse(message: &str, environment: &str) -> Result<(Message, Environment), Error> {
    let message = serde_json::from_str(message)
        .map_err(|error| Error::new(format!("the message is not as specified: {error}")))?;
    let environment = serde_json::from_str(environment)
        .map_err(|error| Error::new(format!("the environment is not as specified: {error}")))?;
    Ok((message, environment))
}

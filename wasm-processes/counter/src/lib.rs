//! A process that counts: `Increment` adds the message's data (default 1), `Get` answers the number.

use holon_process::{Context, Error, Handlers, Outgoing, Process, excerpt};

/// The state: one number.
#[derive(Debug, PartialEq, Eq)]
pub struct Counter {
    value: i64,
}

impl Process for Counter {
    fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self { value: 0 })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Increment", Self::increment).on("Get", Self::get);
    }
}

impl Counter {
    fn increment(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let step = match ctx.message().data_str() {
            None => 1,
            Some(text) => text.parse::<i64>().map_err(|_| {
                Error::new(format!(
                    "the data must be empty or a whole number between {} and {}, not \"{}\"",
                    i64::MIN,
                    i64::MAX,
                    excerpt(text)
                ))
            })?,
        };
        self.value = self
            .value
            .checked_add(step)
            .ok_or_else(|| Error::new(format!("{} and {step} do not add up to a 64-bit number", self.value)))?;
        ctx.output(self.value.to_string());
        Ok(())
    }

    fn get(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.reply(Outgoing::new().action("Count").data(self.value))?;
        ctx.output(self.value.to_string());
        Ok(())
    }
}

holon_process::export!(Counter);

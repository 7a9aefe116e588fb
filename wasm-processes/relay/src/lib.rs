//! A process that passes messages on: `Relay` with `Left` hops to go sends itself to `Next`, `Fan` sends many at once, and
//! what has no hop left has arrived. `Get` answers how many have.

use holon_process::{Context, Error, Handlers, Outgoing, Process};

/// Most messages of one `Fan`.
const MAX_WIDTH: u64 = 10_000;

/// The state: how many messages arrived, and how many were passed on.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Relay {
    arrived: u64,
    passed: u64,
}

impl Process for Relay {
    fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self::default())
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Relay", Self::relay).on("Fan", Self::fan).on("Get", Self::get);
    }
}

impl Relay {
    fn relay(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let left = number(ctx, "Left")?.unwrap_or(0);
        if left == 0 {
            self.arrived += 1;
            ctx.output(format!("arrived {}", self.arrived));
            return Ok(());
        }
        let (here, next) = (ctx.process_id().to_owned(), next(ctx));
        self.passed += 1;
        // Whoever gets it sends it back here, so two processes are a circle of any length.
        let hop =
            Outgoing::new().to(next.as_str()).action("Relay").tag("Left", (left - 1).to_string()).tag("Next", here);
        ctx.send(hop)?;
        ctx.output(format!("passed on, {} to go", left - 1));
        Ok(())
    }

    fn fan(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let width = number(ctx, "Width")?.ok_or_else(|| Error::new("the tag Width says how many"))?;
        if width > MAX_WIDTH {
            return Err(Error::new(format!("Width is {width}; at most {MAX_WIDTH} are sent at once")));
        }
        let next = next(ctx);
        for number in 0..width {
            ctx.send(Outgoing::new().to(next.as_str()).action("Relay").tag("Number", number.to_string()))?;
        }
        self.passed += width;
        ctx.output(format!("sent {width}"));
        Ok(())
    }

    fn get(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let Self { arrived, passed } = self;
        ctx.reply(
            Outgoing::new().action("Count").tag("Arrived", arrived.to_string()).tag("Passed", passed.to_string()),
        )?;
        ctx.output(arrived.to_string());
        Ok(())
    }
}

/// The process of the tag `Next`, or this one.
fn next(ctx: &Context<'_>) -> String {
    ctx.message().tag("Next").unwrap_or_else(|| ctx.process_id()).to_owned()
}

fn number(ctx: &Context<'_>, name: &str) -> Result<Option<u64>, Error> {
    let Some(text) = ctx.message().tag(name) else { return Ok(None) };
    let number = text.parse();
    number.map(Some).map_err(|_| Error::new(format!("the tag {name} must be a whole number, not \"{text}\"")))
}

holon_process::export!(Relay);

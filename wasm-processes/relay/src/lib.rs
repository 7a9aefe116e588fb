//! A process that passes tokens on: rings, chains, fans and storms are made of it, to see what a network does with them.

use holon_process::{Context, Error, Handlers, Outgoing, Process, Spawn};

/// Tag of a token: how many more times it is passed on.
const HOPS: &str = "Hops";

/// The state: to whom tokens go, and how many came by.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Relay {
    next: Vec<String>,
    seen: u64,
}

impl Process for Relay {
    /// A process with the tag `Generations` above 0 spawns another one with one less.
    fn boot(ctx: &mut Context<'_>) -> Result<Self, Error> {
        let process = &ctx.environment().process;
        let generations = process.tag("Generations").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
        if let Some(left) = generations.checked_sub(1) {
            let authority = process.tag("Authority").unwrap_or_default().to_owned();
            let module = process.tag("Module").unwrap_or(&ctx.environment().module.id).to_owned();
            ctx.spawn(Spawn::new(module).tag("Generations", left.to_string()).tag("Authority", authority))?;
        }
        Ok(Self::default())
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers.on("Connect", Self::connect).on("Token", Self::token).on("Beat", Self::beat);
        handlers.on("Count", Self::count).on("Spawned", Self::spawned);
    }
}

impl Relay {
    /// Data: the processes that tokens go to, separated by white space.
    fn connect(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        self.next = ctx.message().data_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
        ctx.output(self.next.len().to_string());
        Ok(())
    }

    /// Passes a token on to each of the next processes, with one hop less, unless it has none left.
    fn token(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let hops = ctx.message().tag(HOPS).unwrap_or("0");
        let hops = hops.parse::<u64>().map_err(|_| Error::new("the tag Hops must be a whole number"))?;
        let name = ctx.message().data_str().unwrap_or_default().to_owned();
        self.seen += 1;
        if let Some(left) = hops.checked_sub(1) {
            self.send(ctx, &name, left)?;
        }
        ctx.output(name);
        Ok(())
    }

    /// Sends a token of its own; what a cron does.
    fn beat(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        self.seen += 1;
        let name = format!("beat {}", self.seen);
        self.send(ctx, &name, 0)?;
        ctx.output(name);
        Ok(())
    }

    fn send(&self, ctx: &mut Context<'_>, name: &str, hops: u64) -> Result<(), Error> {
        for next in &self.next {
            ctx.send(Outgoing::new().to(next).action("Token").tag(HOPS, hops.to_string()).data(name))?;
        }
        Ok(())
    }

    /// How many tokens came by.
    fn count(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.output(self.seen.to_string());
        Ok(())
    }

    /// The process it spawned exists.
    fn spawned(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.output(ctx.message().tag("Process").unwrap_or_default().to_owned());
        Ok(())
    }
}

holon_process::export!(Relay);

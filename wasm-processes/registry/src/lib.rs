//! Names for processes and wallets: who registers a name first has it, says what it stands for, and may pass it on.

use std::collections::BTreeMap;

use holon_process::{Context, Error, Handlers, Outgoing, Process, bail, ensure};
use serde::{Deserialize, Serialize};

/// Longest name, in characters.
pub const NAME_LIMIT_CHARS: usize = 64;
/// Longest address, in bytes.
pub const ADDRESS_LIMIT_BYTES: usize = 128;
/// Most names in one answer.
pub const PAGE_LIMIT: usize = 1_000;

/// The state: what each name stands for.
#[derive(Debug)]
pub struct Registry {
    names: BTreeMap<String, Record>,
}

/// A registered name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Record {
    /// What the name stands for: a process or a wallet.
    pub address: String,
    /// Who may change it.
    pub owner: String,
    /// When it was registered, in milliseconds since 1970.
    pub since: u64,
}

#[derive(Deserialize)]
struct Naming {
    name: String,
    address: Option<String>,
}

#[derive(Deserialize)]
struct PassOn {
    name: String,
    to: String,
}

impl Process for Registry {
    fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self { names: BTreeMap::new() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Resolve", |registry, ctx| registry.resolve(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Names", Self::list)
            .on("Register", |registry, ctx| registry.register(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Update", |registry, ctx| registry.update(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Pass-On", |registry, ctx| registry.pass_on(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Release", |registry, ctx| registry.release(ctx).or_else(|error| ctx.refuse(&error)));
    }
}

impl Registry {
    /// What a name stands for.
    pub fn record(&self, name: &str) -> Option<&Record> {
        self.names.get(name)
    }

    fn resolve(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let name = ctx.message().require("Name")?;
        let Some(record) = self.names.get(name) else { bail!("nobody registered the name \"{name}\"") };
        ctx.reply(answer("Resolved", name, record).data(&record.address))?;
        ctx.output(record);
        Ok(())
    }

    /// Names in their order, those that begin with the tag `Prefix`, from behind the tag `After` on; more follow if the answer has a tag `Next`.
    fn list(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let prefix = ctx.message().tag("Prefix").unwrap_or_default();
        let after = ctx.message().tag("After").unwrap_or_default();
        let from = if after < prefix { std::ops::Bound::Included(prefix) } else { std::ops::Bound::Excluded(after) };
        let mut rest = self
            .names
            .range::<str, _>((from, std::ops::Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, record)| (name, &record.address));
        let page: BTreeMap<_, _> = rest.by_ref().take(PAGE_LIMIT).collect();
        let mut answer = Outgoing::new().action("Names").json(&page)?;
        if let (Some(_), Some((last, _))) = (rest.next(), page.last_key_value()) {
            answer = answer.tag("Next", *last);
        }
        ctx.reply(answer)?;
        ctx.output(page);
        Ok(())
    }

    fn register(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let Naming { name, address } = ctx.message().read()?;
        check_name(&name)?;
        if let Some(record) = self.names.get(&name) {
            bail!("the name \"{name}\" is taken, by {}", record.owner);
        }
        let record = Record {
            address: address.unwrap_or_else(|| ctx.from().to_owned()),
            owner: ctx.from().to_owned(),
            since: ctx.now(),
        };
        check_address(&record.address)?;
        ctx.reply(answer("Registered", &name, &record).data(format!("{name} stands for {}", record.address)))?;
        ctx.output(&record);
        self.names.insert(name, record);
        Ok(())
    }

    fn update(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let Naming { name, address } = ctx.message().read()?;
        let address = address.ok_or("the tag Address is missing")?;
        check_address(&address)?;
        let record = Record { address, ..self.owned(&name, ctx)?.clone() };
        ctx.reply(answer("Updated", &name, &record).data(format!("{name} stands for {}", record.address)))?;
        ctx.output(&record);
        self.names.insert(name, record);
        Ok(())
    }

    fn pass_on(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let PassOn { name, to } = ctx.message().read()?;
        check_address(&to)?;
        let record = Record { owner: to, ..self.owned(&name, ctx)?.clone() };
        ctx.send(answer("Received", &name, &record).to(&record.owner).tag("Sender", ctx.from()))?;
        ctx.reply(answer("Passed-On", &name, &record).data(format!("{name} belongs to {}", record.owner)))?;
        ctx.output(&record);
        self.names.insert(name, record);
        Ok(())
    }

    fn release(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let name = ctx.message().require("Name")?;
        let record = self.owned(name, ctx)?;
        ctx.reply(answer("Released", name, record).data(format!("{name} is free")))?;
        self.names.remove(name);
        Ok(())
    }

    /// The record of a name that the caller owns.
    fn owned(&self, name: &str, ctx: &Context<'_>) -> Result<&Record, Error> {
        let Some(record) = self.names.get(name) else { bail!("nobody registered the name \"{name}\"") };
        ensure!(record.owner == ctx.from(), "the name \"{name}\" belongs to {}, not to {}", record.owner, ctx.from());
        Ok(record)
    }
}

fn answer<'a>(action: &'static str, name: &'a str, record: &'a Record) -> Outgoing<'a> {
    Outgoing::new().action(action).tag("Name", name).tag("Address", &record.address).tag("Owner", &record.owner)
}

/// Names are written the same way by everybody, and look like no others.
fn check_name(name: &str) -> Result<(), Error> {
    let letters = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let hyphens = name.starts_with('-') || name.ends_with('-');
    ensure!(
        letters && !hyphens && (1..=NAME_LIMIT_CHARS).contains(&name.len()),
        "a name has 1 to {NAME_LIMIT_CHARS} of the characters a-z, 0-9 and -, which neither begins nor ends it"
    );
    Ok(())
}

fn check_address(address: &str) -> Result<(), Error> {
    ensure!(
        (1..=ADDRESS_LIMIT_BYTES).contains(&address.trim().len()) && address.trim() == address,
        "an address has 1 to {ADDRESS_LIMIT_BYTES} bytes without white space around them"
    );
    Ok(())
}

holon_process::export!(Registry);

//! A room that passes on what its members say, with the messages of the chat rooms of `aos`.

use std::collections::VecDeque;

use holon_process::{Context, Error, Handlers, Outgoing, Process, bail, ensure};
use serde::Serialize;

/// Most members: everything that is said is sent to each in one result.
pub const MEMBER_LIMIT: usize = 900;
/// Longest thing to say, in bytes.
pub const TEXT_LIMIT_BYTES: usize = 4_096;
/// Longest nickname, in characters.
pub const NICKNAME_LIMIT_CHARS: usize = 32;
/// How much of what was said is kept for newcomers.
pub const HISTORY_LIMIT: usize = 100;

/// The state: who is here, and what was said lately.
#[derive(Debug)]
pub struct Chatroom {
    members: Vec<Member>,
    history: VecDeque<Said>,
}

/// Who is here, in the order they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Member {
    /// A process or a wallet.
    pub address: String,
    /// What it wants to be called; may be empty.
    pub nickname: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    from: String,
    nickname: String,
    /// Milliseconds since 1970.
    at: u64,
    data: String,
}

impl Process for Chatroom {
    fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
        Ok(Self { members: Vec::new(), history: VecDeque::new() })
    }

    fn handlers(handlers: &mut Handlers<Self>) {
        handlers
            .on("Register", |room, ctx| room.register(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Unregister", |room, ctx| room.unregister(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Broadcast", |room, ctx| room.broadcast(ctx).or_else(|error| ctx.refuse(&error)))
            .on("Members", Self::tell_members)
            .on("History", Self::tell_history);
    }
}

impl Chatroom {
    /// Who is here.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    fn place_of(&self, address: &str) -> Option<usize> {
        self.members.iter().position(|member| member.address == address)
    }

    fn register(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let nickname = ctx.message().tag("Nickname").unwrap_or_default();
        ensure!(
            nickname.chars().count() <= NICKNAME_LIMIT_CHARS && !nickname.contains(char::is_control),
            "a nickname has at most {NICKNAME_LIMIT_CHARS} characters, all of them visible"
        );
        let member = Member { address: ctx.from().to_owned(), nickname: nickname.to_owned() };
        let place = self.place_of(ctx.from());
        ensure!(
            place.is_some() || self.members.len() < MEMBER_LIMIT,
            "the room is full: it holds {MEMBER_LIMIT} members"
        );
        ctx.reply(Outgoing::new().action("Registered").data("Registered."))?;
        ctx.output(format!("{} registered", ctx.from()));
        match place.and_then(|place| self.members.get_mut(place)) {
            Some(known) => *known = member,
            None => self.members.push(member),
        }
        Ok(())
    }

    fn unregister(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let Some(place) = self.place_of(ctx.from()) else { bail!("{} is no member of this room", ctx.from()) };
        ctx.reply(Outgoing::new().action("Unregistered").data("Unregistered."))?;
        ctx.output(format!("{} unregistered", ctx.from()));
        self.members.remove(place);
        Ok(())
    }

    fn broadcast(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        let message = ctx.message();
        let Some(member) = self.place_of(ctx.from()).and_then(|place| self.members.get(place)) else {
            bail!("{} is no member of this room; register first", ctx.from());
        };
        let Some(text) = message.data_str() else { bail!("the data is what to say, and there is none") };
        ensure!(
            text.len() <= TEXT_LIMIT_BYTES,
            "{TEXT_LIMIT_BYTES} bytes may be said at once, these are {}",
            text.len()
        );
        for receiver in &self.members {
            let mut copy = Outgoing::new().to(&receiver.address).action("Broadcasted").tag("Broadcaster", ctx.from());
            if !member.nickname.is_empty() {
                copy = copy.tag("Nickname", &member.nickname);
            }
            ctx.send(copy.forward_tags(message).data(text))?;
        }
        let said = Said {
            from: member.address.clone(),
            nickname: member.nickname.clone(),
            at: ctx.now(),
            data: text.to_owned(),
        };
        ctx.log(format!("{}: {text}", if said.nickname.is_empty() { &said.from } else { &said.nickname }));
        if self.history.len() == HISTORY_LIMIT {
            self.history.pop_front();
        }
        self.history.push_back(said);
        Ok(())
    }

    fn tell_members(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.reply(Outgoing::new().action("Members").json(&self.members)?)?;
        ctx.output(&self.members);
        Ok(())
    }

    fn tell_history(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
        ctx.reply(Outgoing::new().action("History").json(&self.history)?)?;
        ctx.output(&self.history);
        Ok(())
    }
}

holon_process::export!(Chatroom);

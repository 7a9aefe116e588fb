//! A process, who talks to it, and the ways to talk to it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use holon_client::{Network, Unit, console};
use holon_protocol::result::EvaluationResult;
use holon_protocol::wire::Entry;
use holon_protocol::{Address, MessageId, Nonce, ProcessId, Signer, Tag};

use super::line::{Draft, Language};
use crate::connection::Connection;
use crate::facts::{self, Birth};
use crate::failure::Failure;

/// Own messages that are remembered, so that the feed does not tell them again.
const OWN_LIMIT: usize = 1024;
/// Code that every process with a console evaluates, and that changes nothing.
const PROBE: &str = "1";

/// A process that is talked to.
pub struct Session {
    /// The network.
    pub connection: Connection,
    /// What the process is.
    pub birth: Birth,
    /// Who signs.
    pub wallet: Signer,
    own: Mutex<VecDeque<MessageId>>,
    prompt: Mutex<Option<String>>,
}

impl Session {
    /// Meets a process: who it is, and whether it evaluates code. That is asked with a dry run, so it leaves no trace.
    pub async fn open(
        connection: Connection,
        process: ProcessId,
        wallet: Signer,
        language: Option<Language>,
    ) -> Result<(Self, Language), Failure> {
        connection.network.require(Unit::Compute)?;
        let birth = facts::birth(&connection, process).await?;
        let session = Self { connection, birth, wallet, own: Mutex::default(), prompt: Mutex::default() };
        let probe = session.ask_code(PROBE).await?;
        let prompt = console::prompt(&probe);
        let evaluates = prompt.is_some() && console::error(&probe).is_none();
        session.remember_prompt(prompt.filter(|_| evaluates));
        let found = if evaluates { Language::Code } else { Language::Actions };
        Ok((session, language.unwrap_or(found)))
    }

    /// The calls.
    pub fn network(&self) -> &Network {
        &self.connection.network
    }

    /// The process.
    pub fn process(&self) -> ProcessId {
        self.birth.id
    }

    /// Whether the process belongs to the wallet that signs.
    pub fn is_owner(&self) -> bool {
        self.birth.owner == self.wallet.address()
    }

    /// Sends a message. It counts as one's own before anybody else can see it.
    pub async fn send(&self, draft: Draft) -> Result<MessageId, Failure> {
        let network = self.network();
        let item = network.message(self.process()).tags(draft.tags).data(draft.data).sign(&self.wallet).await?;
        let id = MessageId::from(item.id());
        {
            let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
            if own.len() >= OWN_LIMIT {
                own.pop_front();
            }
            own.push_back(id);
        }
        network.post(&item).await?;
        Ok(id)
    }

    /// Whether a message was sent by this console.
    pub fn is_own(&self, id: MessageId) -> bool {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// The last message that was sent by this console.
    pub fn last_sent(&self) -> Option<MessageId> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).back().copied()
    }

    /// Asks with a dry run, as the wallet that signs.
    pub async fn ask(&self, draft: Draft) -> Result<EvaluationResult, Failure> {
        self.dry_run(draft, self.wallet.address()).await
    }

    /// Has code evaluated in a dry run, as the owner of the process; nobody checks who asks.
    pub async fn ask_code(&self, code: &str) -> Result<EvaluationResult, Failure> {
        self.dry_run(evaluation(code), self.birth.owner).await
    }

    async fn dry_run(&self, Draft { tags, data }: Draft, owner: Address) -> Result<EvaluationResult, Failure> {
        // What was sent just before counts.
        let mut dry_run = self.network().dry_run(self.process()).tags(tags).owner(owner).max_age(Duration::ZERO);
        if !data.is_empty() {
            dry_run = dry_run.data(data);
        }
        Ok(dry_run.send().await?)
    }

    /// Log entries from a place on.
    pub async fn entries(&self, from: u64, limit: u32) -> Result<Vec<Entry>, Failure> {
        let scheduler = self.connection.scheduler(self.process()).await?;
        let range =
            holon_client::scheduler::Range { after: from.checked_sub(1).map(Nonce), to: None, limit: Some(limit) };
        let page = scheduler.log(self.process(), range).await?;
        Ok(page.edges.into_iter().map(|edge| edge.node).collect())
    }

    /// The last log entries, oldest first.
    pub async fn last_entries(&self, count: u32) -> Result<Vec<Entry>, Failure> {
        let scheduler = self.connection.scheduler(self.process()).await?;
        let latest = facts::place(&scheduler.latest(self.process()).await?).map_or(0, |latest| latest.nonce);
        self.entries((latest + 1).saturating_sub(count.into()), count).await
    }

    /// The prompt that the process wants, if it has a console.
    pub fn prompt(&self) -> Option<String> {
        self.prompt.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a new prompt, if there is one.
    pub fn remember_prompt(&self, prompt: Option<String>) {
        if prompt.is_some() {
            *self.prompt.lock().unwrap_or_else(PoisonError::into_inner) = prompt;
        }
    }
}

/// A message that has code evaluated.
pub fn evaluation(code: &str) -> Draft {
    Draft { tags: vec![Tag::new("Action", "Eval")], data: code.to_owned() }
}

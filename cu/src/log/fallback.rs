//! A scheduler's log, and the one on Arweave while the scheduler cannot be reached.
//!
//! The two are one log: every entry is checked to follow the one before it, wherever that came from, so a unit that
//! changes over in the middle either goes on with the same log or stops with an error.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use holon_protocol::{ItemId, MessageId, Nonce, ProcessId, wire};
use tokio::sync::OnceCell;

use super::{Goal, Link, Log, Logs, Now, Page, Position, Range};
use crate::cron::Block;
use crate::error::Error;
use crate::hydrate::OnChain;

/// How long a scheduler that could not be reached is not asked again.
const AWAY_FOR: Duration = Duration::from_secs(60);
/// Most processes whose schedulers are remembered to be away.
const AWAY_KEPT: usize = 10_000;

/// Logs of the first kind, and of the second where the first cannot be reached. Cheap to clone.
#[derive(Clone)]
pub struct FallbackLogs(Arc<Inner>);

struct Inner {
    first: Box<dyn Logs>,
    second: Box<dyn Logs>,
    away: Mutex<HashMap<ProcessId, Instant>>,
}

/// A log that may change over.
struct Fallback {
    logs: FallbackLogs,
    process: ProcessId,
    first: Option<Box<dyn Log>>,
    second: OnceCell<Box<dyn Log>>,
    changed_over: AtomicBool,
}

impl FallbackLogs {
    /// `first`, else `second`.
    pub fn new(first: impl Logs + 'static, second: impl Logs + 'static) -> Self {
        Self(Arc::new(Inner { first: Box::new(first), second: Box::new(second), away: Mutex::default() }))
    }

    fn away(&self) -> MutexGuard<'_, HashMap<ProcessId, Instant>> {
        self.0.away.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_away(&self, process: ProcessId) -> bool {
        self.away().get(&process).is_some_and(|since| since.elapsed() < AWAY_FOR)
    }

    fn remember(&self, process: ProcessId, error: &Error) {
        tracing::warn!(%process, %error, "the scheduler cannot be reached; reading the log from Arweave");
        let mut away = self.away();
        if away.len() >= AWAY_KEPT {
            away.retain(|_, since| since.elapsed() < AWAY_FOR);
        }
        if away.len() < AWAY_KEPT {
            away.insert(process, Instant::now());
        }
    }
}

/// Whether an error says that the scheduler cannot be reached, and nothing about the log.
fn is_absence(error: &Error) -> bool {
    match error {
        Error::Locate { .. } | Error::SchedulerUnreadable { .. } => true,
        Error::Scheduler { status, .. } => *status >= 500,
        _ => false,
    }
}

impl Logs for FallbackLogs {
    fn open(&self, process: ProcessId) -> BoxFuture<'_, Result<Box<dyn Log>, Error>> {
        async move {
            let first = match self.is_away(process) {
                true => None,
                false => match self.0.first.open(process).await {
                    Ok(log) => Some(log),
                    Err(error) if is_absence(&error) => {
                        // What is known to neither is reported as the first does.
                        let Ok(second) = self.0.second.open(process).await else { return Err(error) };
                        self.remember(process, &error);
                        return Ok(self.log(process, None, OnceCell::new_with(Some(second))));
                    }
                    Err(error) => return Err(error),
                },
            };
            Ok(self.log(process, first, OnceCell::new()))
        }
        .boxed()
    }

    fn knows(&self, process: ProcessId) -> BoxFuture<'_, Result<bool, Error>> {
        async move {
            match self.0.first.knows(process).await {
                Ok(true) => Ok(true),
                Ok(false) => self.0.second.knows(process).await,
                Err(error) => match self.0.second.knows(process).await {
                    Ok(true) => Ok(true),
                    Ok(false) | Err(_) => Err(error),
                },
            }
        }
        .boxed()
    }
}

impl FallbackLogs {
    fn log(&self, process: ProcessId, first: Option<Box<dyn Log>>, second: OnceCell<Box<dyn Log>>) -> Box<dyn Log> {
        let changed_over = AtomicBool::new(first.is_none());
        let logs = self.clone();
        Box::new(Arc::new(Fallback { logs, process, first, second, changed_over }))
    }
}

impl Fallback {
    /// Asks the first log, or the second.
    async fn ask<'a, T>(
        &'a self,
        question: impl Fn(&'a dyn Log) -> BoxFuture<'a, Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Some(first) = &self.first
            && !self.changed_over.load(Ordering::Relaxed)
        {
            match question(&**first).await {
                Err(error) if is_absence(&error) => {
                    self.logs.remember(self.process, &error);
                    self.changed_over.store(true, Ordering::Relaxed);
                }
                answer => return answer,
            }
        }
        let second = self.second.get_or_try_init(|| self.logs.0.second.open(self.process)).await?;
        question(&**second).await
    }
}

impl Log for Arc<Fallback> {
    fn is_signed(&self) -> bool {
        self.second.get().is_some_and(|second| second.is_signed())
    }

    fn record(&self) -> BoxFuture<'_, Result<wire::Process, Error>> {
        self.ask(|log| log.record()).boxed()
    }

    fn process_data(&self) -> BoxFuture<'_, Result<String, Error>> {
        self.ask(|log| log.process_data()).boxed()
    }

    fn page(&self, after: Option<Link>, goal: Goal) -> BoxFuture<'static, Result<Page, Error>> {
        let log = self.clone();
        async move { log.ask(|log| log.page(after, goal)).await }.boxed()
    }

    fn position(&self, message: MessageId) -> BoxFuture<'_, Result<Position, Error>> {
        self.ask(move |log| log.position(message)).boxed()
    }

    fn now(&self) -> BoxFuture<'_, Result<Option<Now>, Error>> {
        self.ask(|log| log.now()).boxed()
    }

    fn on_chain(&self, slot: Nonce, item: ItemId, with_data: bool) -> BoxFuture<'_, Result<OnChain, Error>> {
        self.ask(move |log| log.on_chain(slot, item, with_data)).boxed()
    }

    fn blocks(&self, range: Range) -> BoxFuture<'_, Result<Vec<Block>, Error>> {
        self.ask(move |log| log.blocks(range)).boxed()
    }
}

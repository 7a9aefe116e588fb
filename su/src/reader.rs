//! Reads of the log as the scheduler's JSON (spec 02 §6, §7). Everything here blocks on the store.

use std::time::Instant;

use bytes::Bytes;
use holon_protocol::item::ItemError;
use holon_protocol::{DataItem, ItemId, Nonce, ProcessId, Timestamp, wire};

use crate::log::{EntryKind, LogStore, Record, StoreError};
use crate::metrics::{Function, Metrics};
use crate::scheduler::Scheduler;

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// No such process on this scheduler.
    #[error("NotFound(\"Process not found\")")]
    UnknownProcess,
    /// The id is neither a process nor an entry of the process.
    #[error("Message or Process not found")]
    NotFound,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored item cannot be read.
    #[error("a stored item is not readable: {0}")]
    Item(#[from] ItemError),
}

/// Which entries a page holds, and what its cursors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// By timestamp.
    Time {
        /// Later than this; absent: from the process itself on.
        from: Option<i64>,
        /// Not later than this.
        to: Option<i64>,
    },
    /// By nonce.
    Nonce {
        /// Greater than this; absent or negative: from the process itself on.
        from: Option<i64>,
        /// Not greater than this.
        to: Option<i64>,
    },
}

/// A page to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Which entries.
    pub bounds: Bounds,
    /// Most entries, at least 1.
    pub limit: usize,
    /// How anchors are spelled.
    pub anchors: Anchors,
}

/// How anchors are spelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Anchors {
    /// Those that are text.
    #[default]
    Text,
    /// Those of messages that are text, and all of assignments (spec 02 §6.1).
    Assignments,
    /// All, also that there is none: [`wire::Entry::signed`].
    All,
}

impl Anchors {
    /// What a route that gives one entry makes of it: `show-anchor` is for pages, only its extension is not.
    fn of_one(self) -> Self {
        if self == Self::All { self } else { Self::Text }
    }
}

/// What an id stands for.
#[derive(Debug)]
pub enum Found {
    /// A message or an assignment.
    Entry(Box<wire::Entry>),
    /// A process: its log.
    Page(wire::Page),
}

/// Reads what is durable; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    scheduler: Scheduler,
    metrics: Metrics,
    page_bytes: usize,
}

impl Reader {
    /// A reader whose pages hold about `page_bytes` of stored bytes at most.
    pub fn new(scheduler: Scheduler, metrics: Metrics, page_bytes: usize) -> Self {
        Self { scheduler, metrics, page_bytes }
    }

    /// Whether the process is known.
    pub fn knows(&self, process: ProcessId) -> Result<bool, ReadError> {
        Ok(self.scheduler.visible(process)?.is_some())
    }

    /// `GET /processes/{id}`.
    pub fn process(&self, process: ProcessId, anchors: Anchors) -> Result<wire::Process, ReadError> {
        let started = Instant::now();
        self.scheduler.visible(process)?.ok_or(ReadError::UnknownProcess)?;
        let record = self.record(process, Nonce(0))?;
        let item = self.item(process, Nonce(0))?.ok_or_else(|| missing(process, Nonce(0)))?;
        let (assignment, item) = (DataItem::parse(record.assignment_bytes)?, DataItem::parse(item)?);
        let answer = match anchors {
            Anchors::All => wire::Process::signed(&assignment, &item),
            Anchors::Text | Anchors::Assignments => wire::Process::new(&assignment, &item),
        };
        self.metrics.observe(Function::GetProcess, started.elapsed());
        Ok(answer)
    }

    /// The process item itself.
    pub fn process_item(&self, process: ProcessId) -> Result<DataItem, ReadError> {
        self.scheduler.visible(process)?.ok_or(ReadError::UnknownProcess)?;
        Ok(DataItem::parse(self.item(process, Nonce(0))?.ok_or_else(|| missing(process, Nonce(0)))?)?)
    }

    /// The place of an item in a log, `None` where everybody is still told that it is not there.
    pub fn place(&self, process: ProcessId, id: ItemId) -> Result<Option<Nonce>, ReadError> {
        let Some(newest) = self.scheduler.visible(process)? else { return Ok(None) };
        Ok(self.store().find(process, id)?.filter(|nonce| *nonce <= newest))
    }

    /// `GET /{process_id}/latest`: the process's own entry when there is no other.
    pub fn latest(&self, process: ProcessId) -> Result<wire::Entry, ReadError> {
        let started = Instant::now();
        let newest = self.scheduler.visible(process)?.ok_or(ReadError::UnknownProcess)?;
        let answer = self.entry(process, &self.record(process, newest)?, Anchors::Text)?.0;
        self.metrics.observe(Function::GetMessage, started.elapsed());
        Ok(answer)
    }

    /// `GET /{tx_id}`: an entry of `process`, or the log of `id` (spec 02 §7.1).
    pub fn find(&self, id: ItemId, process: ProcessId, page: &PageRequest) -> Result<Found, ReadError> {
        let started = Instant::now();
        if let Some(newest) = self.scheduler.visible(process)?
            && let Some(nonce) = self.store().find(process, id)?
            && nonce <= newest
        {
            let record = self.record(process, nonce)?;
            let own = record.kind == EntryKind::Assigned && record.message == process.into();
            if !own {
                let answer = self.entry(process, &record, page.anchors.of_one())?.0;
                self.metrics.observe(Function::GetMessage, started.elapsed());
                return Ok(Found::Entry(Box::new(answer)));
            }
        }
        match self.page(id.into(), page) {
            Err(ReadError::UnknownProcess) => Err(ReadError::NotFound),
            other => other.map(Found::Page),
        }
    }

    /// A page of a process's log (spec 02 §7.2). It ends early when it holds many bytes; more then follows.
    pub fn page(&self, process: ProcessId, request: &PageRequest) -> Result<wire::Page, ReadError> {
        let started = Instant::now();
        let newest = self.scheduler.visible(process)?.ok_or(ReadError::UnknownProcess)?;
        let by_nonce = matches!(request.bounds, Bounds::Nonce { .. });
        let (with_process, range) = self.range(process, newest, request.bounds)?;

        let mut page = Page { edges: Vec::new(), bytes: 0, by_nonce };
        if with_process {
            page.push(self.read(process, self.record(process, Nonce(0))?, request.anchors)?);
        }
        let mut more = false;
        if let Some((first, last)) = range {
            let mut failed = None;
            self.store().records(process, first, last, &mut |record| {
                if page.edges.len() >= request.limit || page.bytes >= self.page_bytes {
                    more = true;
                    return Ok(false);
                }
                match self.read(process, record, request.anchors) {
                    Ok(entry) => page.push(entry),
                    Err(error) => failed = Some(error),
                }
                Ok(failed.is_none())
            })?;
            if let Some(error) = failed {
                return Err(error);
            }
        }
        self.metrics.observe(Function::GetMessages, started.elapsed());
        Ok(wire::Page { page_info: wire::PageInfo { has_next_page: more }, edges: page.edges })
    }

    /// Whether the process's own entry belongs to the page, and which other positions do.
    fn range(
        &self,
        process: ProcessId,
        newest: Nonce,
        bounds: Bounds,
    ) -> Result<(bool, Option<(Nonce, Nonce)>), ReadError> {
        let (with_process, first, last) = match bounds {
            Bounds::Nonce { from, to } => {
                let with_process = from.is_none_or(|from| from < 0);
                let first = from.map_or(1, |from| from.saturating_add(1).max(1));
                let last = to.map_or(i64::MAX, |to| to);
                (with_process, Some(Nonce(first.unsigned_abs())), u64::try_from(last).ok().map(Nonce))
            }
            Bounds::Time { from, to } => {
                let first = match from {
                    Some(from) if from >= 0 => self.after(process, newest, from)?,
                    Some(_) | None => Some(Nonce(1)),
                };
                let last = match to {
                    None => Some(newest),
                    Some(to) if to < 0 => None,
                    // Timestamps not later than `to` end before the first that is.
                    Some(to) => match self.after(process, newest, to)? {
                        None => Some(newest),
                        Some(after) => after.0.checked_sub(1).map(Nonce),
                    },
                };
                (from.is_none(), first, last)
            }
        };
        let range = match (first, last.map(|last| last.min(newest))) {
            (Some(first), Some(last)) if first <= last => Some((first, last)),
            _ => None,
        };
        Ok((with_process, range))
    }

    /// The first entry after the process's own with a timestamp later than `time`.
    fn after(&self, process: ProcessId, newest: Nonce, time: i64) -> Result<Option<Nonce>, ReadError> {
        if newest < Nonce(1) {
            return Ok(None);
        }
        Ok(self.store().first_after(process, Nonce(1), newest, Timestamp(time.unsigned_abs()))?)
    }

    fn read(&self, process: ProcessId, record: Record, anchors: Anchors) -> Result<ReadEntry, ReadError> {
        let (node, bytes) = self.entry(process, &record, anchors)?;
        Ok(ReadEntry { node, bytes, nonce: record.nonce, timestamp: record.timestamp })
    }

    /// The entry and how many stored bytes it has.
    fn entry(&self, process: ProcessId, record: &Record, anchors: Anchors) -> Result<(wire::Entry, usize), ReadError> {
        let started = Instant::now();
        let item = match record.kind {
            EntryKind::Assigned => None,
            EntryKind::Process | EntryKind::Message => {
                Some(self.item(process, record.nonce)?.ok_or_else(|| missing(process, record.nonce))?)
            }
        };
        self.metrics.observe(Function::ReadMessageData, started.elapsed());
        let bytes = record.assignment_bytes.len() + item.as_ref().map_or(0, Bytes::len);
        let item = item.map(DataItem::parse).transpose()?;
        let assignment = DataItem::parse(record.assignment_bytes.clone())?;
        let entry = match anchors {
            Anchors::All => wire::Entry::signed(&assignment, item.as_ref()),
            anchors => wire::Entry::new(&assignment, item.as_ref(), anchors == Anchors::Assignments),
        };
        Ok((entry, bytes))
    }

    fn record(&self, process: ProcessId, nonce: Nonce) -> Result<Record, ReadError> {
        Ok(self.store().record(process, nonce)?.ok_or_else(|| missing(process, nonce))?)
    }

    fn item(&self, process: ProcessId, nonce: Nonce) -> Result<Option<Bytes>, StoreError> {
        self.store().item(process, nonce)
    }

    fn store(&self) -> &dyn LogStore {
        self.scheduler.store().as_ref()
    }
}

struct ReadEntry {
    node: wire::Entry,
    bytes: usize,
    nonce: Nonce,
    timestamp: Timestamp,
}

struct Page {
    edges: Vec<wire::Edge>,
    bytes: usize,
    by_nonce: bool,
}

impl Page {
    fn push(&mut self, entry: ReadEntry) {
        let cursor = if self.by_nonce { entry.nonce.to_string() } else { entry.timestamp.to_string() };
        self.bytes += entry.bytes;
        self.edges.push(wire::Edge { node: entry.node, cursor });
    }
}

fn missing(process: ProcessId, nonce: Nonce) -> StoreError {
    StoreError::Corrupt(format!("{process} lacks entry {nonce}"))
}

//! The one writer: everything that is ready goes to the store in one batch and shares one sync.
//!
//! Appending and syncing exclude each other in the store (fjall's journal is locked while it syncs), so both are done here
//! and never inside a process's turn; a shared sync that only covered what was appended elsewhere would make turns wait.
//! The thread ends when the last handle to the scheduler is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Weak, mpsc};
use std::thread;

use bytes::Bytes;
use holon_protocol::{Nonce, ProcessId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::lane::Lane;
use super::{Scheduled, Shared};
use crate::log::{LogStore, Record, Write};
use crate::sequencer::ContentHash;

/// Most changes that share one sync.
const MAX_GROUP: usize = 4096;
/// Most item bytes that share one sync; a group ends with the item that passes it.
const MAX_GROUP_BYTES: usize = 64 << 20;

/// A signed entry on its way to the disk.
pub(super) struct Entry {
    pub(super) lane: Arc<Lane>,
    pub(super) process: ProcessId,
    pub(super) record: Record,
    pub(super) item: Option<Bytes>,
    pub(super) content: Option<ContentHash>,
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

pub(super) enum Job {
    Entry(Box<Entry>),
    Write(Box<Write>, oneshot::Sender<()>),
}

/// The store does not take writes any more.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the log store does not take writes any more")]
pub struct WriterEnded;

/// Handle to the writer.
pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
}

impl Writer {
    pub(super) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel();
        (Self { jobs }, queue)
    }

    /// Entries of one process must come in order. Bounded by the memory that requests may hold.
    pub(super) fn entry(&self, entry: Entry) {
        // Without a writer the lane has been told that the store failed.
        let _ = self.jobs.send(Job::Entry(Box::new(entry)));
    }

    pub(super) async fn write(&self, write: Write) -> Result<(), WriterEnded> {
        let (done, durable) = oneshot::channel();
        self.jobs.send(Job::Write(Box::new(write), done)).map_err(|_| WriterEnded)?;
        durable.await.map_err(|_| WriterEnded)
    }
}

/// Starts the thread of `shared`'s writer.
pub(super) fn spawn(shared: &Arc<Shared>, queue: mpsc::Receiver<Job>) -> std::io::Result<thread::JoinHandle<()>> {
    let (store, shared) = (shared.store.clone(), Arc::downgrade(shared));
    thread::Builder::new().name("su-writer".into()).spawn(move || run(&queue, store.as_ref(), &shared))
}

fn run(queue: &mpsc::Receiver<Job>, store: &dyn LogStore, shared: &Weak<Shared>) {
    while let Ok(first) = queue.recv() {
        let mut group = Group::default();
        group.add(first);
        while group.writes.len() < MAX_GROUP && group.bytes < MAX_GROUP_BYTES {
            let Ok(job) = queue.try_recv() else { break };
            group.add(job);
        }
        let written = store.append(&group.writes).and_then(|()| store.sync());
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = written {
            shared.metrics.save_failed(group.writes.len());
            // Ending drops the queue: whoever waits for it hears that nothing is written any more.
            shared.halt(&error);
            return;
        }
        group.durable(&shared);
    }
}

/// What shares one sync.
#[derive(Default)]
struct Group {
    writes: Vec<Write>,
    bytes: usize,
    memory: Vec<OwnedSemaphorePermit>,
    /// The last entry of each process.
    through: HashMap<ProcessId, (Arc<Lane>, Nonce)>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Group {
    fn add(&mut self, job: Job) {
        match job {
            Job::Write(write, done) => {
                self.writes.push(*write);
                self.waiting.push(done);
            }
            Job::Entry(entry) => {
                let Entry { lane, process, record, item, content, memory } = *entry;
                self.bytes += item.as_ref().map_or(0, Bytes::len);
                self.memory.extend(memory);
                self.through.insert(process, (lane, record.nonce));
                self.writes.push(Write::Entry { process, record, item, content });
            }
        }
    }

    fn durable(self, shared: &Arc<Shared>) {
        let entries = !self.through.is_empty();
        for (lane, through) in self.through.into_values() {
            lane.became_durable(shared, through);
        }
        if shared.feed.has_readers() {
            for write in &self.writes {
                if let Write::Entry { process, record, .. } = write {
                    shared.feed.tell(Scheduled {
                        process: *process,
                        message: record.message,
                        assignment: record.assignment,
                        nonce: record.nonce,
                        timestamp: record.timestamp,
                        block_height: record.block_height,
                    });
                }
            }
        }
        for waiting in self.waiting {
            // Whoever asked may have gone.
            let _ = waiting.send(());
        }
        if entries {
            shared.settle.notify_one();
        }
    }
}

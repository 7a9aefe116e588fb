//! The Scheduler Unit: it gives every message of a process a position in the process's log, signs an assignment that
//! says so, keeps both, brings them to Arweave, and serves the log (spec 02).
//!
//! | module | what it holds |
//! |---|---|
//! | [`api`] | routes: parse, call, answer |
//! | [`check`] | what an item must be, without state |
//! | [`sequencer`] | one order per process: nonce, hash chain, timestamp; a pure state machine |
//! | [`scheduler`] | the shell around it: lanes, signing, durable writes |
//! | [`assignment`] | build and sign |
//! | [`log`] | where logs are kept |
//! | [`reader`] | the log as JSON: entries, pages, processes |
//! | [`published`] | items that are on Arweave already: what an assignment of them needs |
//! | [`settle`] | getting the log onto Arweave |
//! | [`height`] | the L1 height that assignments carry |
//! | [`access`] | warm-up and allow-lists |
//!
//! # What is promised
//!
//! * A success is answered only after the entry is on disk, synced. Concurrent posts share syncs.
//! * A process has one order: nonces are contiguous, the hash chain is unbroken, timestamps strictly increase.
//! * Readers see an entry only once a crash cannot lose it. Later entries of the process may be signed meanwhile.
//! * If the store fails, nothing that came after is acknowledged, posts are refused, and the service stops.
//! * An item gets one position in its process, however many copies come at once; content whose repeats are refused too.
//! * What is acknowledged is offered to the bundler until it is taken, after restarts too, so that it reaches Arweave at
//!   least once. Only an outright refusal (400, 403) takes an entry out of the queue; it is kept, counted, and offered
//!   again at each start. Whether a bundler keeps what it took is not checked.
//! * Memory is bounded: request bodies together ([`Options::max_body_memory_bytes`]) and each in time, pages, the data of
//!   assigned items that is hashed.
//! * 400 says that the request is wrong; 503 that the same request may succeed later, also when the gateway or the
//!   router cannot be asked.
//!
//! # Concurrency
//!
//! [`Service::start`] starts actix workers (they only parse requests and wait), a pool of threads that verify and sign, another
//! that reads, one writer thread, and tasks for settling, the L1 height and allow-lists. [`Running::stop`] ends all of them
//! in order: requests finish first, then tasks, then threads. Dropping [`Running`] stops nothing.

pub mod access;
pub mod api;
pub mod assignment;
pub mod check;
pub mod height;
pub mod log;
pub mod metrics;
pub mod options;
pub mod pool;
pub mod published;
pub mod reader;
pub mod scheduler;
pub mod sequencer;
pub mod service;
pub mod settle;

pub use options::{Arguments, Options, Program};
pub use service::{Error, Running, Service};

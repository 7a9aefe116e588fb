//! The crank: a result → signed items → scheduled → the next result, until nothing is left (spec 04 §10).
//!
//! ```text
//!            client                     result
//!              │ Confirm                  │
//!              ▼                          ▼
//!   accepted ─► Pull ──► Message ─ sign ─► Send ──► Pull …
//!                  ├───► Spawn ── sign ─► Send ──► Notice ─ sign ─► Send ──► Pull (notice), Pull (boot)
//!                  └───► Assign ──────────────────► Pull …
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`task`] | the units of durable work |
//! | [`descent`] | which push something belongs to |
//! | [`budget`] | what one push may ask for at most |
//! | [`outgoing`] | reading a result's outbox entries |
//! | [`compose`] | tags and fields of what is signed |
//! | [`step`](mod@step) | what follows from what, pure |
//! | [`dispatch`] | which task may run now, pure |
//! | [`postings`] | what is on its way into whose log |
//! | [`fair`] | turns between pushes |
//! | [`pace`] | how much one process may ask for in a second |
//! | [`driver`] | the shell: starts workers, stores stages |
//! | [`world`] | the shell: performs effects |
//!
//! Delivery is at least once: a task leaves the outbox only together with what follows from it, and signed bytes are
//! durable before they are sent, so a repetition sends the same bytes and the scheduler recognises them.

pub mod budget;
pub mod compose;
pub mod descent;
pub mod dispatch;
pub mod driver;
pub mod fair;
pub mod outgoing;
pub mod pace;
pub mod postings;
pub mod step;
pub mod task;
pub mod world;

pub use step::{Effect, Fault, Follow, Next, Outcome, Policy, Scheduler, step};
pub use task::{Task, TaskId, Work};

//! Write a process of an ao network in Rust.
//!
//! A process is a value that lives in Wasm memory between messages and a set of handlers, one for each `Action`. It has no
//! clock, no randomness and no input but the messages of its log, so every compute unit that replays the log arrives at
//! the same value. What a handler sends is collected and leaves the process when the handler returns `Ok`; when it returns
//! an [`Error`], the message is recorded as failed, nothing is sent, and the host puts memory back to what it was.
//!
//! ```
//! use holon_process::{Context, Error, Handlers, Outgoing, Process};
//!
//! struct Greeter {
//!     greeted: u64,
//! }
//!
//! impl Process for Greeter {
//!     fn boot(_: &mut Context<'_>) -> Result<Self, Error> {
//!         Ok(Self { greeted: 0 })
//!     }
//!
//!     fn handlers(handlers: &mut Handlers<Self>) {
//!         handlers.on("Greet", Self::greet);
//!     }
//! }
//!
//! impl Greeter {
//!     fn greet(&mut self, ctx: &mut Context<'_>) -> Result<(), Error> {
//!         let name = ctx.message().data_str().ok_or_else(|| Error::new("put a name into the message's data"))?;
//!         let text = format!("Hello {name}!");
//!         self.greeted += 1;
//!         ctx.reply(Outgoing::new().action("Greeting").data(text.as_str()))?;
//!         ctx.output(text);
//!         Ok(())
//!     }
//! }
//!
//! holon_process::export!(Greeter);
//!
//! let mut process = holon_process::testing::Native::<Greeter>::new();
//! let result = process.send("Greet", "Ada");
//! assert_eq!(result.output, "Hello Ada!");
//! assert_eq!(result.messages[0].tag("Action"), Some("Greeting"));
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`message`], [`caller`] | what a process is told: the message, its environment, who it is from |
//! | [`outbox`] | what a process says: messages, spawns, assignments |
//! | [`handlers`], [`context`] | which function answers which action, and what it works with |
//! | [`quantity`], [`random`] | exact quantities; numbers that are random and still the same everywhere |
//! | [`runtime`] | one message in, one result out, as JSON text |
//! | [`testing`] | the same natively, without Wasm: one process, or a network of them |
//! | [`guest`] | the exports of a compiled process (module format `wasm32-unknown-unknown-holon1`) |

pub mod caller;
pub mod context;
pub mod error;
pub mod guest;
pub mod handlers;
mod json;
pub mod message;
pub mod outbox;
pub mod quantity;
pub mod random;
pub mod runtime;
pub mod testing;
mod typed;

pub use caller::Caller;
pub use context::Context;
pub use error::{Error, excerpt};
pub use handlers::{Handlers, Process};
pub use message::{Environment, Message, Tag};
pub use outbox::{Assign, Outgoing, Spawn};
pub use quantity::Quantity;
pub use random::Random;
pub use serde_json::{Value, json};

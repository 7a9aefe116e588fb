//! A typed async client of an ao network.
//!
//! A network is a handful of units that meet over HTTP. A client signs messages and gives them to a *messenger unit*;
//! a *scheduler unit* gives each one a place in its process's log; a *compute unit* replays the log through the
//! process's Wasm module and tells what came out. [`Network`] knows where the units are and has one method for each
//! thing that can be asked of them.
//!
//! # First steps
//!
//! `holon up` starts a network on this machine and prints its URLs. Then:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use holon_client::{Network, outgoing};
//! use holon_protocol::{ProcessId, Signer};
//!
//! let network = Network::builder()
//!     .mu_url("http://127.0.0.1:4002".parse()?)
//!     .cu_url("http://127.0.0.1:4004".parse()?)
//!     .gateway_url("http://127.0.0.1:4000".parse()?)
//!     .build()?;
//! let wallet = Signer::generate_ed25519()?;
//! let counter: ProcessId = "the-43-characters-that-holon-up-printed...".parse()?;
//!
//! // Once `send` returns, the message has its place in the log and is never lost.
//! let message = network.message(counter).action("Increment").data("2").send(&wallet).await?;
//! // The result is there when the log has been evaluated up to it.
//! let result = network.result(counter, message).await?;
//! for reply in outgoing(&result) {
//!     println!("to {}: {}", reply.target, reply.data);
//! }
//!
//! // A dry run asks without leaving a trace: no signature, no log entry, no waiting in line.
//! let now = network.dry_run(counter).action("Get").send().await?;
//! # Ok(()) }
//! ```
//!
//! # A process of one's own
//!
//! A process is a module plus a scheduler. Publish the module once, spawn as often as needed. The *authority* is the
//! messenger unit whose pushes the process believes; without it, messages from other processes are refused.
//!
//! ```no_run
//! # async fn example(network: holon_client::Network, wallet: holon_protocol::Signer) -> Result<(), Box<dyn std::error::Error>> {
//! # let (scheduler, messenger) = (wallet.address(), wallet.address());
//! let module = network.publish(std::fs::read("counter.wasm")?).memory_limit("64-mb").send(&wallet).await?;
//! let process = network
//!     .spawn(module, scheduler)
//!     .authority(messenger)
//!     .tag("Name", "my counter")
//!     .cron("10-seconds".parse()?, [holon_protocol::Tag::new("Action", "Tick")])
//!     .send(&wallet)
//!     .await?;
//! network.monitor(process, &wallet).await?;
//! # Ok(()) }
//! ```
//!
//! Modules of the published `aos` speak Lua: [`Network::eval`] sends a line, [`console`] reads the answer.
//!
//! ```no_run
//! # async fn example(network: holon_client::Network, wallet: holon_protocol::Signer, process: holon_protocol::ProcessId) -> Result<(), Box<dyn std::error::Error>> {
//! use holon_client::console;
//!
//! let evaluated = network.eval(process, "1 + 1", &wallet).await?;
//! match console::error(&evaluated.result) {
//!     Some(error) => eprintln!("{error}"),
//!     None => println!("{}", console::output(&evaluated.result)), // 2
//! }
//! # Ok(()) }
//! ```
//!
//! # Following results
//!
//! Every result of a process stands in a list. A page ends with a cursor; keep it and continue from there later, or
//! let [`Results::stream`] walk the pages.
//!
//! ```no_run
//! # async fn example(network: holon_client::Network, process: holon_protocol::ProcessId) -> Result<(), Box<dyn std::error::Error>> {
//! use futures_util::TryStreamExt;
//! use holon_client::Sort;
//!
//! let mut newest_first = Box::pin(network.results(process).sort(Sort::Descending).limit(100).stream());
//! while let Some(edge) = newest_first.try_next().await? {
//!     println!("{}: {}", edge.cursor, edge.node.output);
//! }
//! # Ok(()) }
//! ```
//!
//! Or be told of each result when it is there:
//!
//! ```no_run
//! # async fn example(network: holon_client::Network, process: holon_protocol::ProcessId) -> Result<(), Box<dyn std::error::Error>> {
//! use futures_util::TryStreamExt;
//! use holon_client::live::Live;
//!
//! let mut results = Box::pin(network.follow(process).stream());
//! while let Some(live) = results.try_next().await? {
//!     if let Live::Result(live) = live {
//!         println!("message {}: {}", live.nonce, live.result.output);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! # What can go wrong
//!
//! Every call gives one [`Error`]: which [`Unit`] it came from, the status if the unit answered, and whether trying
//! again can help. Nothing signed is sent to another place than the one configured, and nothing is retried unless
//! [`NetworkBuilder::retry`] says so: then reads and signed items are, with growing pauses. To decide about it yourself, sign first
//! and send the same item again: it counts once.
//!
//! ```no_run
//! # async fn example(network: holon_client::Network, wallet: holon_protocol::Signer, process: holon_protocol::ProcessId) -> Result<(), holon_client::Error> {
//! let item = network.message(process).action("Pay").tag("Quantity", "5").sign(&wallet).await?;
//! while let Err(error) = network.post(&item).await {
//!     if !error.retryable() {
//!         return Err(error);
//!     }
//!     tokio::time::sleep(std::time::Duration::from_secs(1)).await;
//! }
//! # Ok(()) }
//! ```
//!
//! A process that *reports* an error is not an [`Error`]: its result says so ([`console::error`]), and its state is what
//! it was before the message.

pub mod assign;
pub mod console;
pub mod dry_run;
pub mod error;
mod evaluation;
mod http;
pub mod live;
pub mod location;
pub mod message;
pub mod module;
mod monitor;
pub mod network;
mod parked;
pub mod results;
pub mod retry;
pub mod scheduler;
pub mod spawn;
mod sse;
pub mod state;
pub mod tags;
mod trace;

pub use console::Evaluated;
pub use error::{Error, Unit};
pub use evaluation::{Outgoing, outgoing};
pub use http::MAX_ANSWER_BYTES;
pub use network::{Network, NetworkBuilder};
pub use parked::Parked;
pub use results::{Results, Sort};
pub use retry::Retry;
pub use scheduler::Scheduler;
pub use spawn::CronInterval;
pub use state::{MemoryImage, Standing};
pub use trace::{DeadLetter, Trace, TraceNode, TraceResult};

/// The README, whose examples must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

//! A whole holon network inside a test: a local Arweave, a scheduler, a compute unit and a messenger, the same code that runs
//! on servers, started within a fraction of a second, with time that passes when the test says so.
//!
//! ```
//! use std::time::Duration;
//! use holon_devnet::Network;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), holon_devnet::Error> {
//! let network = Network::start().await?;
//!
//! // A process of a module written with `holon-process`, or of any other.
//! # let counter_wasm = std::fs::read("../../wasm-processes/counter/counter.wasm").unwrap();
//! let counter = network.deploy(counter_wasm).tag("Name", "counter").await?;
//!
//! let answer = network.send(counter).action("Increment").data("2").result().await?;
//! assert_eq!(answer.output, "2");
//! assert_eq!(network.dry_run(counter).action("Get").await?.output, "2");
//!
//! // What it must not do can be tested as well as what it does.
//! let answer = network.send(counter).action("Increment").data("many").result().await?;
//! assert!(answer.error.unwrap().contains("whole number"));
//! # network.stop().await }
//! ```
//!
//! # Time
//!
//! Time stands still at [`BEGINNING`] until [`Network::advance`] moves it, and blocks are made by [`Network::mine`]: a test of
//! what happens in a month takes no longer than any other, and gives the same timestamps every time. Whatever falls due has
//! happened when these calls return.
//!
//! ```
//! # use std::time::Duration;
//! # use holon_devnet::Network;
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let network = Network::start().await?;
//! # let ticker_wasm = std::fs::read("../../wasm-processes/ticker/ticker.wasm")?;
//! let ticker = network.deploy(ticker_wasm).cron("10-minutes".parse()?, [("Action", "Tick")]).await?;
//! network.advance(Duration::from_secs(3601)).await?; // what is due at this very moment comes with the next step
//! assert_eq!(network.dry_run(ticker).action("Status").await?.result.output["Ticks"], 6);
//! # network.stop().await?; Ok(()) }
//! ```
//!
//! What messages cause is pushed by the messenger, as on a real network: it takes a moment, and [`Network::idle`] waits for it.
//!
//! # Failures
//!
//! A dApp should survive that a unit is away. [`Network::down`] takes one away, [`Network::up`] brings it back at its old address with its
//! data.
//!
//! ```
//! # use holon_devnet::Network;
//! # #[tokio::main]
//! # async fn main() -> Result<(), holon_devnet::Error> {
//! # let network = Network::start().await?;
//! # let counter = network.deploy(std::fs::read("../../wasm-processes/counter/counter.wasm").unwrap()).await?;
//! use holon_devnet::Unit;
//!
//! network.down(Unit::Compute).await?;
//! let message = network.send(counter).action("Increment").await?; // scheduled all the same
//! assert!(network.result(counter, message).await.is_err());
//! network.up(Unit::Compute).await?;
//! assert_eq!(network.result(counter, message).await?.output, "1");
//! # network.stop().await }
//! ```
//!
//! [`Network::kill`] does not wait for anything: the unit ends as in a crash, in the middle of what it does. [`Network::power_cut`] does so to all
//! of them. What was acknowledged is there afterwards, once.
//!
//! # Other clients
//!
//! The units listen on free ports of the loopback interface. [`Network::urls`] and [`Network::environment`] say where, for `aoconnect` or
//! a browser; [`Network::client`] is the whole [`holon_client`]. [`Builder::real_time`] lets time pass as it does outside.
//!
//! # Many at once
//!
//! A network knows nothing of others: no fixed port, no fixed folder, no global state. Tests run in parallel, a hundred of them
//! in one program if need be. They share threads for waiting and compiled modules; data are in a temporary folder that is gone
//! with the network.

mod answer;
mod error;
mod network;
mod requests;
mod runtime;
pub mod units;
mod wallets;

pub use answer::Answer;
pub use error::Error;
pub use holon_client::{CronInterval, Outgoing};
pub use holon_protocol::{BlockHeight, MessageId, ModuleId, ProcessId, Signer, Timestamp};
pub use network::{BEGINNING, Builder, Network};
pub use requests::{Doing, DryRun, Send, Spawn};
pub use units::{Unit, Urls};

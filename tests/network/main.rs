//! Whole networks, driven the way their users do: by the published client, by the recorded traffic of older ones, by the
//! command line and by browsers, and through power cuts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod aos_console;
mod arweave_js;
mod assigned;
mod browser;
mod command_line;
mod console;
mod described_routes;
mod ended_units;
mod explorer;
mod killed_units;
mod official_client;
mod power_cut;
mod recorded_traffic;
mod rust_processes;
mod shared_outbox;
mod speaking;
mod storm;

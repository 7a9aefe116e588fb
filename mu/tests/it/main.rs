//! The messenger unit: its cores by exact examples and under simulation, its store by a conformance suite, its routes
//! over HTTP against scripted peers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod compose;
mod cron;
mod dispatch;
mod http;
mod locating;
mod measured;
mod memory;
mod network;
mod odd_results;
mod one_trace;
mod outbox;
mod outgoing;
mod peer;
mod pushing;
mod real;
mod real_time;
mod repeats;
mod running;
mod security;
mod seeing;
mod shared_service;
mod sharing;
mod simulation;
mod storms;
mod waiting;

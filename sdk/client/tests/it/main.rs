//! What this client puts on the wire and how it reads answers. The other side is a recording server, because what is
//! tested here is the traffic itself (spec 07 §3); whole networks are tested with the command line and in `tests/`.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod recorder;
mod results;
mod retries;
mod traffic;

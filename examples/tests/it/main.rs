//! The examples do what they say.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod chat;
mod live_results;
mod price_board;
mod token_swap;

//! The scheduler over its HTTP surface: real store, real gateway and bundler (`holon-weave`), real signatures.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod access;
mod assign;
mod bodies;
mod durability;
mod events;
mod network;
mod order;
mod pages;
mod refusals;
mod restart;
mod settle;
mod shapes;
mod surface;

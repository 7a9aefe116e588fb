//! The compute unit.

pub mod machine;

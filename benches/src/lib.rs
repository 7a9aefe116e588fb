//! Measured comparisons. The measurements are `benches` targets; what they have in common is here.
//!
//! `cargo xtask bench eval` measures one `Eval` message in the bare guest, in the compute unit and in the published loader.

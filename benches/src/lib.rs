//! Measured comparisons. The measurements are `benches` targets; what they have in common is here.
//!
//! | command | measures |
//! |---|---|
//! | `cargo xtask bench eval` | one message: in the bare guest, the compute unit, the published loader |
//! | `cargo xtask bench capacity` | 1 to 10 000 processes: spawning, messages, memory of those that rest |
//! | `cargo xtask bench dry-run` | dry runs beside a stream of messages |
//! | `cargo xtask bench messenger` | one hop, chains and fans of pushes, crons of many processes |

pub mod driver;
pub mod line;
pub mod memory;
pub mod unit;

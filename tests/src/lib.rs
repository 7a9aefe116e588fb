//! What the end-to-end suites stand on: the `holon` command as a child process, and the published npm packages.
//!
//! | module | what it holds |
//! |---|---|
//! | [`command`] | where the `holon` command is |
//! | [`network`] | a whole network that ends with the test |
//! | [`units`] | a network of separate programs that can be ended one by one |
//! | [`peers`] | the npm packages of `tests/node`, installed when they are not; a PostgreSQL server |
//! | [`chromium`] | a browser for tests of pages |
//! | [`wait`] | waiting for a condition with a deadline |

pub mod command;
pub mod network;
pub mod units;
pub mod wait;

pub use holon_peers as peers;
pub use holon_peers::chromium;

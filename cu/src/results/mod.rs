//! Results of what has been evaluated: a store that answers without evaluating.
//!
//! It holds nothing that a replay of the log does not give again, so a store that is damaged is thrown away. Everything
//! of one process written together becomes visible together, and records are found in the order of the log: by time,
//! then nonce, then cron.
//!
//! | key | value |
//! |---|---|
//! | `r` process time ordinate cron | [`Record`] |
//! | `c` process time ordinate cron | nothing: lists the cron results |
//! | `m` process message or assignment id | key of the record, from the time on |
//! | `i` process identity | epoch and key of the message with it that was evaluated first |
//! | `e` process identity epoch | nonce of the first in another epoch than that |
//! | `h` process | clock and nonce up to which the identities of all messages are known |
//! | `b` process | what was found when the process was compared with how its log begins |

mod batch;
mod cursor;
mod layout;
mod record;
mod store;
mod watch;

pub use batch::Batch;
pub use cursor::{Bound, Cursor, Sort};
pub use record::{Key, Record};
pub use store::{Evaluated, Known, Listing, Page, Results, StoreError};

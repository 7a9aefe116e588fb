//! Waiting for something to become true, with a deadline and a reason to give up.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Between two looks.
const STEP: Duration = Duration::from_millis(20);

/// Asks until there is a value, and fails with what it was waiting for and the last refusal when the deadline passes.
///
/// # Errors
/// The deadline passed.
pub fn until<T>(what: &str, deadline: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + deadline;
    loop {
        let refused = match ask() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= end {
            match refused {
                Some(error) => bail!("waited {deadline:?} for {what}; at last: {error:#}"),
                None => bail!("waited {deadline:?} for {what}"),
            }
        }
        thread::sleep(STEP);
    }
}

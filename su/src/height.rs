//! The L1 height that assignments carry: asked from the gateway at start and every few seconds (spec 02 §4.3, §10).

use std::time::Duration;

use holon_arweave::Gateway;
use holon_protocol::BlockHeight;
use tokio_util::sync::CancellationToken;

use crate::scheduler::Scheduler;

/// How often the height is asked unless told otherwise.
pub const INTERVAL: Duration = Duration::from_secs(5);
/// The same where the gateway is one's own: a block is known soon after it was mined.
pub const LOCAL_INTERVAL: Duration = Duration::from_millis(250);
/// Attempts at start before the scheduler refuses to start.
pub const START_ATTEMPTS: u32 = 5;
/// Pause between them.
pub const START_PAUSE: Duration = Duration::from_secs(1);

/// The height at start. Without it no assignment could be made.
pub async fn first(gateway: &Gateway) -> Result<BlockHeight, holon_arweave::Error> {
    let mut attempt = 1;
    loop {
        match gateway.info().await {
            Ok(info) => return Ok(info.height),
            Err(error) if attempt >= START_ATTEMPTS => return Err(error),
            Err(error) => tracing::warn!(%error, attempt, "the gateway does not tell the L1 height yet"),
        }
        attempt += 1;
        tokio::time::sleep(START_PAUSE).await;
    }
}

/// Keeps the scheduler's height fresh until `stop`. When the gateway does not answer, the last one stays.
pub async fn follow(gateway: Gateway, scheduler: Scheduler, interval: Duration, stop: CancellationToken) {
    let follow = async move {
        loop {
            tokio::time::sleep(interval).await;
            match gateway.info().await {
                Ok(info) => scheduler.set_height(info.height),
                Err(error) => tracing::warn!(%error, "the L1 height could not be refreshed"),
            }
        }
    };
    stop.run_until_cancelled_owned(follow).await;
}

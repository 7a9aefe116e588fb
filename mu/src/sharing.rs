//! Several messengers with one outbox: what becomes, or ceases to be, this one's to do.
//!
//! Concurrency: one task of the service takes one [`Shift`] after the other and tells the crank and cron. Shares that
//! others shall have are waited for by a task each, so that they hold up nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holon_unit::tasks::Tasks;

use crate::crank::driver::Driver;
use crate::cron::Cron;
use crate::outbox::{Load, Outbox, OutboxError, Share, Shift};

/// Wait before the outbox is asked again after it failed.
const RETRY: Duration = Duration::from_millis(500);

/// Follows the shifts of a shared outbox until the service stops. Ends at once with one that is not shared.
pub async fn follow(outbox: Arc<dyn Outbox>, driver: Driver, cron: Cron, tasks: Tasks) {
    let stopping = tasks.stopping();
    let follow = async {
        let Some(shared) = outbox.shared() else { return };
        loop {
            let step = async {
                let shift = shared.shift().await?;
                let shift = match shift {
                    Shift::Gained { shares, load } => {
                        tracing::info!(shares = shares.len(), tasks = load.tasks.len(), "taking shares over");
                        driver.welcome(load);
                        Shift::Gained { shares, load: Load::default() }
                    }
                    Shift::Arrived(load) => {
                        driver.welcome(load.clone());
                        Shift::Arrived(load)
                    }
                    Shift::Monitors(monitored) => {
                        cron.monitor_all(&monitored);
                        return Ok(());
                    }
                    Shift::Lost(shares) => {
                        tracing::info!(shares = shares.len(), "another messenger goes on with these shares");
                        let_go(&driver, &cron, &shares);
                        Shift::Lost(shares)
                    }
                    Shift::Surplus(shares) => {
                        tracing::info!(shares = shares.len(), "leaving shares to other messengers");
                        let_go(&driver, &cron, &shares);
                        let (outbox, driver, stopping) = (Arc::clone(&outbox), driver.clone(), tasks.stopping());
                        tasks.spawn("share", async move {
                            stopping.run_until_cancelled(hand_over(outbox, driver, shares)).await;
                        });
                        return Ok(());
                    }
                };
                shared.applied(shift).await
            };
            if let Err(error) = step.await {
                let error: OutboxError = error;
                tracing::warn!(%error, "the outbox cannot tell what is to be done; asking again");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    stopping.run_until_cancelled(follow).await;
}

fn let_go(driver: &Driver, cron: &Cron, shares: &BTreeSet<Share>) {
    driver.let_go(shares);
    cron.let_go(shares);
}

/// Hands shares over once nothing of them is being sent.
async fn hand_over(outbox: Arc<dyn Outbox>, driver: Driver, shares: BTreeSet<Share>) {
    driver.sent(&shares).await;
    let Some(shared) = outbox.shared() else { return };
    while let Err(error) = shared.applied(Shift::Surplus(shares.clone())).await {
        tracing::warn!(%error, "shares cannot be handed over yet");
        tokio::time::sleep(RETRY).await;
    }
}

//! Telling everybody where a scheduler is: a record on Arweave, signed by the scheduler's own wallet (spec 02 §9.1).

use std::time::Duration;

use holon_protocol::{DataItem, ItemId, Signer};
use url::Url;

use crate::error::Error;
use crate::http::check_base;
use crate::network::Network;

/// How long others may remember a location unless it says otherwise: an hour.
pub const DEFAULT_TIME_TO_LIVE: Duration = Duration::from_secs(3600);

/// A location to be published; see [`Network::locate_scheduler`].
#[derive(Debug, Clone)]
#[must_use = "a location is only published by `send`"]
pub struct LocateScheduler {
    network: Network,
    url: Url,
    time_to_live: Duration,
}

impl Network {
    /// Starts telling where a scheduler is. The wallet that signs it must be the scheduler's: processes name it in their tag
    /// `Scheduler`, and its newest location is where clients and units look for them.
    pub fn locate_scheduler(&self, url: Url) -> LocateScheduler {
        LocateScheduler { network: self.clone(), url, time_to_live: DEFAULT_TIME_TO_LIVE }
    }
}

impl LocateScheduler {
    /// How long others may remember it, in whole milliseconds; [`DEFAULT_TIME_TO_LIVE`] unless set. After a move, requests go to the old
    /// address for that long.
    pub fn time_to_live(mut self, time: Duration) -> Self {
        self.time_to_live = time;
        self
    }

    /// Signs without uploading.
    ///
    /// # Errors
    /// [`Error::Url`] for a URL that is not `http` or `https`.
    pub async fn sign(self, scheduler: &Signer) -> Result<DataItem, Error> {
        let url = check_base(self.url)?;
        // Clients append paths to it.
        let url = url.as_str().trim_end_matches('/').to_owned();
        let item = DataItem::builder()
            .tag("Data-Protocol", "ao")
            .tag("Variant", crate::tags::VARIANT)
            .tag("Type", "Scheduler-Location")
            .tag("Url", url.clone())
            .tag("Time-To-Live", self.time_to_live.as_millis().to_string())
            .tag("Content-Type", "text/plain")
            .data(url);
        self.network.sign(item, scheduler).await
    }

    /// Signs and uploads. Returns the id of the record; it counts once the gateway has indexed it.
    ///
    /// # Errors
    /// As [`Self::sign`], and [`Error::Upload`] if the uploader does not take it.
    pub async fn send(self, scheduler: &Signer) -> Result<ItemId, Error> {
        let network = self.network.clone();
        let item = self.sign(scheduler).await?;
        network.upload(&item).await?;
        Ok(item.id())
    }
}

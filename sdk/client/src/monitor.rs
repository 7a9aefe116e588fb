//! Asking the messenger unit to keep a process's cron messages going.

use holon_protocol::{ItemId, ProcessId, Signer};
use reqwest::Method;

use crate::error::{Error, Unit};
use crate::http::{Body, join};
use crate::message::item;
use crate::network::Network;

impl Network {
    /// Asks the messenger unit to watch `process` and push what its cron messages emit.
    pub async fn monitor(&self, process: ProcessId, signer: &Signer) -> Result<ItemId, Error> {
        self.watch(Method::POST, process, signer).await
    }

    /// Ends what [`Self::monitor`] began.
    pub async fn unmonitor(&self, process: ProcessId, signer: &Signer) -> Result<ItemId, Error> {
        self.watch(Method::DELETE, process, signer).await
    }

    /// The item is an authentication token: target, one space, no tags (spec 07 §3.8). The answer is not JSON.
    async fn watch(&self, method: Method, process: ProcessId, signer: &Signer) -> Result<ItemId, Error> {
        let parts = self.parts();
        let url = join(self.mu_url()?, &["monitor", &process.to_string()]);
        let token =
            self.sign(item(Default::default(), Default::default()).target(ItemId::from(process)), signer).await?;
        let body = Body::Item(token.raw().clone());
        parts.http.write(Unit::Messenger, method, url, body, parts.timeout).await?;
        Ok(token.id())
    }
}

//! Two tokens and a pool between them, and what people do there.

use anyhow::{Context, Result};
use holon_devnet::{Network, ProcessId, Signer};

static TOKEN: &[u8] = include_bytes!("../../wasm-processes/token/token.wasm");
static SWAP: &[u8] = include_bytes!("../../wasm-processes/swap/swap.wasm");

/// What the pool begins with.
pub const POOL: (u128, u128) = (1_000_000, 4_000_000);

/// A market.
#[derive(Debug, Clone, Copy)]
pub struct Market {
    /// One token.
    pub gold: ProcessId,
    /// The other one.
    pub silver: ProcessId,
    /// What exchanges them.
    pub pool: ProcessId,
}

impl Market {
    /// Deploys two tokens and a pool, and fills the pool.
    ///
    /// # Errors
    /// When the network refuses something.
    pub async fn open(network: &Network) -> Result<Self> {
        let token = network.publish(TOKEN).await?;
        let new = |name: &str, supply: u128| network.spawn(token).tag("Name", name).tag("Initial-Supply", supply);
        let gold = new("Gold", 10 * POOL.0).await?;
        let silver = new("Silver", 10 * POOL.1).await?;
        let pool = network.deploy(SWAP).tag("Token-A", gold).tag("Token-B", silver).await?;
        let market = Self { gold, silver, pool };
        for (token, quantity) in [(gold, POOL.0), (silver, POOL.1)] {
            let fill = network.send(token).action("Transfer").tag("Recipient", pool).tag("Quantity", quantity);
            fill.tag("X-Action", "Provide").result().await?.ok()?;
        }
        // The tokens' notices have to reach the pool.
        network.idle().await?;
        Ok(market)
    }

    /// What an address has of a token.
    ///
    /// # Errors
    /// When the token cannot be asked.
    pub async fn balance(&self, network: &Network, token: ProcessId, of: impl ToString) -> Result<u128> {
        let answer = network.dry_run(token).action("Balance").tag("Recipient", of).await?.ok()?;
        answer.output.parse().context("a balance is a number")
    }

    /// What the pool has, as it says itself.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn reserves(&self, network: &Network) -> Result<(u128, u128)> {
        let info = network.dry_run(self.pool).action("Info").await?.ok()?.result.output;
        let number =
            |name: &str| info[name].as_str().unwrap_or_default().parse::<u128>().context("a reserve is a number");
        Ok((number("ReserveA")?, number("ReserveB")?))
    }

    /// How much a quantity of a token buys now.
    ///
    /// # Errors
    /// When the pool has no answer.
    pub async fn quote(&self, network: &Network, token: ProcessId, quantity: u128) -> Result<u128> {
        let ask = network.dry_run(self.pool).action("Quote").tag("Token", token).tag("Quantity", quantity);
        ask.await?.ok()?.output.parse().context("a quote is a number")
    }

    /// Pays a token into the pool for at least `minimum` of the other one: one message, and four more that come out of it. When
    /// this returns, the trade is done or the money is back.
    ///
    /// # Errors
    /// When the token refuses to pay.
    pub async fn swap(
        &self,
        network: &Network,
        who: &Signer,
        token: ProcessId,
        quantity: u128,
        minimum: u128,
    ) -> Result<()> {
        let pay = network.send(token).action("Transfer").tag("Recipient", self.pool).tag("Quantity", quantity);
        let paid = pay.tag("X-Action", "Swap").tag("X-Minimum", minimum).signed_by(who).result().await?.ok()?;
        if let Some(refused) = paid.message("Transfer-Error") {
            anyhow::bail!("the token refused: {}", refused.tags.get("Error").unwrap_or_default());
        }
        Ok(network.idle().await?)
    }
}

//! Runs the ledger: of a token on a network of its own, where somebody pays somebody now and then, or of one that exists.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use holon_devnet::Network;
use holon_examples::live_results::{Ledger, Transfer};

static TOKEN: &[u8] = include_bytes!("../../wasm-processes/token/token.wasm");
/// Between two payments.
const PAUSE: Duration = Duration::from_millis(800);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => on_its_own().await,
        [token, file] => {
            let cu_url = std::env::var("CU_URL").context("set CU_URL, for example with eval \"$(holon env)\"")?;
            let client = holon_client::Network::builder().cu_url(cu_url.parse()?).build()?;
            Ledger::open(file)?.follow(&client, token.parse()?, show).await
        }
        _ => bail!("usage: live-results [<token process> <ledger file>]"),
    }
}

async fn on_its_own() -> Result<()> {
    println!("starting a network with a token …");
    let network = Network::builder().real_time().start().await?;
    let token = network.deploy(TOKEN).tag("Name", "Points").tag("Initial-Supply", 1_000_000).await?;
    let path = std::env::temp_dir().join(format!("ledger-{token}.json"));
    let mut ledger = Ledger::open(&path)?;
    println!("token   {token}\nledger  {}\n\nCtrl-C ends it\n", path.display());
    let payments = async {
        for number in 1_u64.. {
            let recipient = ["ada", "bob", "eve"][(number % 3) as usize];
            let quantity = number * 7 % 100 + 1;
            let payment = network.send(token).action("Transfer").tag("Recipient", recipient).tag("Quantity", quantity);
            payment.await?;
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::Ok(())
    };
    tokio::select! {
        followed = ledger.follow(network.client(), token, show) => followed?,
        paid = payments => paid?,
        _ = tokio::signal::ctrl_c() => {}
    }
    println!("\n{} transfers", ledger.count());
    for who in ["ada", "bob", "eve"] {
        println!("  {who} received {}", ledger.received(who));
    }
    Ok(network.stop().await?)
}

fn show(transfer: &Transfer) {
    let short = |address: &str| address.chars().take(8).collect::<String>();
    println!("{} → {}  {:>6}", short(&transfer.sender), short(&transfer.recipient), transfer.quantity);
}

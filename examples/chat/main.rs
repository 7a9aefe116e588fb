//! Serves the chat: of a room on a network of its own, or of one that exists.

use anyhow::{Context, Result, bail};
use holon_devnet::Network;
use holon_examples::chat::{About, serve};
use holon_unit::server;

/// Where the page is, unless somebody else is there.
const PORT: u16 = 4010;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let (about, network) = match arguments.as_slice() {
        [] => {
            println!("starting a network with a chat room …");
            let network = Network::builder().real_time().start().await?;
            (About::new_room(&network, "lobby").await?, Some(network))
        }
        [room] => {
            let url = |name: &str| std::env::var(name).with_context(|| format!("set {name}: eval \"$(holon env)\""));
            let (mu_url, cu_url, gateway_url) = (url("MU_URL")?, url("CU_URL")?, url("GATEWAY_URL")?);
            (About { name: "chat".to_owned(), room: room.parse()?, mu_url, cu_url, gateway_url }, None)
        }
        _ => bail!("usage: chat [<room process>]"),
    };
    let room = about.room;
    let listener = server::bind(("127.0.0.1", PORT)).or_else(|_| server::bind(("127.0.0.1", 0)))?;
    let site = serve(listener, about)?;
    let url = site.url();
    println!(
        "room  {room}\n\nopen  {url}\nand   {url}/?as=friend   for somebody else in the same browser\n\nCtrl-C ends it"
    );
    tokio::signal::ctrl_c().await?;
    site.stop().await?;
    match network {
        Some(network) => Ok(network.stop().await?),
        None => Ok(()),
    }
}

//! Two people talk in the chat, in a headless Chromium.

use std::process::Stdio;
use std::time::Duration;

use holon_devnet::{Network, Unit};
use holon_examples::chat::{About, serve};
use holon_peers::{chromium, script};
use holon_unit::server;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// Longest time the browser may go without a word.
const SILENCE_LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn two_people_talk_in_a_browser_whatever_goes_away_meanwhile() {
    let network = Network::builder().real_time().start().await.unwrap();
    let about = About::new_room(&network, "lobby").await.unwrap();
    let site = serve(server::bind("127.0.0.1:0").unwrap(), about).unwrap();

    let mut script = Command::from(script("chat.mjs").unwrap());
    script.env("CHROMIUM", chromium::chromium().unwrap()).env("CHAT", site.url());
    let mut people = script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut answers = people.stdin.take().unwrap();
    let mut said = BufReader::new(people.stdout.take().unwrap()).lines();
    while let Some(line) = tokio::time::timeout(SILENCE_LIMIT, said.next_line()).await.expect("silence").unwrap() {
        // A test of Node marks what a program says as a comment of the test.
        let Some((_, order)) = line.split_once("please ") else {
            println!("{line}");
            continue;
        };
        match order {
            "take the messenger away" => network.down(Unit::Messenger).await,
            "bring the messenger back" => network.up(Unit::Messenger).await,
            "take the compute unit away" => network.down(Unit::Compute).await,
            "bring the compute unit back" => network.up(Unit::Compute).await,
            other => panic!("nobody here can {other}"),
        }
        .unwrap();
        answers.write_all(b"done\n").await.unwrap();
    }
    assert!(people.wait().await.unwrap().success(), "the people in the chat are not content; see above");
    site.stop().await.unwrap();
    network.stop().await.unwrap();
}

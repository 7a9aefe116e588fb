//! One trace through the real units: what each of them logs of a message is found by the same words.

use std::io::Write;
use std::sync::{Arc, Mutex};

use holon_unit::trace_context::MESSAGES;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::real::{Units, until};

static RELAY: &[u8] = include_bytes!("../../../wasm-processes/relay/relay.wasm");

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    /// The lines with all of these words.
    fn grep(&self, words: &[&str]) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| words.iter().all(|word| line.contains(word))).map(str::to_owned).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_word_finds_a_message_in_the_logs_of_all_units() {
    let log = Log::default();
    let filter = EnvFilter::new(format!("{MESSAGES}=debug"));
    let format = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log.clone());
    tracing::subscriber::set_global_default(format.finish()).unwrap();

    let units = Units::start().await;
    let (mu, client) = units.messenger().await;
    units.locate(&client).await;
    let module =
        client.publish(RELAY).memory_limit("16-mb").compute_limit(1_000_000_000).send(&units.user).await.unwrap();
    let spawn = |name: &str| {
        let spawn = client.spawn(module, units.scheduler.address()).tag("Name", name);
        spawn.authority(units.messenger.address()).authority(units.user.address())
    };
    let first = spawn("first").send(&units.user).await.unwrap();
    let second = spawn("second").send(&units.user).await.unwrap();
    client.message(first).action("Connect").data(second.to_string()).send(&units.user).await.unwrap();
    let token = client.message(first).action("Token").tag("Hops", "1").data("token");
    let message = token.send(&units.user).await.unwrap().to_string();
    until("the token arrives", async || (!units.received(second, first).await.is_empty()).then_some(())).await;
    crate::network::idle(&mu).await;

    // The message, with its process and its place.
    let first = first.to_string();
    for unit in ["mu", "su", "cu"] {
        let lines =
            log.grep(&[&format!("unit=\"{unit}\""), &format!("message_id={message}"), &format!("process={first}")]);
        assert!(!lines.is_empty(), "nothing in the log of {unit}");
        assert!(unit == "mu" || lines.iter().any(|line| line.contains("nonce=2")), "{unit}: {lines:?}");
    }
    // The trace finds what followed from it, too.
    let lines = log.grep(&[&format!("message_id={message}"), "trace="]);
    let trace = lines[0].split("trace=").nth(1).unwrap()[..32].to_owned();
    let second = second.to_string();
    for unit in ["mu", "su", "cu"] {
        let unit = format!("unit=\"{unit}\"");
        assert!(!log.grep(&[&unit, &format!("trace={trace}"), &format!("process={second}")]).is_empty(), "{unit}");
    }
    mu.stop().await.unwrap();
    units.stop().await;
}

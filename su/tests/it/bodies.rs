//! Bodies that never end: they are cut off, and the memory they held is free again.

use std::time::Duration;

use holon_su::api::{BodyTimes, MAX_BODY_BYTES};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::network::{DEADLINE, Network};

/// Announces the largest body and sends all but its end.
async fn almost_a_body(network: &Network) -> TcpStream {
    let mut stream = TcpStream::connect(network.su.url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!("POST / HTTP/1.1\r\nhost: su\r\ncontent-length: {MAX_BODY_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![0; MAX_BODY_BYTES - (1 << 10)]).await.unwrap();
    stream
}

async fn status(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut answer = [0; 12];
    tokio::time::timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A scheduler whose memory suffices for one body.
async fn network(body_times: BodyTimes) -> Network {
    Network::start_with(|options| {
        options.max_body_memory_bytes = MAX_BODY_BYTES;
        options.body_times = body_times;
    })
    .await
}

/// Memory for the largest body is free: it is refused for what it is, not for want of memory.
async fn assert_memory_is_free(network: &Network) {
    let answer = network.su.post("", vec![0; MAX_BODY_BYTES]).await;
    assert_eq!(answer.status(), 400, "{}", answer.text().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_is_cut_off_and_its_memory_is_free_again() {
    let network = network(BodyTimes { idle: Duration::from_millis(300), total: DEADLINE }).await;
    let mut stalled = almost_a_body(&network).await;
    assert_eq!(status(&mut stalled).await, "HTTP/1.1 408");
    assert_memory_is_free(&network).await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_is_cut_off_too() {
    let network = network(BodyTimes { idle: DEADLINE, total: Duration::from_secs(1) }).await;
    let (mut reading, mut writing) = almost_a_body(&network).await.into_split();
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert_eq!(status(&mut reading).await, "HTTP/1.1 408");
    assert_memory_is_free(&network).await;
    dripping.abort();
    network.stop().await;
}

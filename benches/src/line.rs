//! A client that takes next to nothing of the processors, where those of a small machine are what is measured.

use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Most bytes of an answer.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A connection on which one thing is asked after the other.
pub struct Line {
    stream: TcpStream,
    host: String,
    bytes: Vec<u8>,
}

impl Line {
    /// Connects to a unit.
    pub async fn connect(url: &str) -> Result<Self> {
        let host = url.strip_prefix("http://").context("units speak HTTP here")?.trim_end_matches('/').to_owned();
        let stream = TcpStream::connect(&host).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host, bytes: Vec::new() })
    }

    /// Posts JSON. The answer must be a success, and say how long it is.
    pub async fn post(&mut self, path: &str, body: &str) -> Result<()> {
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.bytes.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.bytes.len() < whole) {
            ensure!(self.stream.read_buf(&mut self.bytes).await? > 0, "{} hung up", self.host);
            ensure!(self.bytes.len() <= MAX_ANSWER_BYTES, "{} does not come to an end", self.host);
            if whole.is_none() {
                whole = whole_bytes(&self.bytes)?;
            }
        }
        let status = self.bytes.get(9..12).unwrap_or_default();
        ensure!(status == b"200", "{path} was answered {}", String::from_utf8_lossy(&self.bytes));
        Ok(())
    }
}

/// How long an answer is, of which this has come; none while its head has not.
fn whole_bytes(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let lines = std::str::from_utf8(&bytes[..head])?.lines();
    let mut lengths = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = lengths.next().context("the answer does not say how long it is")?.parse()?;
    Ok(Some(head + 4 + length))
}

//! A server that gives prepared answers, one for each request, and remembers what it was asked: for failures that a
//! real gateway does not produce on demand.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

pub struct Script {
    pub url: Url,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// Answers the first request with the first answer, and so on; the last answer is repeated. An empty answer closes
    /// the connection without a word.
    pub async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &log, &answers).await;
            }
        });
        Self { url, asked }
    }

    /// Request lines with headers, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>, answers: &[String]) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !is_complete(&request) {
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
    let number = {
        let mut log = log.lock().unwrap();
        log.push(String::from_utf8_lossy(&request).into_owned());
        log.len() - 1
    };
    let answer = &answers[number.min(answers.len() - 1)];
    // The client may be gone already; that is its business.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
    let Some(end) = text.find("\r\n\r\n") else { return false };
    let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    request.len() >= end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap())
}

/// An answer with a body.
pub fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

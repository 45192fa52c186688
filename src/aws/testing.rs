//! AWS as a thread that reads one question and gives one answer.

use std::io::{Read, Write};
use std::net::TcpListener;

use aws_config::SdkConfig;

use super::session::played;

pub(super) fn says(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Asks; returns what came of it, and the question as it was sent.
pub(super) async fn ask<T>(answer: &str, question: impl AsyncFnOnce(SdkConfig) -> T) -> (T, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = answer.to_owned();
    let service = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (mut asked, mut buffer) = (String::new(), [0; 1024]);
        while !whole(&asked) {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "{asked}");
            asked += str::from_utf8(&buffer[..read]).unwrap();
        }
        // Whoever has read enough hangs up.
        let _ = stream.write_all(answer.as_bytes());
        asked
    });
    let result = question(played(&url)).await;
    (result, service.join().unwrap())
}

fn whole(asked: &str) -> bool {
    let Some((head, body)) = asked.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

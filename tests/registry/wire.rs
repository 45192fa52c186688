//! HTTP/1.1 as it stands on the wire, for servers of tests.

use std::io;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Reads a body in the chunked coding to its end (RFC 9112, 7.1); `read` is what came with the head.
pub async fn read_chunked(stream: &mut TcpStream, mut read: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            match read.windows(2).position(|window| window == b"\r\n") {
                Some(end) => break end,
                None => more(stream, &mut read).await?,
            }
        };
        let length = std::str::from_utf8(&read[..end]).map_err(io::Error::other)?;
        let length = usize::from_str_radix(length, 16).map_err(io::Error::other)?;
        let (from, to) = (end + 2, end + 2 + length);
        while read.len() < to + 2 {
            more(stream, &mut read).await?;
        }
        body.extend_from_slice(&read[from..to]);
        read.drain(..to + 2);
        if length == 0 {
            return Ok(body);
        }
    }
}

async fn more(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(read).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

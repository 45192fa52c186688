//! Between a command and an agent: requests that read pass, all others are answered with a failure.
//!
//! The protocol is draft-ietf-sshm-ssh-agent: a length of four bytes, a type of one, and its content.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::Door;

/// SSH_AGENTC_REQUEST_IDENTITIES and SSH_AGENTC_SIGN_REQUEST.
const ALLOWED: [u8; 2] = [11, 13];
const FAILURE: [u8; 1] = [5];

/// As much as OpenSSH's agent takes and gives (ssh-agent.c, AGENT_MAX_LEN).
const LIMIT: usize = 256 << 10;

/// Commands ask one at a time, or a few; more than this are many that wait.
const AT_A_TIME: usize = 64;

/// Serves whoever connects, for ever.
pub(super) async fn serve(listener: UnixListener, agent: Door) {
    let agent = Arc::new(agent);
    let mut connections = JoinSet::new();
    // An error of accept(2) is one of our own, such as too many open files: the command sees a closed socket.
    while let Ok((asker, _)) = listener.accept().await {
        if connections.len() == AT_A_TIME {
            connections.join_next().await;
        }
        while connections.try_join_next().is_some() {}
        let agent = Arc::clone(&agent);
        connections.spawn(async move {
            // The one who asks sees the end of the connection, which is all that there is to be said.
            let _ = connection(asker, &agent).await;
        });
    }
}

async fn connection(asker: UnixStream, agent: &Door) -> io::Result<()> {
    pass(asker, agent.connect().await?).await
}

async fn pass(
    mut asker: impl AsyncRead + AsyncWrite + Unpin,
    mut agent: impl AsyncRead + AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(request) = receive(&mut asker).await? {
        let answer = match request.first().is_some_and(|kind| ALLOWED.contains(kind)) {
            true => {
                send(&mut agent, &request).await?;
                receive(&mut agent).await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
            false => FAILURE.to_vec(),
        };
        send(&mut asker, &answer).await?;
    }
    Ok(())
}

/// The next message, or `None` where the other has gone.
async fn receive(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let length = match from.read_u32().await {
        Ok(length) => length as usize,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message that is too long"));
    }
    let mut message = vec![0; length];
    from.read_exact(&mut message).await?;
    Ok(Some(message))
}

async fn send(to: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    // What we send was received under the limit.
    to.write_u32(message.len() as u32).await?;
    to.write_all(message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes back for these bytes from an agent that answers each request with its type and `!`; and what that
    /// agent saw.
    async fn asked(bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (mut asker, ours) = tokio::io::duplex(1 << 20);
        let (agents, mut agent) = tokio::io::duplex(1 << 20);
        let seen = tokio::spawn(async move {
            let mut seen = Vec::new();
            while let Ok(Some(request)) = receive(&mut agent).await {
                seen.push(request[0]);
                send(&mut agent, &[request[0], b'!']).await.expect("it listens");
            }
            seen
        });
        let passing = tokio::spawn(pass(ours, agents));
        asker.write_all(bytes).await.expect("it listens");
        asker.shutdown().await.expect("it can be");
        let mut answers = Vec::new();
        asker.read_to_end(&mut answers).await.expect("an end");
        // An error is an end too.
        let _ = passing.await.expect("no panic");
        (answers, seen.await.expect("no panic"))
    }

    #[tokio::test]
    async fn lists_and_signatures_pass_and_nothing_else() {
        let every: Vec<u8> = (0..=255).flat_map(|kind| [0, 0, 0, 2, kind, b'x']).collect();
        let (answers, seen) = asked(&every).await;
        assert_eq!(seen, ALLOWED);
        let failures = answers.chunks(5).filter(|chunk| chunk == b"\0\0\0\x01\x05").count();
        assert_eq!(answers.len(), 254 * 5 + 2 * 6, "{failures} failures");
    }

    #[tokio::test]
    async fn an_empty_message_is_a_failure_and_one_that_is_too_long_the_end() {
        let (answers, seen) = asked(b"\0\0\0\0\0\0\0\x01\x0b").await;
        assert_eq!((answers.as_slice(), seen.as_slice()), (&b"\0\0\0\x01\x05\0\0\0\x02\x0b!"[..], &[11][..]));
        let (answers, seen) = asked(b"\xff\xff\xff\xff\x0b").await;
        assert!(answers.is_empty() && seen.is_empty());
    }
}

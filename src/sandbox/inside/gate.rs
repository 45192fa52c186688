//! The inner side of a gate: its listening socket, and a doorman who connects to what the command serves.
//!
//! The doorman is a process of ours beside the command, in its network and out of its sight. It is told a port and
//! answers with a connection, or with a byte alone where nobody listens.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::super::error::RunError;
use super::super::wire::{self, Reply};
use super::release_outputs;
use super::supervise::{Forked, Parent, Sees, fork};

/// The longest that a connection on a loopback may take: longer is a server that accepts no more.
const CONNECT: Duration = Duration::from_secs(5);

/// Ends the doorman when it is dropped.
pub(super) struct Gate(Option<Forked>);

impl Gate {
    /// In the network that is to have it. The other end hears of it by the socket.
    pub fn open(socket: &UnixStream, port: u16) -> Result<Self, RunError> {
        let failed = |error: io::Error| RunError::system("opening the way out of RUN's network", error);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let doorman = fork(Sees::Ours, |parent| match attend(parent, &ours) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(RunError::system("attending to the way in", error)),
        })?;
        let tell = || {
            wire::send(&mut &*socket, &Reply::Opened)?;
            wire::send_fd(socket, &listener)?;
            wire::send_fd(socket, &theirs)
        };
        tell().map_err(failed)?;
        Ok(Self(Some(doorman)))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // It dies with us in any case.
        let _ = self.0.take().map(Forked::end);
    }
}

/// As the doorman, until nobody can ask any more.
fn attend(parent: &Parent, asked: &UnixStream) -> io::Result<()> {
    // The command's output must end with the command, and its standard input is as good a place as any for the one
    // descriptor that is needed.
    release_outputs()?;
    rustix::stdio::dup2_stdin(asked)?;
    parent.close_all_else();
    let mut asked = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    let mut port = [0; 2];
    loop {
        match asked.read_exact(&mut port) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        match connect(u16::from_le_bytes(port)) {
            Ok(stream) => wire::send_fd(&asked, &stream)?,
            Err(_) => asked.write_all(&[0])?,
        }
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let to = |address: IpAddr| TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT);
    to(Ipv4Addr::LOCALHOST.into()).or_else(|_| to(Ipv6Addr::LOCALHOST.into()))
}

/// Whether something was sent, in our network, that had no way to go: to an address outside, or to a name server that
/// the host has on its loopback (proc(5); the kernel counts them by network).
pub(super) fn was_gone_around() -> bool {
    let read = |file: &str| fs::read_to_string(format!("/proc/self/net/{file}")).unwrap_or_default();
    counted(&read("snmp"), "Ip:", "OutNoRoutes") + counted(&read("snmp"), "Udp:", "NoPorts") > 0
        || counted_below(&read("snmp6"), "Ip6OutNoRoutes") > 0
}

/// A number of `/proc/net/snmp`: a line of names, and one of values below it.
fn counted(text: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = text.lines().filter(|line| line.starts_with(protocol)).map(str::split_whitespace);
    let (Some(names), Some(mut values)) = (lines.next(), lines.next()) else { return 0 };
    let place = names.into_iter().position(|known| known == name);
    place.and_then(|place| values.nth(place)?.parse().ok()).unwrap_or(0)
}

/// A number of `/proc/net/snmp6`: a line each.
fn counted_below(text: &str, name: &str) -> u64 {
    let line = text.lines().map(str::split_whitespace).find_map(|mut line| (line.next()? == name).then(|| line.next()));
    line.flatten().and_then(|value| value.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_are_found_by_their_names() {
        let text = "Ip: Forwarding OutNoRoutes\nIp: 1 7\nUdp: InDatagrams NoPorts\nUdp: 3 2\n";
        assert_eq!((counted(text, "Ip:", "OutNoRoutes"), counted(text, "Udp:", "NoPorts")), (7, 2));
        assert_eq!((counted(text, "Ip:", "Missing"), counted("", "Ip:", "OutNoRoutes")), (0, 0));
        let text = "Ip6InReceives   \t4\nIp6OutNoRoutes  \t9\n";
        assert_eq!((counted_below(text, "Ip6OutNoRoutes"), counted_below(text, "Ip6")), (9, 0));
    }
}

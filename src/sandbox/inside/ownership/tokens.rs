//! Which thread believes itself to be whom.
//!
//! The kernel keeps it for us: a thread's timer slack (prctl(2), PR_SET_TIMERSLACK) holds the number of its credentials
//! in our table. It is copied on fork and clone and kept on exec, thread by thread, so that there is no child that we
//! have not heard of. It moves timers by less than a microsecond. Programs that set theirs are told that they did.

use std::fs;

use rustix::io::Errno;

use super::credentials::Credentials;
use super::listener::Caller;

/// The slack of whoever never set it.
const ORDINARY: u64 = 50_000;

/// More than anything but an attack makes.
const MOST: usize = 100_000;

pub(super) struct Tokens {
    /// The first is root.
    known: Vec<Credentials>,
}

impl Tokens {
    /// `first` are those of the command that the step begins with.
    pub fn new(first: Credentials) -> Self {
        let mut tokens = Self { known: vec![Credentials::root()] };
        if tokens.known[0] != first {
            tokens.known.push(first);
        }
        tokens
    }

    /// What the process that becomes the command sets for itself, before it is under the filter.
    pub fn slack_of_first(is_root: bool) -> u64 {
        ORDINARY + u64::from(!is_root)
    }

    pub fn of(&self, caller: Caller) -> &Credentials {
        // Nobody is anybody else yet.
        if self.known.len() == 1 {
            return &self.known[0];
        }
        let slack = fs::read_to_string(caller.file("timerslack_ns")).ok();
        let number = slack.and_then(|text| text.trim().parse::<u64>().ok()?.checked_sub(ORDINARY));
        // A caller that is gone hears no answer; one that wrote a number of its own is root, as it was.
        let known = number.and_then(|number| self.known.get(usize::try_from(number).ok()?));
        known.unwrap_or(&self.known[0])
    }

    pub fn give(&mut self, caller: Caller, credentials: Credentials) -> Result<(), Errno> {
        let number = match self.known.iter().position(|known| *known == credentials) {
            Some(number) => number,
            None if self.known.len() >= MOST => return Err(Errno::AGAIN),
            None => {
                self.known.push(credentials);
                self.known.len() - 1
            }
        };
        let slack = ORDINARY + number as u64;
        fs::write(caller.file("timerslack_ns"), slack.to_string()).map_err(|_| Errno::AGAIN)
    }
}

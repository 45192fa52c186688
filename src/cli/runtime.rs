//! One runtime a command, and Ctrl-C in it: the first asks to end, the second ends.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::failure::{Kind, Phase};
use super::{Done, Failure};

/// Runs the work; its argument becomes true when the user interrupts.
pub(super) fn run<F>(work: impl FnOnce(watch::Receiver<bool>) -> F) -> Result<Done, Failure>
where
    F: Future<Output = Result<Done, Failure>>,
{
    // One TLS provider for all: registries and AWS. It can be installed once; that it is there already is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::bug(Phase::Arguments, error))?;
    let (told, interrupt) = watch::channel(false);
    runtime.spawn(async move {
        let Some(mut signals) = Signals::new() else { return };
        while let Some(signal) = signals.next().await {
            if *told.borrow() && signal == Told::ByPerson {
                std::process::exit(i32::from(Kind::Interrupted.exit_code()));
            }
            told.send_replace(true);
        }
    });
    let done = runtime.block_on(work(interrupt));
    // What still runs is a thread that waits for a helper that is gone, or a transfer that nobody wants.
    runtime.shutdown_background();
    done
}

/// Who asks us to end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Ctrl-C, or `kill`.
    ByPerson,
    /// The terminal is gone. A dying one may say so several times, so that the second time says nothing new.
    ByTerminal,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Option<Signal>,
}

impl Signals {
    fn new() -> Option<Self> {
        // `nohup` has the signal ignored, and asked for a program that goes on.
        let hang_up = if ignores_hang_up() { None } else { signal(SignalKind::hangup()).ok() };
        let (terminate, interrupt) = (signal(SignalKind::terminate()).ok()?, signal(SignalKind::interrupt()).ok()?);
        Some(Self { terminate, interrupt, hang_up })
    }

    async fn next(&mut self) -> Option<Told> {
        let hung_up = async {
            match &mut self.hang_up {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            got = self.terminate.recv() => got.map(|()| Told::ByPerson),
            got = self.interrupt.recv() => got.map(|()| Told::ByPerson),
            got = hung_up => got.map(|()| Told::ByTerminal),
        }
    }
}

/// Whether whoever started us wants us to outlive the terminal.
fn ignores_hang_up() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| first_is_ignored(&status))
}

/// Of the mask of ignored signals the lowest bit, which is SIGHUP's: proc_pid_status(5).
fn first_is_ignored(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_has_started_is_known() {
        assert!(first_is_ignored("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!first_is_ignored("Name:\tx\nSigIgn:\t0000000000001000\n"));
        assert!(!first_is_ignored("Name:\tx\n"));
    }
}

//! One runtime a command, and Ctrl-C in it: the first asks to end, the second ends.

use std::future::Future;

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
        while signalled().await {
            if *told.borrow() {
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

async fn signalled() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return false;
    };
    tokio::select! {
        got = terminate.recv() => got.is_some(),
        got = interrupt.recv() => got.is_some(),
    }
}

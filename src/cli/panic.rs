//! A panic is a bug of ours, and is told as one.

use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, PoisonError};

use super::failure::{Failure, Kind, Phase, REPORT};
use super::screen::{Paint, tell_failure};

/// What the last panic said, for whoever catches it.
static LAST: Mutex<Option<Failure>> = Mutex::new(None);

/// From here on a panic prints the words of a failure, not of the standard library.
pub fn install(paint: Paint) {
    panic::set_hook(Box::new(move |info| {
        let failure = failure(info);
        tell_failure(&failure, false, paint);
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }));
}

/// Runs `work`; a panic, whose words are out already, comes back as a failure.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    // Nothing that the work has touched is looked at after a panic.
    panic::catch_unwind(panic::AssertUnwindSafe(work)).map_err(|_| {
        let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.unwrap_or_else(|| Failure::bug(Phase::Arguments, "a panic without words"))
    })
}

fn failure(info: &PanicHookInfo<'_>) -> Failure {
    let what = info.payload_as_str().unwrap_or("a panic without words");
    let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
    let trace = std::backtrace::Backtrace::capture();
    let trace = match trace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{trace}"),
        _ => String::new(),
    };
    Failure::new(Kind::Bug, Phase::Arguments, format!("a bug in locus-push: {what}{place}{trace}")).hint(REPORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_as_a_bug_of_ours() {
        install(Paint::off());
        let failure = caught(|| panic!("index out of bounds")).expect_err("it panics");
        drop(panic::take_hook());
        assert!(
            failure.message.starts_with("a bug in locus-push: index out of bounds (src/cli/panic.rs:"),
            "{failure:?}"
        );
        assert_eq!(failure.exit_code(), 70);
        assert_eq!(caught(|| 1), Ok(1));
    }
}

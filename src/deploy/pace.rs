//! How often is asked, and for how long. An argument, so that a test need not wait as AWS makes people wait.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waiting times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Between two looks at the task.
    pub status: Steps,
    /// Between two looks at an empty log.
    pub log: Steps,
    /// How long lines may still come after the container ended: airflow#21573, ecs-task#383.
    pub log_grace: Duration,
    /// For how long a new role may not be seen by other services: terraform-aws-ecs#414, pulumi-awsx#927.
    pub role_lag: Steps,
    /// For how long a new task may be MISSING: `DescribeTasks` names up to five minutes.
    pub missing: Duration,
    /// For how long capacity is asked for again.
    pub capacity: Steps,
    /// How long a task that was told to stop is waited for: SIGTERM, 30 s, SIGKILL.
    pub stop: Duration,
}

/// Growing steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    pub first: Duration,
    pub longest: Duration,
    /// Of all steps together, where there is an end.
    pub total: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Self {
            status: Steps { first: ms(300), longest: s(15), total: Duration::MAX },
            log: Steps { first: ms(300), longest: s(3), total: Duration::MAX },
            log_grace: s(12),
            role_lag: Steps { first: s(2), longest: s(10), total: s(60) },
            missing: s(120),
            capacity: Steps { first: s(5), longest: s(60), total: s(300) },
            stop: s(60),
        }
    }
}

impl Steps {
    /// The step after this one: half as long again.
    pub(super) fn after(self, step: Duration) -> Duration {
        step.saturating_mul(3).checked_div(2).unwrap_or(step).min(self.longest)
    }

    /// Asks again while the error is `worth` it and there is time.
    pub(super) async fn retry<T, E, F: Future<Output = Result<T, E>>>(
        self,
        worth: impl Fn(&E) -> bool,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, E> {
        let (begun, mut step) = (Instant::now(), self.first);
        loop {
            match ask().await {
                Err(error) if worth(&error) && begun.elapsed() < self.total => sleep(step).await,
                done => return done,
            }
            step = self.after(step);
        }
    }
}

#[cfg(test)]
impl Pace {
    /// A thousand times as fast.
    pub(super) fn hurried() -> Self {
        let fast = |d: Duration| d / 1000;
        let steps = |s: Steps| Steps {
            first: fast(s.first),
            longest: fast(s.longest),
            total: s.total.min(Duration::from_secs(1)),
        };
        let Self { status, log, log_grace, role_lag, missing, capacity, stop } = Self::default();
        Self {
            status: steps(status),
            log: steps(log),
            log_grace: fast(log_grace),
            role_lag: steps(role_lag),
            missing: fast(missing),
            capacity: Steps { total: fast(capacity.total), ..steps(capacity) },
            stop: fast(stop),
        }
    }
}

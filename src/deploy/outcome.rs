//! How a task ended.

use crate::event::{Event, Events};

/// A task that came to its end, that never began, or that runs on without us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub task_arn: String,
    pub task_id: String,
    /// What locus-push exits with: the container's code; 125 where it never started, 130 where somebody stopped it,
    /// 124 where our own time limit did.
    pub exit_code: i32,
    /// The container's own code, where it ran.
    pub container_exit_code: Option<i32>,
    /// ECS's word: `EssentialContainerExited`, `TaskFailedToStart`, …
    pub stop_code: Option<String>,
    /// ECS's words, those of the containers with them. Raw.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// We went away from it, and know no end.
    pub runs_on: bool,
}

impl Outcome {
    /// Of a task that was asked for, and that ECS gave no name.
    pub(super) fn never(reason: String) -> Self {
        Self {
            task_arn: String::new(),
            task_id: String::new(),
            exit_code: 125,
            container_exit_code: None,
            stop_code: None,
            reason,
            hint: None,
            runs_on: false,
        }
    }

    pub(super) fn is_role_lag(&self) -> bool {
        self.exit_code == 125 && self.reason.contains("unable to assume the role")
    }

    /// Says how it ended.
    pub(super) fn emit(&self, alone: bool, events: &Events) {
        if self.runs_on {
            return;
        }
        events.emit(Event::TaskStopped {
            task: self.task_id.clone(),
            alone,
            stop_code: self.stop_code.clone(),
            reason: self.reason.clone(),
            exit_code: self.container_exit_code,
            hint: self.hint.clone(),
        });
    }
}

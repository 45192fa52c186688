//! How a task ended.

/// A task that came to its end, or that never began.
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
    /// ECS's words, those of the container with them. Raw.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

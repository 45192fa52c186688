//! The ledger's turns taken: tasks started, found again, watched to their end; each step written down before it is made.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::super::error::{DeployError, During};
use super::super::job::{Job, Overrides, Start};
use super::super::outcome::Outcome;
use super::super::pace::Pace;
use super::super::run::Limits;
use super::super::start::{Mark, Starter};
use super::super::watch::{Cut, Watch};
use super::input::Inputs;
use super::ledger::{Failed, Ledger, Line, Turn};
use super::mark::RunId;
use crate::aws::{Cloud, Task, Wanted};
use crate::event::{Event, Events};
use crate::image::Digest;
use crate::store::{RunFile, Store};

/// How the lines are gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EachWish {
    /// So many tasks at once.
    pub parallel: usize,
    /// How often a line that failed is tried again.
    pub retries: u32,
    /// What an earlier run did is forgotten.
    pub restart: bool,
}

/// The lines, and where it is remembered how far they are.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a> {
    pub inputs: &'a Inputs,
    pub wish: EachWish,
    pub store: &'a Store,
}

/// What became of the lines, by their numbers.
#[derive(Debug)]
pub struct Ended {
    pub lines: BTreeMap<usize, Line>,
    pub interrupted: bool,
    /// Why no further line was begun, where that was not its own fault.
    pub halted: Option<DeployError>,
}

/// Runs the job once for each line, with the line's fields as variables.
///
/// [`Limits::timeout`] is each task's own. What a run began that was cut off is found again: by the ledger, else by
/// `startedBy`, else by the token, for which ECS starts nothing the second time.
pub async fn each(
    cloud: &Cloud,
    job: &Job,
    start: &Start,
    Lines { inputs, wish, store }: Lines<'_>,
    limits: Limits,
    pace: &Pace,
    events: &Events,
) -> Result<Ended, DeployError> {
    // What ECS would refuse of all lines is refused before the first.
    job.overrides(&start.overrides)?;
    let file = store.run_file(&work(job, start, inputs))?.ok_or(DeployError::EachHeld)?;
    let mut ledger = remembered(&file, inputs, wish.restart, events)?;
    find(&mut ledger, cloud, job).await?;
    let driver = Driver { cloud, job, start, inputs, run: ledger.run.clone(), limits: &limits, pace, events };
    let (say, mut news) = mpsc::unbounded_channel();
    let mut under_way = FuturesUnordered::new();
    let mut halted = None;
    loop {
        let mut turns = Vec::new();
        while halted.is_none() && !*limits.interrupt.borrow() && ledger.held() < wish.parallel {
            let Some(turn) = ledger.next() else { break };
            turns.push(turn);
        }
        if !turns.is_empty() {
            file.keep(&ledger.bytes())?;
        }
        under_way.extend(turns.into_iter().map(|turn| driver.take(turn, say.clone())));
        tokio::select! {
            biased;
            Some((line, said)) = news.recv(), if !(news.is_empty() && under_way.is_empty()) => {
                halted = halted.or(hear(&mut ledger, line, said, wish.retries, events));
                file.keep(&ledger.bytes())?;
            }
            // Its log has been read to the end.
            Some(()) = under_way.next() => {}
            else => break,
        }
    }
    let (interrupted, done) = (*limits.interrupt.borrow(), ledger.succeeded() == ledger.lines().len());
    let lines = ledger.lines().clone();
    if done {
        // The same command means the same work anew.
        file.forget()?;
    }
    Ok(Ended { lines, interrupted: interrupted && !done, halted })
}

/// The same lines for the same revision, in the same cluster and with the same overrides, are the same work.
fn work(job: &Job, start: &Start, inputs: &Inputs) -> Digest {
    let Overrides { environment, command, cpu, memory } = &start.overrides;
    let of = (&job.revision.arn, &job.at.cluster, environment, command, cpu, memory, inputs.digest.to_string());
    Digest::of(&serde_json::to_vec(&of).expect("texts and numbers are JSON"))
}

fn remembered(file: &RunFile, inputs: &Inputs, restart: bool, events: &Events) -> Result<Ledger, DeployError> {
    let numbers = || inputs.lines.keys().copied();
    let kept = if restart { None } else { file.read()? };
    let Some(bytes) = kept else {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // The keys of a `RandomState` come from the system's random numbers.
        let chance = RandomState::new().hash_one(now);
        let run = RunId::of(&format!("{} {now} {} {chance}", inputs.digest, std::process::id()));
        return Ok(Ledger::new(run, numbers()));
    };
    let ledger =
        Ledger::read(&bytes, numbers()).map_err(|why| DeployError::EachMemory { path: file.path().to_owned(), why })?;
    let (done, of) = (ledger.succeeded(), inputs.count());
    let note = format!("an earlier run of these lines is taken up: {done} of {of} are done (--restart begins anew)");
    events.emit(Event::Note(note));
    Ok(ledger)
}

/// Who was cut off between asking for a task and writing down its name left it to be found by its mark.
async fn find(ledger: &mut Ledger, cloud: &Cloud, job: &Job) -> Result<(), DeployError> {
    let in_doubt = ledger.in_doubt();
    if in_doubt.is_empty() {
        return Ok(());
    }
    let doing = || "looking for the tasks that an earlier run started".to_owned();
    let mut found = BTreeMap::new();
    for wanted in [Wanted::Running, Wanted::Stopped] {
        let tasks = cloud.ecs.tasks(&job.at.cluster, job.family(), wanted).await.during(doing)?;
        found.extend(tasks.into_iter().filter_map(|task| Some((task.started_by?, task.arn))));
    }
    for (line, tries) in in_doubt {
        if let Some(arn) = found.remove(&ledger.run.started_by(line, tries)) {
            ledger.started(line, arn);
        }
    }
    Ok(())
}

/// What is told of a line while its turn lasts.
enum News {
    Started {
        task: String,
    },
    NotStarted(DeployError),
    /// It stopped, or we go; its log may still come.
    Ended {
        outcome: Outcome,
        came: Came,
        cut: Option<Cut>,
    },
    Lost(DeployError),
}

/// What a task came to that we may have told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// To its own, perhaps in the moment in which it was told: its work is done, or failed.
    ToItsEnd,
    /// It was stopped.
    Stopped,
    /// It was not seen to stop: whoever comes next looks again.
    Unseen,
}

fn came(task: &Task, cut: Option<Cut>) -> Came {
    match (cut, task.status.as_str(), task.stop_code.as_deref()) {
        (None, ..) => Came::ToItsEnd,
        (Some(_), "STOPPED", None | Some("UserInitiated")) => Came::Stopped,
        (Some(_), "STOPPED", Some(_)) => Came::ToItsEnd,
        (Some(_), ..) => Came::Unseen,
    }
}

/// Writes it into the ledger; the error that concerns all lines.
fn hear(ledger: &mut Ledger, line: usize, news: News, retries: u32, events: &Events) -> Option<DeployError> {
    let mut failed = |failed: Failed| {
        let again = ledger.failed(line, failed, retries);
        if again {
            events.emit(Event::Note(format!("line {line} failed and is tried again")));
        }
        None
    };
    match news {
        News::Started { task } => ledger.started(line, task),
        News::Ended { outcome, .. } if outcome.runs_on => ledger.let_go(line),
        News::Ended { came: Came::Stopped, cut: Some(Cut::Interrupted), .. } => ledger.put_back(line),
        News::Ended { outcome, .. } if outcome.exit_code == 0 => ledger.succeeded_with(line, outcome.task_arn),
        News::Ended { outcome, came, .. } => {
            let Outcome { task_arn, exit_code, reason, hint, .. } = outcome;
            let in_doubt = came == Came::Unseen;
            return failed(Failed { task: Some(task_arn), exit_code, reason, hint, in_doubt });
        }
        News::Lost(DeployError::Lost { task }) => {
            let reason = "ECS does not know the task any more, and not how it ended".to_owned();
            let hint = Some("its log may tell; the same command runs the line again".to_owned());
            return failed(Failed { task: Some(task), exit_code: 125, reason, hint, in_doubt: true });
        }
        News::NotStarted(error @ (DeployError::NotStarted(_) | DeployError::TimedOut)) => {
            let (exit_code, reason, hint) = (i32::from(error.exit_code()), error.to_string(), error.hint());
            return failed(Failed { task: None, exit_code, reason, hint, in_doubt: false });
        }
        News::NotStarted(DeployError::Interrupted) => ledger.put_back(line),
        // Nobody knows whether it was started: it stays as it is, to be asked for by the same mark.
        News::NotStarted(error) | News::Lost(error) => {
            ledger.let_go(line);
            return Some(error);
        }
    }
    None
}

struct Driver<'a> {
    cloud: &'a Cloud,
    job: &'a Job,
    start: &'a Start,
    inputs: &'a Inputs,
    run: RunId,
    limits: &'a Limits,
    pace: &'a Pace,
    events: &'a Events,
}

type Say = mpsc::UnboundedSender<(usize, News)>;

impl Driver<'_> {
    /// One try of one line, to the end of its log. Nobody who listens has gone before.
    async fn take(&self, turn: Turn, say: Say) {
        let Turn { line, tries, task } = turn;
        let say = |news| drop(say.send((line, news)));
        let deadline = self.limits.timeout.map(|timeout| Instant::now() + timeout);
        let events = of_line(line, self.events);
        let task = match task {
            // It may have ended by now, and ECS may have forgotten it: the watch finds out.
            Some(arn) => Task { arn, ..Task::default() },
            None => match self.begin(line, tries, deadline, &events).await {
                Ok(task) => {
                    say(News::Started { task: task.arn.clone() });
                    task
                }
                Err(error) => return say(News::NotStarted(error)),
            },
        };
        let (at, stay, pace) = (&self.job.at, self.start.stay, self.pace);
        let watch = Watch { cloud: self.cloud, at, stay, alone: false, pace, events: &events };
        let stopped = |task: &Task, cut: Option<Cut>| {
            let came = came(task, cut);
            let mut outcome = watch.outcome(task, cut.filter(|_| came != Came::ToItsEnd), false);
            outcome.runs_on |= came == Came::Unseen && cut == Some(Cut::Interrupted);
            say(News::Ended { outcome, came, cut });
        };
        let interrupt = self.limits.interrupt.clone();
        match watch.to_the_end_telling(task, None, deadline, interrupt, stopped).await {
            Ok(outcome) => outcome.emit(false, &events),
            Err(error) => say(News::Lost(error)),
        }
    }

    async fn begin(
        &self,
        line: usize,
        tries: u32,
        deadline: Option<Instant>,
        events: &Events,
    ) -> Result<Task, DeployError> {
        let mut wanted = self.start.overrides.clone();
        wanted.environment.extend(self.inputs.lines.get(&line).cloned().unwrap_or_default());
        let overrides = self.job.overrides(&wanted)?;
        let mark = |ask| Mark {
            client_token: self.run.client_token(line, tries, ask),
            started_by: self.run.started_by(line, tries),
        };
        let Self { cloud, job, start, pace, .. } = *self;
        let starter = Starter { cloud, job, start, overrides: &overrides, mark: &mark, pace, events };
        let mut interrupt: watch::Receiver<bool> = self.limits.interrupt.clone();
        let mut tasks = starter.start(deadline, &mut interrupt).await?.tasks;
        // One was asked for, and one there is: else it would have been an error.
        tasks.pop().ok_or_else(|| DeployError::NotStarted(Vec::new()))
    }
}

/// The same listener, told of a task as the line's.
fn of_line(line: usize, events: &Events) -> Events {
    let events = events.clone();
    let named = move |id: String| if id.is_empty() { format!("line {line}") } else { format!("line {line} ({id})") };
    Events::new(move |event| {
        events.emit(match event {
            Event::Task { id, status } => Event::Task { id: named(id), status },
            Event::TaskLog { task: _, alone, line: text } => {
                Event::TaskLog { task: line.to_string(), alone, line: text }
            }
            Event::TaskStopped { task, alone, stop_code, reason, exit_code, hint } => {
                Event::TaskStopped { task: named(task), alone, stop_code, reason, exit_code, hint }
            }
            Event::Note(note) => Event::Note(format!("line {line}: {note}")),
            Event::Warning { message, hint } => Event::Warning { message: format!("line {line}: {message}"), hint },
            event => event,
        });
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::testing::{Played, Script, job, recorded};
    use super::super::ledger::Stage;
    use super::*;

    const WISH: EachWish = EachWish { parallel: 2, retries: 1, restart: false };

    fn inputs() -> Inputs {
        Inputs::parse("{\"N\": \"one\"}\n{\"N\": \"two\"}\n{\"N\": \"three\"}\n").unwrap()
    }

    fn task(id: &str, code: Option<i32>) -> Value {
        let mut task = json!({
            "taskArn": format!("arn:aws:ecs:eu-west-1:123456789012:task/c/{id}"),
            "lastStatus": if code.is_some() { "STOPPED" } else { "PROVISIONING" },
            "containers": [{ "name": "os_opendata" }],
        });
        if let Some(code) = code {
            task["containers"][0]["exitCode"] = code.into();
            task["stopCode"] = "EssentialContainerExited".into();
        }
        task
    }

    fn tasks(id: &str, code: Option<i32>) -> Value {
        json!({ "tasks": [task(id, code)], "failures": [] })
    }

    /// No task has a log.
    fn quiet() -> Script {
        Script::default().error("GetLogEvents", 400, "ResourceNotFoundException", "no stream")
    }

    /// The ends of lines 1 and 3, which are good ones.
    fn others(script: Script) -> Script {
        script
            .answer("RunTask \"one\"", tasks("t1", None))
            .answer("RunTask \"three\"", tasks("t3", None))
            .answer("DescribeTasks /t1", tasks("t1", Some(0)))
            .answer("DescribeTasks /t3", tasks("t3", Some(0)))
    }

    async fn through(script: Script, wish: EachWish, home: &std::path::Path, interrupted: bool) -> (Ended, Played) {
        let (played, store) = (script.play().await, Store::open(home).unwrap());
        let (_user, interrupt) = watch::channel(interrupted);
        let limits = Limits { timeout: None, interrupt };
        let (start, pace, (events, _)) = (Start::default(), Pace::hurried(), recorded());
        let (inputs, job) = (inputs(), job(false));
        let lines = Lines { inputs: &inputs, wish, store: &store };
        let ended = each(&played.cloud, &job, &start, lines, limits, &pace, &events).await;
        (ended.unwrap(), played)
    }

    fn ends(ended: &Ended) -> Vec<(u32, &'static str)> {
        let word = |stage: &Stage| match stage {
            Stage::Waiting => "waits",
            Stage::Starting => "starts",
            Stage::Running { .. } => "runs",
            Stage::Succeeded { .. } => "succeeded",
            Stage::Failed { .. } => "failed",
        };
        ended.lines.values().map(|line| (line.tries, word(&line.stage))).collect()
    }

    #[tokio::test]
    async fn a_line_that_fails_is_tried_again_and_none_is_started_twice() {
        let home = tempfile::tempdir().unwrap();
        let script = others(quiet())
            .answer("RunTask \"two\"", tasks("t2a", None))
            .answer("RunTask \"two\"", tasks("t2b", None))
            .answer("DescribeTasks /t2a", tasks("t2a", Some(7)))
            .answer("DescribeTasks /t2b", tasks("t2b", Some(0)));
        let (ended, played) = through(script, WISH, home.path(), false).await;
        assert_eq!(ends(&ended), [(1, "succeeded"), (2, "succeeded"), (1, "succeeded")]);
        let asked = played.asked_for("RunTask");
        let tokens: std::collections::BTreeSet<_> =
            asked.iter().map(|asked| asked["clientToken"].to_string()).collect();
        assert_eq!((asked.len(), tokens.len()), (4, 4));
        assert_eq!(std::fs::read_dir(home.path().join("runs")).unwrap().count(), 1, "its lock alone is left");
    }

    #[tokio::test]
    async fn what_fails_for_good_is_the_only_thing_that_the_same_command_runs_again() {
        let home = tempfile::tempdir().unwrap();
        let broken = || others(quiet()).answer("RunTask \"two\"", tasks("t2", None));
        let (ended, _) =
            through(broken().answer("DescribeTasks /t2", tasks("t2", Some(7))), WISH, home.path(), false).await;
        assert_eq!(ends(&ended), [(1, "succeeded"), (2, "failed"), (1, "succeeded")]);
        let (ended, played) =
            through(broken().answer("DescribeTasks /t2", tasks("t2", Some(0))), WISH, home.path(), false).await;
        assert_eq!(ends(&ended), [(1, "succeeded"), (3, "succeeded"), (1, "succeeded")]);
        assert_eq!(played.asked_for("RunTask").len(), 1);
    }

    /// A run that was cut off while it asked for the first task.
    async fn cut_off(home: &std::path::Path) -> Value {
        let script = quiet().error("RunTask", 400, "AccessDeniedException", "no");
        let (ended, played) = through(script, EachWish { parallel: 1, ..WISH }, home, false).await;
        assert_eq!(ends(&ended), [(1, "starts"), (0, "waits"), (0, "waits")], "nobody asks for the others in vain");
        assert!(ended.halted.is_some());
        played.asked_for("RunTask")[0].clone()
    }

    fn all_well(script: Script) -> Script {
        others(script).answer("RunTask \"two\"", tasks("t2", None)).answer("DescribeTasks /t2", tasks("t2", Some(0)))
    }

    #[tokio::test]
    async fn a_task_that_was_started_and_not_written_down_is_found_by_its_mark() {
        let home = tempfile::tempdir().unwrap();
        let mut there = task("t1", Some(0));
        there["startedBy"] = cut_off(home.path()).await["startedBy"].clone();
        let script = quiet()
            .answer("ListTasks RUNNING", json!({ "taskArns": [] }))
            .answer("ListTasks STOPPED", json!({ "taskArns": [there["taskArn"]] }))
            .answer("DescribeTasks /t1", json!({ "tasks": [there], "failures": [] }));
        let script = all_well(script);
        let (ended, played) = through(script, WISH, home.path(), false).await;
        assert_eq!(ends(&ended), [(1, "succeeded"), (1, "succeeded"), (1, "succeeded")]);
        assert_eq!(played.asked_for("RunTask").len(), 2, "not for the first line");
    }

    #[tokio::test]
    async fn a_task_that_is_not_found_is_asked_for_with_the_same_token() {
        let home = tempfile::tempdir().unwrap();
        let before = cut_off(home.path()).await["clientToken"].clone();
        let (ended, played) =
            through(all_well(quiet()).answer("ListTasks", json!({ "taskArns": [] })), WISH, home.path(), false).await;
        assert_eq!(ended.lines.len(), 3);
        assert_eq!(played.asked_for("RunTask")[0]["clientToken"], before);
        cut_off(home.path()).await;
        let restarted = EachWish { restart: true, ..WISH };
        let (_, played) = through(all_well(quiet()), restarted, home.path(), false).await;
        assert!(played.asked_for("RunTask").iter().all(|asked| asked["clientToken"] != before));
    }

    #[tokio::test]
    async fn a_task_that_was_told_to_stop_and_did_not_is_looked_for_by_whoever_comes_next() {
        let home = tempfile::tempdir().unwrap();
        let script = quiet()
            .answer("RunTask", tasks("t1", None))
            .answer("DescribeTasks", tasks("t1", None))
            .answer("StopTask", json!({}));
        let (played, store) = (script.play().await, Store::open(home.path()).unwrap());
        let (user, interrupt) = watch::channel(false);
        let limits = Limits { timeout: None, interrupt };
        let (start, pace, (events, _)) = (Start::default(), Pace::hurried(), recorded());
        let (inputs, job) = (inputs(), job(false));
        let lines = Lines { inputs: &inputs, wish: EachWish { parallel: 1, ..WISH }, store: &store };
        let running = each(&played.cloud, &job, &start, lines, limits, &pace, &events);
        let interrupting = async {
            while played.asked_for("DescribeTasks").is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            user.send_replace(true);
        };
        let (ended, ()) = tokio::join!(running, interrupting);
        assert_eq!(ends(&ended.unwrap()), [(1, "runs"), (0, "waits"), (0, "waits")]);
        assert_eq!(played.asked_for("StopTask").len(), 1);
        let (ended, played) = through(all_well(quiet()), WISH, home.path(), false).await;
        assert_eq!(ends(&ended), [(1, "succeeded"), (1, "succeeded"), (1, "succeeded")]);
        assert_eq!(played.asked_for("RunTask").len(), 2, "not for the first line");
    }

    #[test]
    fn a_task_that_ended_in_the_moment_of_an_interrupt_did_its_work() {
        let stopped = |code: Option<&str>| Task {
            status: "STOPPED".into(),
            stop_code: code.map(str::to_owned),
            ..Task::default()
        };
        let cut = Some(Cut::Interrupted);
        assert_eq!(came(&stopped(Some("EssentialContainerExited")), cut), Came::ToItsEnd);
        assert_eq!(came(&stopped(Some("UserInitiated")), cut), Came::Stopped);
        assert_eq!(came(&stopped(None), cut), Came::Stopped);
        assert_eq!(came(&stopped(Some("UserInitiated")), None), Came::ToItsEnd, "somebody else stopped it");
        assert_eq!(came(&Task { status: "STOPPING".into(), ..Task::default() }, cut), Came::Unseen);
    }

    #[tokio::test]
    async fn who_is_interrupted_begins_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (ended, played) = through(quiet(), WISH, home.path(), true).await;
        assert_eq!((ends(&ended), ended.interrupted), (vec![(0, "waits"); 3], true));
        assert_eq!(played.asked().len(), 0);
    }

    #[tokio::test]
    async fn a_limit_of_the_account_is_waited_for_and_is_no_failure() {
        let home = tempfile::tempdir().unwrap();
        let script = quiet()
            .answer("RunTask \"one\"", json!({ "tasks": [], "failures": [{ "reason": "You've reached the limit on the number of vCPUs you can run concurrently" }] }));
        let (ended, _) = through(all_well(script), WISH, home.path(), false).await;
        assert_eq!(ends(&ended), [(1, "succeeded"), (1, "succeeded"), (1, "succeeded")]);
    }
}

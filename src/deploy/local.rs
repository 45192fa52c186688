//! The local counterpart of a Fargate task: the same image, environment and secrets, in the sandbox of this machine.

use std::ffi::OsString;
use std::time::Duration;

use tokio::sync::watch;

use super::outcome::Outcome;
use super::secret_spec::SecretSpec;
use super::{DeployError, Limits};
use crate::event::{Event, Events};
use crate::image::ContainerConfig;
use crate::lines::Lines;
use crate::sandbox::{
    self, Emulator, Exit, Ids, Layers, RunError, Sandbox, Step, Stopper, host_resolv_conf, hosts_file,
};
use crate::secret::Secret;

/// A container to run here.
#[derive(Debug)]
pub struct LocalTask {
    pub name: String,
    /// The image's layers, with a throw-away one on top.
    pub layers: Layers,
    pub config: ContainerConfig,
    /// Variables of the task; they win over the image's.
    pub environment: Vec<(String, String)>,
    pub secrets: Vec<(String, Secret)>,
    pub user: Ids,
    pub home: String,
    /// For the programs of another CPU.
    pub emulator: Option<Emulator>,
}

/// The secrets' values, which no Secrets Manager is asked for here.
pub fn local_secrets(specs: &[SecretSpec]) -> Result<Vec<(String, Secret)>, DeployError> {
    let value = |spec: &SecretSpec| {
        let value = spec.value()?.ok_or_else(|| DeployError::NoLocalSecret { variable: spec.variable().to_owned() })?;
        Ok((spec.variable().to_owned(), value))
    };
    specs.iter().map(value).collect()
}

/// Runs the task to its end; its log is emitted line by line.
pub async fn run_local(
    sandbox: Sandbox,
    task: LocalTask,
    limits: Limits,
    events: &Events,
) -> Result<Outcome, DeployError> {
    let id = task.name.clone();
    let status = |status: &str| events.emit(Event::Task { id: id.clone(), status: status.to_owned() });
    let step = step(task);
    if step.argv.is_empty() {
        return Err(DeployError::NoCommand);
    }
    status("RUNNING");
    let stopper = Stopper::new();
    let mut running = tokio::task::spawn_blocking({
        let (stopper, log, id) = (stopper.clone(), events.clone(), id.clone());
        move || {
            let mut lines = Lines::new(|line| {
                log.emit(Event::TaskLog { task: id.clone(), alone: true, line: line.to_vec() });
            });
            let exit = sandbox.run(&step, &stopper, &mut |_, bytes| lines.push(bytes));
            lines.finish();
            exit
        }
    });
    let Limits { timeout, mut interrupt } = limits;
    let cut = tokio::select! {
        ended = &mut running => return Ok(ended_by(ended, None, &id, events)),
        () = told(&mut interrupt) => 130,
        () = elapsed(timeout) => 124,
    };
    stopper.stop();
    let ended = running.await;
    Ok(ended_by(ended, Some(cut), &id, events))
}

fn step(task: LocalTask) -> Step {
    let LocalTask { name, layers, config, environment, secrets, user, home, emulator } = task;
    let argv = config.entrypoint.into_iter().flatten().chain(config.cmd.into_iter().flatten());
    let image = config.env.iter().map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut env: Vec<(OsString, OsString)> = Vec::new();
    let given = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in [("HOME", home.as_str()), ("HOSTNAME", name.as_str())].into_iter().chain(image).chain(given) {
        env.retain(|(known, _)| known != name);
        env.push((name.into(), value.into()));
    }
    env.retain(|(known, _)| !secrets.iter().any(|(secret, _)| known == secret.as_str()));
    let cwd = if config.working_dir.is_empty() { "/".to_owned() } else { config.working_dir };
    Step {
        layers,
        argv: argv.map(OsString::from).collect(),
        env,
        secret_env: secrets.into_iter().map(|(name, value)| (name.into(), value)).collect(),
        cwd: cwd.into(),
        user,
        hosts: hosts_file(&name, &[]),
        hostname: name,
        resolv_conf: host_resolv_conf(),
        network: sandbox::Network::Host,
        insecure: false,
        mounts: Vec::new(),
        shm_size: None,
        limits: Vec::new(),
        cgroup_parent: None,
        emulator,
    }
}

type Joined = Result<Result<Exit, RunError>, tokio::task::JoinError>;

fn ended_by(ended: Joined, cut: Option<i32>, id: &str, events: &Events) -> Outcome {
    let (code, reason) = match ended {
        Ok(Ok(Exit::Code(code))) => (Some(code), "Essential container in task exited".to_owned()),
        Ok(Ok(Exit::Signal(signal))) => {
            (Some(128 + signal), format!("Essential container in task was ended by signal {signal}"))
        }
        Ok(Err(RunError::Stopped)) => (None, "stopped".to_owned()),
        Ok(Err(error)) => (None, error.to_string()),
        Err(_) => (None, "the thread that ran the task ended without an answer".to_owned()),
    };
    let hint = (code == Some(137)).then(|| "137 is SIGKILL: out of memory?".to_owned());
    events.emit(Event::Task { id: id.to_owned(), status: "STOPPED".to_owned() });
    let stop_code = if code.is_some() { "EssentialContainerExited" } else { "TaskFailedToStart" };
    let outcome = Outcome {
        task_arn: String::new(),
        task_id: id.to_owned(),
        exit_code: cut.or(code).unwrap_or(125),
        container_exit_code: code,
        stop_code: Some(stop_code.to_owned()),
        reason,
        hint,
        runs_on: false,
    };
    outcome.emit(true, events);
    outcome
}

async fn told(interrupt: &mut watch::Receiver<bool>) {
    if interrupt.wait_for(|told| *told).await.is_err() {
        // Nobody is left who could interrupt.
        std::future::pending::<()>().await;
    }
}

async fn elapsed(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => tokio::time::sleep(timeout).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_variables_win_over_the_images_and_secrets_over_both() {
        let layers = Layers {
            lower_parent: "/l".into(),
            lower: vec!["a".into()],
            upper: "/u".into(),
            work: "/w".into(),
            merged: "/m".into(),
        };
        let config = ContainerConfig {
            env: vec!["PATH=/bin".into(), "A=image".into(), "DB=image".into()],
            entrypoint: Some(vec!["sh".into()]),
            cmd: Some(vec!["-c".into(), "x".into()]),
            ..ContainerConfig::default()
        };
        let step = step(LocalTask {
            name: "n".into(),
            layers,
            config,
            environment: vec![("A".into(), "task".into())],
            secrets: vec![("DB".into(), Secret::new("s"))],
            user: Ids::default(),
            home: "/root".into(),
            emulator: None,
        });
        let env: Vec<String> =
            step.env.iter().map(|(k, v)| format!("{}={}", k.to_string_lossy(), v.to_string_lossy())).collect();
        assert_eq!(env, ["HOME=/root", "HOSTNAME=n", "PATH=/bin", "A=task"]);
        assert_eq!(step.secret_env.len(), 1);
        assert_eq!(step.argv, ["sh", "-c", "x"]);
        assert_eq!(step.cwd.to_str(), Some("/"));
    }
}

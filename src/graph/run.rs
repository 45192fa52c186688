//! RUN: its command line, environment, mounts and network.

use crate::dockerfile::{self, RunCommand, Security, Span};

use super::args::PROXIES;
use super::scope::Scope;
use super::{Action, Mount, Network, PlanError, Problem, Run, Script};

/// Where BuildKit mounts a heredoc that is a script.
const SCRIPTS: &str = "/dev/pipes";

/// Where programs look for an agent (ssh-agent(1)).
const AGENT: &str = "SSH_AUTH_SOCK";

impl Scope<'_> {
    pub(super) fn run(&mut self, run: &RunCommand, span: Span) -> Result<(Action, String), PlanError> {
        let RunCommand { command: _, heredocs: _, mounts, network, security, devices } = run;
        if let Some(device) = devices.iter().find(|device| device.required) {
            return Err(Problem::Device(device.name.clone()).at(span));
        }
        let insecure = match security {
            None | Some(Security::Sandbox) => false,
            Some(Security::Insecure) => true,
        };
        let network = match network {
            None | Some(dockerfile::Network::Default) => Network::Default,
            Some(dockerfile::Network::None) => Network::None,
            Some(dockerfile::Network::Host) => Network::Host,
        };
        let mut mounts = self.mounts(mounts, span)?;
        let mut env = self.run_env();
        // The first agent's, whether it is there or not (BuildKit, client/llb/exec.go).
        if let Some(socket) = mounts.iter().find_map(Mount::agent)
            && !env.iter().any(|(name, _)| name == AGENT)
        {
            env.push((AGENT.to_owned(), socket.to_owned()));
        }
        // Those above before those below; of two for one place the later one is on top.
        mounts.sort_by(|a, b| a.target().cmp(&b.target()));
        let in_shell = |line: String| self.shell().into_iter().chain([line]).collect();
        let (argv, script) = match run.script() {
            dockerfile::Script::Exec(argv) => (argv, None),
            dockerfile::Script::Shell(line) => (in_shell(line), None),
            dockerfile::Script::File { name, content } => {
                (in_shell(format!("{SCRIPTS}/{name}")), Some(Script { name, content }))
            }
        };
        let args = self.history_args(span)?;
        let counted = if args.is_empty() { String::new() } else { format!("|{} {} ", args.len(), args.join(" ")) };
        let created_by = format!("RUN {counted}{} # buildkit", argv.join(" "));
        let run = Run {
            argv,
            env,
            proxies: self.proxies(),
            cwd: self.in_workdir(""),
            user: self.config.config.user.clone(),
            network,
            insecure,
            devices: devices.iter().map(|device| device.name.clone()).collect(),
            mounts,
            script,
        };
        Ok((Action::Run(run), created_by))
    }

    fn proxies(&self) -> Vec<(String, String)> {
        let given = &self.graph.options.build_args;
        let proxy = |name: &&str| given.get(*name).map(|value| ((*name).to_owned(), value.clone()));
        PROXIES.iter().filter_map(proxy).collect()
    }
}

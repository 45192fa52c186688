//! RUN: its command line, environment and network.

use crate::dockerfile::{self, Command, RunCommand, Security, Span};

use super::args::PROXIES;
use super::scope::Scope;
use super::{Action, Network, PlanError, Problem, Run};

impl Scope<'_> {
    pub(super) fn run(&mut self, run: &RunCommand, span: Span) -> Result<(Action, String), PlanError> {
        let RunCommand { command, heredocs, mounts, network, security, devices } = run;
        let not_yet = |what: String| Err(Problem::NotYet(what).at(span));
        if !mounts.is_empty() {
            return not_yet("RUN --mount".to_owned());
        }
        if let Some(device) = devices.first() {
            return not_yet(format!("RUN --device={device}"));
        }
        match security {
            None | Some(Security::Sandbox) => {}
            Some(Security::Insecure) => return not_yet("RUN --security=insecure".to_owned()),
        }
        let network = match network {
            None | Some(dockerfile::Network::Default) => Network::Host,
            Some(dockerfile::Network::None) => Network::None,
            // It would need an entitlement, as in BuildKit.
            Some(dockerfile::Network::Host) => return not_yet("RUN --network=host".to_owned()),
        };
        let argv = match command {
            Command::Exec(argv) => argv.clone(),
            Command::Shell(line) => {
                let mut argv = self.shell();
                argv.push(match heredocs.as_slice() {
                    [] => line.clone(),
                    [only] if line.trim().starts_with("<<") && line.split_whitespace().count() == 1 => {
                        let body = only.content();
                        if body.starts_with("#!") {
                            return not_yet("RUN with a heredoc that begins with `#!`".to_owned());
                        }
                        body
                    }
                    several => several
                        .iter()
                        .fold(line.clone(), |text, heredoc| format!("{text}\n{}{}", heredoc.body, heredoc.name)),
                });
                argv
            }
        };
        let args = self.history_args();
        let counted = if args.is_empty() { String::new() } else { format!("|{} {} ", args.len(), args.join(" ")) };
        let created_by = format!("RUN {counted}{} # buildkit", argv.join(" "));
        let run = Run {
            argv,
            env: self.run_env(),
            proxies: self.proxies(),
            cwd: self.in_workdir(""),
            user: self.config.config.user.clone(),
            network,
        };
        Ok((Action::Run(run), created_by))
    }

    fn proxies(&self) -> Vec<(String, String)> {
        let given = &self.graph.options.build_args;
        let proxy = |name: &&str| given.get(*name).map(|value| ((*name).to_owned(), value.clone()));
        PROXIES.iter().filter_map(proxy).collect()
    }
}

//! The instructions that change the config alone.

use serde_json::json;

use crate::dockerfile::{Assignment, Command, Healthcheck, Kind, Probe, Span};
use crate::image;

use super::history::{go_duration, go_quoted as quoted};
use super::scope::Scope;
use super::{PlanError, Problem, ports, signal};

impl Scope<'_> {
    /// Changes the config; returns the history line, empty where there is none.
    pub(super) fn configure(&mut self, kind: &Kind, span: Span) -> Result<String, PlanError> {
        match kind {
            Kind::Env(pairs) => {
                // All values see the environment from before the instruction.
                let pairs = self.pairs(pairs, span)?;
                for (name, value) in &pairs {
                    self.config.set_env(name, value);
                    self.set_env(name, value, span)?;
                }
                Ok(format!("ENV {}", joined(&pairs)))
            }
            Kind::Label(pairs) => {
                let pairs = self.pairs(pairs, span)?;
                self.config.config.labels.extend(pairs.iter().cloned());
                Ok(format!("LABEL {}", joined(&pairs)))
            }
            Kind::Maintainer(author) => {
                self.config.author = Some(author.clone());
                Ok(format!("MAINTAINER {author}"))
            }
            Kind::Cmd(command) => {
                let argv = self.in_shell(command);
                self.config.config.cmd = Some(argv.clone());
                self.config.config.args_escaped = true;
                self.cmd_is_set = true;
                Ok(format!("CMD {}", quoted(&argv)))
            }
            Kind::Entrypoint(command) => {
                let argv = self.in_shell(command);
                self.config.config.entrypoint = Some(argv.clone());
                if !self.cmd_is_set {
                    self.config.config.cmd = None;
                }
                Ok(format!("ENTRYPOINT {}", quoted(&argv)))
            }
            Kind::Shell(argv) => {
                self.config.config.shell = Some(argv.clone());
                Ok(format!("SHELL [{}]", argv.join(" ")))
            }
            Kind::User(word) => {
                let user = self.word(word, span)?;
                self.config.config.user = user.clone();
                Ok(format!("USER {user}"))
            }
            Kind::Expose(words) => {
                let mut exposed = Vec::new();
                for word in words {
                    for word in self.words(word, span)? {
                        let found = ports::parse(&word);
                        exposed.extend(
                            found.map_err(|rule| Problem::Value { flag: "EXPOSE", value: word, rule }.at(span))?,
                        );
                    }
                }
                exposed.sort();
                exposed.dedup();
                let ports = &mut self.config.config.exposed_ports;
                exposed.iter().for_each(|port| drop(ports.insert(port.clone(), json!({}))));
                Ok(format!("EXPOSE [{}]", exposed.join(" ")))
            }
            Kind::Volume(words) => {
                let mut volumes = Vec::new();
                for word in words {
                    let volume = self.word(word, span)?;
                    if volume.is_empty() {
                        let rule = "a volume's path is not empty";
                        return Err(Problem::Value { flag: "VOLUME", value: volume, rule }.at(span));
                    }
                    self.config.config.volumes.insert(volume.clone(), json!({}));
                    volumes.push(volume);
                }
                Ok(format!("VOLUME [{}]", volumes.join(" ")))
            }
            Kind::Stopsignal(word) => {
                let name = self.word(word, span)?;
                if !signal::is_signal(&name) {
                    let rule = "it is a signal's name or number, e.g. SIGTERM or 15";
                    return Err(Problem::Value { flag: "STOPSIGNAL", value: name, rule }.at(span));
                }
                self.config.config.stop_signal = Some(name.clone());
                Ok(format!("STOPSIGNAL {name}"))
            }
            Kind::Healthcheck(check) => {
                let check = self.healthcheck(check);
                // As Go's `%+v` writes the structure.
                let line = format!(
                    "HEALTHCHECK {{Test:[{}] Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
                    check.test.join(" "),
                    go_duration(check.interval),
                    go_duration(check.timeout),
                    go_duration(check.start_period),
                    go_duration(check.start_interval),
                    check.retries,
                );
                self.config.config.healthcheck = Some(check);
                Ok(line)
            }
            Kind::Onbuild(onbuild) => {
                self.config.config.on_build.push(onbuild.trigger.clone());
                Ok(String::new())
            }
            Kind::From(_) | Kind::Arg(_) | Kind::Run(_) | Kind::Workdir(_) | Kind::Copy(_) | Kind::Add(_) => {
                Ok(String::new())
            }
        }
    }

    fn pairs(&self, pairs: &[Assignment], span: Span) -> Result<Vec<(String, String)>, PlanError> {
        pairs.iter().map(|pair| Ok((self.word(&pair.name, span)?, self.word(&pair.value, span)?))).collect()
    }

    /// An exec form as it is; a shell form behind the shell.
    fn in_shell(&self, command: &Command) -> Vec<String> {
        match command {
            Command::Exec(argv) => argv.clone(),
            Command::Shell(line) => {
                let mut argv = self.shell();
                argv.push(line.clone());
                argv
            }
        }
    }

    fn healthcheck(&self, check: &Healthcheck) -> image::Healthcheck {
        let Healthcheck::Probe(probe) = check else {
            return image::Healthcheck { test: vec!["NONE".to_owned()], ..image::Healthcheck::default() };
        };
        let Probe { command, interval, timeout, start_period, start_interval, retries } = probe;
        let test = match command {
            // SHELL does not reach it: Docker runs CMD-SHELL with the image's own.
            Command::Shell(line) => vec!["CMD-SHELL".to_owned(), line.clone()],
            Command::Exec(argv) => ["CMD".to_owned()].into_iter().chain(argv.iter().cloned()).collect(),
        };
        image::Healthcheck {
            test,
            interval: *interval,
            timeout: *timeout,
            start_period: *start_period,
            start_interval: *start_interval,
            retries: i64::from(*retries),
        }
    }
}

fn joined(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

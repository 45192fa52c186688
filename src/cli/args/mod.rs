//! What may be typed. Nothing here decides anything: [`super::order`] gives it its meaning.

// What is written of an argument here is its help, on a terminal, and no page of rustdoc's.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]

mod build;
mod cache;
mod diff;
mod doctor;
mod down;
mod each;
mod init;
mod later;
mod lock;
mod recipe;
mod road;
mod serve;
mod start;
mod step;
mod task;
mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use build::BuildArgs;
pub use cache::{CacheArgs, CacheCommand, PruneArgs};
pub use diff::DiffArgs;
pub use doctor::DoctorArgs;
pub use down::DownArgs;
pub use each::EachArgs;
pub use init::InitArgs;
pub use later::refused_flags;
pub use lock::LockArgs;
pub use recipe::RecipeArgs;
pub use road::{AtArgs, DeployArgs, IdentityArgs, NetworkArgs, RoadArgs};
pub use serve::ServeArgs;
pub use start::{OnInterrupt, Provider, StartArgs};
pub use step::StepArgs;
pub use task::{ConfigArgs, LogsArgs, RunArgs, StatusArgs};
pub use verify::VerifyArgs;

use super::Failure;
use super::screen::Progress;

/// From a Dockerfile to a finished Fargate task, without Docker.
#[derive(Debug, Parser)]
#[command(name = "locus-push", version, about, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(override_usage = "locus-push [OPTIONS] DOCKERFILE...|--all\n       locus-push <COMMAND> [OPTIONS] ...")]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Sub>,
    #[command(flatten)]
    pub road: RoadArgs,
}

const EXAMPLES: &str = "\
Examples:
  locus-push loaders/os_opendata.Dockerfile            build, push, run on Fargate, follow the log
  locus-push --local loaders/os_opendata.Dockerfile    the same, without AWS
  locus-push --all                                     each loader of locus.toml, several at once
  locus-push --env FILTER='Test Loader' --memory 1024 loaders/os_opendata.Dockerfile
  locus-push deploy loaders/os_opendata.Dockerfile     the same without the run; then `run`, `logs`, `status os_opendata`
  locus-push build -o type=oci,dest=image.tar .        only the image

A command's name comes before a file of that name: ./build is the file.
More: locus-push help exit-codes|environment|config|progress|dockerfile, or help COMMAND.";

const DEPLOY: &str = "\
Example:
  locus-push deploy loaders/os_opendata.Dockerfile     prints the image by digest; --json the task definition too
  locus-push run os_opendata                           runs it";

const PREFLIGHT: &str = "\
Examples:
  locus-push preflight loaders/os_opendata.Dockerfile
  locus-push preflight os_opendata                     a loader of locus.toml
  locus-push preflight --json os_opendata

Each line is OK, NG with what would mend it, or ?? where it cannot be known from here. Exit code 1 where one is NG. The
road looks by itself at what could only fail, before it builds.";

#[derive(Debug, Subcommand)]
pub enum Sub {
    /// The road without the run: build, push, register
    #[command(after_help = DEPLOY)]
    Deploy(Box<DeployArgs>),
    /// Run a task again, without a build
    Run(Box<RunArgs>),
    /// A task's log
    Logs(LogsArgs),
    /// What of a loader runs, and what ran last
    Status(StatusArgs),
    /// Remove what was made for a loader
    Down(DownArgs),
    /// Build an image, as `docker buildx build` does
    Build(Box<BuildArgs>),
    /// Push an OCI layout to a registry
    Push(PushArgs),
    /// What would be created or changed in the cloud, and why; builds nothing and changes nothing
    #[command(after_help = "Example:\n  locus-push plan loaders/os_opendata.Dockerfile")]
    Plan(Box<DeployArgs>),
    /// Whether a task could start: identity, repository, roles, secrets, permissions, network; changes nothing
    #[command(after_help = PREFLIGHT)]
    Preflight(Box<DeployArgs>),
    /// How two images differ, layer by layer and path by path
    Diff(DiffArgs),
    /// Build twice from nothing, with all varied that may vary, and name every byte that moved
    Verify(Box<VerifyArgs>),
    /// Pin what a build takes from outside: images, ADD's files, repositories
    Lock(Box<LockArgs>),
    /// What this machine can do for RUN, whom it reaches, and what is missing
    Doctor(DoctorArgs),
    /// Write a locus.toml for the Dockerfiles of this folder
    Init(InitArgs),
    /// Serve the embedded registry
    Serve(ServeArgs),
    /// What is kept between builds: how much, and less of it
    Cache(CacheArgs),
    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS)]
    Completions(CompletionsArgs),
    /// Write the man pages, one for each command
    #[command(after_help = "Example:\n  locus-push man --dir \"$DESTDIR/usr/share/man/man1\"")]
    Man(ManArgs),
    /// What holds for all commands, by topic; or a command's page
    #[command(after_help = HELP)]
    Help(HelpArgs),
    /// Print the version
    #[command(after_help = "Example:\n  locus-push version")]
    Version,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  locus-push push image.tar 127.0.0.1:5000/loaders/os_opendata:latest")]
pub struct PushArgs {
    /// The OCI layout: a folder or a tar
    #[arg(value_name = "LAYOUT")]
    pub layout: PathBuf,
    /// Where to: [HOST[:PORT]/]REPOSITORY[:TAG]
    #[arg(value_name = "REF")]
    pub reference: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

const COMPLETIONS: &str = "\
Examples:
  locus-push completions bash > ~/.local/share/bash-completion/completions/locus-push
  locus-push completions zsh > ~/.zfunc/_locus-push
  locus-push completions fish > ~/.config/fish/completions/locus-push.fish
  locus-push completions powershell >> $PROFILE";

const HELP: &str = "\
Examples:
  locus-push help exit-codes
  locus-push help environment     the variables
  locus-push help config          the keys of locus.toml
  locus-push help progress        the screens, and the events of --progress json
  locus-push help build           the same as build --help";

#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct HelpArgs {
    /// exit-codes, environment, config, progress, or a command
    #[arg(value_name = "TOPIC")]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// How registries are reached.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registries and configuration")]
pub struct RegistryArgs {
    /// Reach a registry's host at another address, e.g. docker.io=http://127.0.0.1:5000 [env: LOCUS_REGISTRY_ENDPOINTS, comma-separated]
    #[arg(long, value_name = "HOST=URL")]
    pub registry_endpoint: Vec<String>,
    /// Let registries and downloads send us to this host in a private network
    #[arg(long, value_name = "HOST")]
    pub allow_private: Vec<String>,
    /// Trust the certificates in this PEM file too
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The settings [default: locus.toml here, else in a parent up to the git root]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What is said, and how.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct ScreenArgs {
    /// How progress is shown, on stderr
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Progress::Auto, hide_possible_values = true)]
    #[arg(help = "How progress is shown, on stderr: auto, tty, plain, json or quiet")]
    pub progress: Progress,
    /// Give the answer on stdout as JSON; a failure too, with the phase that failed
    #[arg(long)]
    pub json: bool,
    /// Say more: name each file of a RUN that was made still; of `cache du`, each thing that is kept
    #[arg(long, short)]
    pub verbose: bool,
}

/// Why there are no arguments to act on.
#[derive(Debug)]
pub enum NotParsed {
    /// clap's own words: help, the version, or what is wrong.
    Clap(Box<clap::Error>),
    Refused(Box<Failure>),
}

/// Reads the arguments, the program's name first.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, NotParsed> {
    let args: Vec<OsString> = args.into_iter().collect();
    // clap would take the options of a command that it does not know for its own, and complain about those.
    if let Some(first) = args.get(1).and_then(|arg| arg.to_str()) {
        later::refuse_command(first)?;
    }
    let matches = later::with_flags(Cli::command()).try_get_matches_from(args)?;
    later::refuse_flags(&matches)?;
    let cli = Cli::from_arg_matches(&matches)?;
    if let (None, Some(first)) = (&cli.command, cli.road.deploy.dockerfiles.first().and_then(|path| path.to_str())) {
        later::refuse_command(first)?;
        refuse_late_command(first)?;
    }
    Ok(cli)
}

/// The command without what is only there to be refused, for help and completions.
pub fn command() -> clap::Command {
    Cli::command()
}

/// A command's name after the road's options: the name wins over a file, and a command stands first.
fn refuse_late_command(name: &str) -> Result<(), Failure> {
    match Cli::command().find_subcommand(name) {
        Some(_) => Err(Failure::usage(format!("`{name}` is a command, and a command stands before its options"))
            .hint(format!("write `locus-push {name} [OPTIONS] …`; the file is `./{name}`"))),
        None => Ok(()),
    }
}

impl From<clap::Error> for NotParsed {
    fn from(error: clap::Error) -> Self {
        Self::Clap(Box::new(error))
    }
}

impl From<Failure> for NotParsed {
    fn from(failure: Failure) -> Self {
        Self::Refused(Box::new(failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, NotParsed> {
        parse(std::iter::once("locus-push").chain(line.split_whitespace()).map(OsString::from))
    }

    #[track_caller]
    fn refused(line: &str) -> String {
        match parsed(line) {
            Err(NotParsed::Refused(failure)) => {
                assert_eq!(failure.exit_code(), 2);
                failure.message
            }
            Err(NotParsed::Clap(error)) => {
                assert_eq!(error.exit_code(), 2);
                error.to_string()
            }
            Ok(cli) => panic!("{line} was taken for {cli:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        later::with_flags(Cli::command()).debug_assert();
    }

    #[test]
    fn dockerfiles_are_the_road_and_names_are_commands() {
        let road = parsed("--local a.Dockerfile b.Dockerfile").expect("the road");
        assert!(road.command.is_none() && road.road.local);
        assert_eq!(road.road.deploy.dockerfiles, ["a.Dockerfile", "b.Dockerfile"].map(PathBuf::from));
        assert!(matches!(parsed("build .").expect("a build").command, Some(Sub::Build(_))));
        assert!(matches!(parsed("version").expect("version").command, Some(Sub::Version)));
        let file = parsed("./build").expect("the file");
        assert_eq!(file.road.deploy.dockerfiles, [PathBuf::from("./build")]);
    }

    #[test]
    fn a_command_that_is_not_there_yet_is_no_dockerfile() {
        for line in ["inspect", "--local inspect", "inspect --yes x"] {
            assert_eq!(refused(line), "`inspect` is not there yet", "{line}");
        }
        assert!(parsed("./inspect").is_ok());
    }

    #[test]
    fn a_command_after_options_is_told_where_it_stands() {
        assert_eq!(refused("--progress plain build"), "`build` is a command, and a command stands before its options");
    }

    #[test]
    fn flags_that_buildx_has_and_we_have_not_are_refused_by_name() {
        for (line, words) in [
            ("build --cpu-shares 2 .", "`--cpu-shares` is not supported yet"),
            ("build --cpu-shares=2 .", "`--cpu-shares` is not supported yet"),
            ("build -m 1g .", "`--memory` is not supported yet"),
        ] {
            assert_eq!(refused(line), words, "{line}");
        }
    }

    #[test]
    fn load_is_refused_with_the_way_out() {
        let Err(NotParsed::Refused(failure)) = parsed("build --load .") else { panic!("--load was taken") };
        assert_eq!(failure.message, "`--load` needs a Docker daemon, and there is none here");
        assert!(failure.hints[0].contains("type=oci,dest="), "{:?}", failure.hints);
    }

    #[test]
    fn a_flag_that_nobody_knows_gets_the_nearest() {
        assert!(refused("build --targt x .").contains("'--target'"));
        assert!(refused("--memroy 512 Dockerfile").contains("'--memory'"));
        assert!(refused("--progress rainbow Dockerfile").contains("rainbow"));
    }

    #[test]
    fn help_shows_no_flag_that_is_only_refused() {
        let mut command = later::with_flags(Cli::command());
        let build = command.find_subcommand_mut("build").expect("build is there").render_long_help().to_string();
        assert!(build.contains("--build-arg") && !build.contains("--cpu-period") && !build.contains("--squash"));
        let road = command.render_long_help().to_string();
        assert!(road.contains("--registry-endpoint") && !road.contains("inspect"));
    }
}

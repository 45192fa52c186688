//! Arguments in, words and bars out. The only room that prints, and it does none of the work.
//!
//! ```text
//! args ─▶ order (settings: flag, environment, locus.toml, default) ─▶ dispatch ─▶ answer or failure
//! ```

mod args;
mod caches;
mod check;
mod checks;
mod diff;
mod dispatch;
mod doctor;
mod documents;
mod down;
mod duration;
mod each;
mod environment;
mod escape;
mod failure;
mod files;
mod help;
mod home;
mod init;
mod itself;
mod lock;
mod locus_toml;
mod name;
mod order;
mod output;
mod panic;
mod place;
mod plan;
mod preflight;
mod runtime;
mod screen;
mod settings;
mod several;
mod shell;
mod task_definition;
mod tasks;
mod upkeep;
mod words;

use std::io::IsTerminal;
use std::process::ExitCode;

pub use dispatch::Done;
pub use environment::Environment;
pub use failure::{Failure, Kind, Phase};
pub use order::{
    BuildOrder, CheckOrder, DiffOrder, DoctorOrder, EachOrder, ImageOrder, LoaderOrder, LockAt, LockOrder, LogsOrder,
    PreflightOrder, PushOrder, RoadOrder, RunOrder, ServeOrder, StatusOrder, Task, VerifyOrder, World,
};
pub use output::Output;
pub use place::Place;
pub use screen::{LogTo, Manner, Paint, Progress, Screen};
pub use settings::{RegistrySettings, Session};

use args::{CacheCommand, Cli, NotParsed, ScreenArgs, Sub};

/// The whole program: what was typed, done; the exit code says how it went.
pub fn main() -> ExitCode {
    let env = Environment::of_process();
    let paint = Paint::wanted(&env, std::io::stderr().is_terminal());
    panic::install(paint);
    // Asked before anything is parsed, so that a failure to parse is told in the form that was asked for.
    let json = std::env::args_os().skip(1).take_while(|arg| arg != "--").any(|arg| arg == "--json");
    let cli = match args::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(NotParsed::Clap(error)) => return clap_speaks(&error, json),
        Err(NotParsed::Refused(failure)) => return refused(&failure, json, paint),
    };
    let manner = said(&cli);
    let json = manner.json;
    let screen = match Screen::open(manner, &env) {
        Ok(screen) => screen,
        Err(failure) => return refused(&failure, json, paint),
    };
    match panic::caught(|| run(&cli, &screen)) {
        Ok(Ok(done)) => match screen.answer(&done) {
            Ok(()) => ExitCode::from(done.exit_code()),
            Err(failure) => refused(&failure, false, paint),
        },
        Ok(Err(failure)) => {
            screen.fail(&failure);
            ExitCode::from(failure.exit_code())
        }
        Err(bug) => {
            screen.close();
            screen::tell_json(&bug, json);
            ExitCode::from(bug.exit_code())
        }
    }
}

fn run(cli: &Cli, screen: &Screen) -> Result<Done, Failure> {
    let world = World::of_process()?;
    let command = order::command(cli, &world)?;
    dispatch::dispatch(command, world.env.set("SOURCE_DATE_EPOCH"), &screen.events())
}

/// How the command wants to be told.
fn said(cli: &Cli) -> Manner {
    let (quiet, args) = match &cli.command {
        None => (false, &cli.road.deploy.screen),
        Some(Sub::Deploy(args) | Sub::Preflight(args)) => (false, &args.screen),
        Some(Sub::Status(args)) => (false, &args.screen),
        Some(Sub::Down(args)) => (false, &args.screen),
        Some(Sub::Run(args)) => (false, &args.screen),
        Some(Sub::Logs(args)) => (false, &args.screen),
        Some(Sub::Build(args)) => (args.quiet, &args.screen),
        Some(Sub::Push(args)) => (false, &args.screen),
        Some(Sub::Verify(args)) => (args.build.quiet, &args.build.screen),
        Some(Sub::Diff(args)) => (false, &args.screen),
        Some(Sub::Lock(args)) => (false, &args.screen),
        Some(Sub::Plan(args)) => (false, &args.screen),
        Some(Sub::Serve(args)) => (false, &args.screen),
        Some(Sub::Doctor(args)) => (false, &args.screen),
        Some(Sub::Init(args)) => (false, &args.screen),
        Some(Sub::Cache(args)) => match &args.command {
            CacheCommand::Du(args) => (false, &args.screen),
            CacheCommand::Prune(args) => (false, &args.screen),
        },
        Some(Sub::Completions(_) | Sub::Man(_) | Sub::Help(_) | Sub::Version) => {
            return Manner { progress: Progress::Quiet, ..Manner::default() };
        }
    };
    let ScreenArgs { progress, json, verbose } = *args;
    let log = match &cli.command {
        Some(Sub::Run(_)) if !json => LogTo::Stdout,
        Some(Sub::Logs(_)) if json => LogTo::StdoutAsJson,
        Some(Sub::Logs(_)) => LogTo::Stdout,
        _ => LogTo::Stderr,
    };
    Manner { progress: if quiet { Progress::Quiet } else { progress }, json, verbose, log }
}

fn clap_speaks(error: &clap::Error, json: bool) -> ExitCode {
    // Nobody is left to be told when the stream is gone.
    let _ = error.print();
    if error.use_stderr() {
        let words = error.to_string();
        let message = words.lines().next().unwrap_or_default().trim_start_matches("error: ");
        screen::tell_json(&Failure::usage(message), json);
    }
    ExitCode::from(if error.use_stderr() { Kind::Usage.exit_code() } else { 0 })
}

fn refused(failure: &Failure, json: bool, paint: Paint) -> ExitCode {
    screen::tell_failure(failure, json, paint);
    ExitCode::from(failure.exit_code())
}

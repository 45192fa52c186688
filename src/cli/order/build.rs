//! The order of `build`.

use std::io::IsTerminal;
use std::path::Path;

use super::super::args::BuildArgs;
use super::super::output::Output;
use super::super::settings::{Given, RegistrySettings, annotations, build_args, labels, platform};
use super::super::{Failure, files, home};
use super::run_options::run_options;
use super::{BuildOrder, Call, CheckOrder, Command, DockerfileText, ImageOrder, context, dockerfile, no_cache};
use crate::graph::Contexts;
use crate::image::Reference;

pub(super) fn command(args: &BuildArgs, registry: RegistrySettings, given: Given<'_>) -> Result<Command, Failure> {
    Ok(match call(args)? {
        None => Command::Build(Box::new(order(args, registry, given)?)),
        Some(call) => {
            builds_nothing(args)?;
            let image = image(args, given)?;
            Command::Check(Box::new(CheckOrder { image, call, registry, home: home::folder(given.env)? }))
        }
    })
}

/// What is to be told instead of a build.
fn call(args: &BuildArgs) -> Result<Option<Call>, Failure> {
    match args.call.as_deref() {
        None if args.check => Ok(Some(Call::Check)),
        None | Some("build") => Ok(None),
        Some("check") => Ok(Some(Call::Check)),
        Some("outline") => Ok(Some(Call::Outline)),
        Some("targets") => Ok(Some(Call::Targets)),
        Some(method) => {
            Err(Failure::usage(format!("--call {method}: the methods are build, check, outline and targets"))
                .hint("the answer as JSON is --json"))
        }
    }
}

/// A flag for a result that there will not be is a misunderstanding.
fn builds_nothing(args: &BuildArgs) -> Result<(), Failure> {
    let given = [
        ("--tag", !args.tag.is_empty()),
        ("--output", !args.output.is_empty()),
        ("--push", args.push),
        ("--iidfile", args.iidfile.is_some()),
        ("--metadata-file", args.metadata_file.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => {
            let told = if args.check { "--check" } else { "--call" };
            Err(Failure::usage(format!("{flag} does not go with {told}, which builds nothing")))
        }
    }
}

pub(super) fn order(args: &BuildArgs, registry: RegistrySettings, given: Given<'_>) -> Result<BuildOrder, Failure> {
    only_false("--provenance", args.provenance.as_deref())?;
    only_false("--sbom", args.sbom.as_deref())?;
    let outputs = outputs(args)?;
    let tags: Vec<Reference> = args
        .tag
        .iter()
        .map(|tag| tag.parse().map_err(|error| Failure::usage(format!("-t: {error}"))))
        .collect::<Result<_, _>>()?;
    if outputs.contains(&Output::Registry) && tags.is_empty() {
        return Err(Failure::usage("--push needs a name to push to").hint("-t HOST/REPOSITORY:TAG says it"));
    }
    Ok(BuildOrder {
        image: image(args, given)?,
        tags,
        outputs,
        iidfile: args.iidfile.clone(),
        metadata_file: args.metadata_file.clone(),
        run: run_options(args, given)?,
        registry,
        home: home::folder(given.env)?,
    })
}

fn image(args: &BuildArgs, given: Given<'_>) -> Result<ImageOrder, Failure> {
    let none = Default::default();
    let platform = platform(&args.platform, None)?;
    let folder = context(&args.context, given)?;
    let build_args = build_args(&args.build_arg, &none, given)?;
    super::frontend::check(&build_args)?;
    Ok(ImageOrder {
        dockerfile: source(args, given)?,
        context: folder,
        build_args,
        target: args.target.clone(),
        platform,
        labels: labels(&args.label, &none, given)?,
        contexts: contexts(&args.build_context, given)?,
        preserve_modes: args.preserve_modes,
        preserve_times: args.preserve_times,
        no_cache: no_cache(args.no_cache, &args.no_cache_filter),
        annotations: annotations(&args.annotation)?,
    })
}

/// Paths are those of the current folder.
fn contexts(texts: &[String], given: Given<'_>) -> Result<Contexts, Failure> {
    let mut contexts = Contexts::default();
    for text in texts {
        contexts.add(text).map_err(|error| Failure::usage(format!("--build-context: {error}")))?;
    }
    for path in contexts.paths() {
        *path = given.cwd.join(&path);
        if let Err(error) = path.metadata() {
            return Err(Failure::usage(format!("--build-context: {} cannot be read: {error}", path.display())));
        }
    }
    Ok(contexts)
}

fn source(args: &BuildArgs, given: Given<'_>) -> Result<DockerfileText, Failure> {
    match &args.file {
        Some(file) if file == Path::new("-") => {
            let text = files::read_stdin("Dockerfile")?;
            Ok(DockerfileText { shown: "stdin".to_owned(), path: None, text })
        }
        Some(file) => dockerfile(file, given),
        // `./Dockerfile` is shown as people name it.
        None if args.context == Path::new(".") => dockerfile(Path::new("Dockerfile"), given),
        None => dockerfile(&args.context.join("Dockerfile"), given),
    }
    .map_err(|failure| if args.file.is_none() { failure.hint("-f FILE names another") } else { failure })
}

fn outputs(args: &BuildArgs) -> Result<Vec<Output>, Failure> {
    let mut outputs: Vec<Output> = args.output.iter().map(|text| Output::parse(text)).collect::<Result<_, _>>()?;
    if args.push {
        outputs.push(Output::Registry);
    }
    let mut seen: Vec<Output> = Vec::new();
    for output in outputs {
        if let Some(path) = output.path()
            && seen.iter().any(|other| other.path() == Some(path))
        {
            return Err(Failure::usage(format!("two outputs are written to {}", path.display())));
        }
        if output.is_stdout() && seen.iter().any(Output::is_stdout) {
            return Err(Failure::usage("two outputs are written to stdout"));
        }
        if output.path().is_some() || !seen.contains(&output) {
            seen.push(output);
        }
    }
    if seen.iter().any(Output::is_stdout) {
        stdout_takes_a_tar(args)?;
    }
    Ok(seen)
}

fn stdout_takes_a_tar(args: &BuildArgs) -> Result<(), Failure> {
    if args.screen.json {
        return Err(Failure::usage("--json and an output on stdout would be mixed").hint("dest=FILE names a file"));
    }
    if std::io::stdout().is_terminal() {
        return Err(Failure::usage("a tar is not for a terminal").hint("write `> FILE` or `| PROGRAM`, or dest=FILE"));
    }
    Ok(())
}

fn only_false(flag: &str, value: Option<&str>) -> Result<(), Failure> {
    match value {
        None | Some("false") => Ok(()),
        Some(value) => Err(Failure::usage(format!("{flag}={value} is not supported yet"))
            .hint(format!("no attestation is made; {flag}=false says so"))),
    }
}

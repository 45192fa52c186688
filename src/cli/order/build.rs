//! The order of `build`.

use std::io::IsTerminal;
use std::path::Path;

use super::super::args::BuildArgs;
use super::super::output::{Output, PackingAsked};
use super::super::settings::{self, Given, RegistrySettings};
use super::super::{Failure, files, home};
use super::run_options::run_options;
use super::{BuildOrder, Call, CheckOrder, Command, ImageOrder, context, dockerfile, elsewhere, is_url};
use super::{image, lock};
use crate::build::Elsewhere;
use crate::graph::Scheme;
use crate::image::Reference;
use crate::layer::Packing;
use crate::road::{DockerfileAt, DockerfileText, Materials, Wanted};

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
        ("--explain", args.recipe.explain),
        ("--cache-to", !args.recipe.cache_to.is_empty()),
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
    let (outputs, packing) = outputs(args)?;
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
        packing,
        iidfile: args.iidfile.clone(),
        metadata_file: args.metadata_file.clone(),
        run: run_options(&args.run, ("--secret", &args.secret), given)?,
        registry,
        home: home::folder(given.env)?,
    })
}

fn image(args: &BuildArgs, given: Given<'_>) -> Result<ImageOrder, Failure> {
    let materials = materials(args, given)?;
    let agent = match &materials {
        Materials::Elsewhere { from: Elsewhere::Git(git), .. } if git.remote.scheme() == Scheme::Ssh => {
            given.env.set("SSH_AUTH_SOCK").map(Into::into)
        }
        _ => None,
    };
    let settings = settings::recipe(&args.recipe, given)?;
    let pinning = lock::pinning(lock::dockerfile_of(&materials), &args.recipe, given)?;
    Ok(ImageOrder { agent, pinning, ..image::order(materials, &args.recipe, settings, given)? })
}

fn materials(args: &BuildArgs, given: Given<'_>) -> Result<Materials, Failure> {
    let Some(from) = elsewhere(&args.context, given)? else {
        let directory = context(&args.context, given)?;
        let dockerfile = match &args.file {
            Some(file) => named(file, given)?,
            // `./Dockerfile` is shown as people name it.
            None if args.context == Path::new(".") => own(Path::new("Dockerfile"), given)?,
            None => own(&args.context.join("Dockerfile"), given)?,
        };
        return Ok(Materials::Folder { directory, dockerfile, preserve_modes: args.recipe.preserve_modes });
    };
    if args.recipe.preserve_modes {
        return Err(Failure::usage(
            "--preserve-modes is for a folder: the modes of other contexts are kept as they are",
        ));
    }
    if from == Elsewhere::Stdin && args.file.as_deref() == Some(Path::new("-")) {
        return Err(Failure::usage("stdin cannot be both the context and the Dockerfile"));
    }
    let dockerfile = match &args.file {
        None => Wanted::Inside(None),
        // As in buildx: what is relative is a path in the context.
        Some(file) if file.is_relative() && file != Path::new("-") && !file.to_str().is_some_and(is_url) => {
            Wanted::Inside(Some(file.to_string_lossy().into_owned()))
        }
        Some(file) => Wanted::Beside(named(file, given)?),
    };
    Ok(Materials::Elsewhere { from, dockerfile })
}

/// The Dockerfile that -f names.
fn named(file: &Path, given: Given<'_>) -> Result<DockerfileAt, Failure> {
    match file.to_str() {
        Some("-") => {
            let text = files::read_stdin("Dockerfile")?;
            Ok(DockerfileAt::Read(DockerfileText { shown: "stdin".to_owned(), path: None, text }))
        }
        Some(url) if is_url(url) => Ok(DockerfileAt::Url(url.to_owned())),
        _ => dockerfile(file, given).map(DockerfileAt::Read),
    }
}

/// The context's own.
fn own(path: &Path, given: Given<'_>) -> Result<DockerfileAt, Failure> {
    dockerfile(path, given).map(DockerfileAt::Read).map_err(|failure| failure.hint("-f FILE names another"))
}

fn outputs(args: &BuildArgs) -> Result<(Vec<Output>, Packing), Failure> {
    let (mut outputs, mut asked) = (Vec::new(), vec![image::packing_asked(&args.recipe)]);
    for text in &args.output {
        let (output, packing) = Output::parse(text)?;
        outputs.push(output);
        asked.push(packing);
    }
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
    Ok((seen, PackingAsked::agreed(&asked)?))
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

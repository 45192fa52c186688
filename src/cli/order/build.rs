//! The order of `build`.

use std::path::Path;

use super::super::args::BuildArgs;
use super::super::output::Output;
use super::super::settings::{Given, RegistrySettings, build_args, labels, platform};
use super::super::{Failure, files, home};
use super::run_options::run_options;
use super::{BuildOrder, DockerfileText, ImageOrder, context, dockerfile};
use crate::graph::Contexts;
use crate::image::Reference;

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
    let none = Default::default();
    let platform = platform(&args.platform, None)?;
    let folder = context(&args.context, given)?;
    let image = ImageOrder {
        dockerfile: source(args, given)?,
        context: folder,
        build_args: build_args(&args.build_arg, &none, given)?,
        target: args.target.clone(),
        platform,
        labels: labels(&args.label, &none, given)?,
        contexts: contexts(&args.build_context, given)?,
        preserve_modes: args.preserve_modes,
        no_cache: args.no_cache,
    };
    Ok(BuildOrder {
        image,
        tags,
        outputs,
        iidfile: args.iidfile.clone(),
        metadata_file: args.metadata_file.clone(),
        run: run_options(args, given)?,
        registry,
        home: home::folder(given.env)?,
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
        match (dest(&output), &output) {
            (None, output) if seen.contains(output) => {}
            (Some(path), _) if seen.iter().any(|other| dest(other) == Some(path)) => {
                return Err(Failure::usage(format!("two outputs are written to {}", path.display())));
            }
            _ => seen.push(output),
        }
    }
    Ok(seen)
}

fn dest(output: &Output) -> Option<&Path> {
    match output {
        Output::OciTar { dest } | Output::OciFolder { dest } => Some(dest),
        Output::Registry => None,
    }
}

fn only_false(flag: &str, value: Option<&str>) -> Result<(), Failure> {
    match value {
        None | Some("false") => Ok(()),
        Some(value) => Err(Failure::usage(format!("{flag}={value} is not supported yet"))
            .hint(format!("no attestation is made; {flag}=false says so"))),
    }
}

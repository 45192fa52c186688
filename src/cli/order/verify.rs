//! The order of `verify`: to build twice, or to be the second build.

use super::super::Failure;
use super::super::args::{BuildArgs, RecipeArgs, VerifyArgs};
use super::super::output::Output;
use super::super::settings::{Given, RegistrySettings};
use super::{Command, VerifyOrder};
use super::{build, lock};
use crate::image::Flavor;
use crate::road::{Again, Elsewhere};

pub(super) fn command(args: &VerifyArgs, registry: RegistrySettings, given: Given<'_>) -> Result<Command, Failure> {
    refuse(&args.build)?;
    let (dockerfile, context) = match &args.again {
        Some(folder) => {
            let elsewhere = Elsewhere(folder.clone());
            (elsewhere.dockerfile(), elsewhere.context())
        }
        None => (args.build.context.clone(), args.folder.clone()),
    };
    // The second build's Dockerfile lies elsewhere, and its lock file does not.
    let pinning = lock::pinning(Some(&args.build.context), &args.build.recipe, given)?;
    let recipe = RecipeArgs { lockfile: None, locked: false, ..args.build.recipe.clone() };
    let of_build = BuildArgs { file: Some(dockerfile), context, recipe, ..args.build.clone() };
    let mut build = build::order(&of_build, registry, given)?;
    build.image.pinning = pinning;
    Ok(match &args.again {
        Some(folder) => {
            let elsewhere = Elsewhere(folder.clone());
            let outputs = vec![Output::Folder { flavor: Flavor::Oci, dest: elsewhere.layout() }];
            let mut order = super::BuildOrder { outputs, ..build };
            for (number, path) in order.image.contexts.folders().enumerate() {
                *path = elsewhere.named(number);
            }
            Command::Build(Box::new(order))
        }
        None => Command::Verify(Box::new(VerifyOrder { build, again: again()? })),
    })
}

/// A flag that would be passed over is a misunderstanding.
fn refuse(args: &BuildArgs) -> Result<(), Failure> {
    let given = [
        ("--file", args.file.is_some()),
        ("--tag", !args.tag.is_empty()),
        ("--output", !args.output.is_empty()),
        ("--push", args.push),
        ("--iidfile", args.iidfile.is_some()),
        ("--metadata-file", args.metadata_file.is_some()),
        ("--check", args.check),
        ("--call", args.call.is_some()),
        ("--explain", args.recipe.explain),
        ("--cache-from", !args.recipe.cache_from.is_empty()),
        ("--cache-to", !args.recipe.cache_to.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => Err(Failure::usage(format!("{flag} does not go with verify")).hint(
            "the Dockerfile is its argument; both images are built from nothing, and gone when they have been compared",
        )),
    }
}

fn again() -> Result<Again, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::configuration(format!("this program cannot be found to run it again: {error}")))?;
    // Behind the program and the command, which stands before its options.
    Ok(Again { program, arguments: std::env::args_os().skip(2).collect() })
}

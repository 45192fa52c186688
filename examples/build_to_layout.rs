//! Builds an image into a folder, as an OCI layout, and prints its digest:
//!
//!     cargo run --example build_to_layout -- DOCKERFILE CONTEXT LAYOUT

use std::error::Error;
use std::path::PathBuf;

use locus_push::build::{Context, Folder};
use locus_push::event::Events;
use locus_push::image::Flavor;
use locus_push::road::{self, HouseOptions, Output, Outputs, Recipe};

fn main() -> Result<(), Box<dyn Error>> {
    // For RUN, the sandbox starts this program again: such a process does not come back from here. Before all else, as
    // it must not have threads yet.
    locus_push::sandbox::enter_if_asked(locus_push::build::JOBS);
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [dockerfile, context, layout] = &arguments[..] else {
        return Err("usage: build_to_layout DOCKERFILE CONTEXT LAYOUT".into());
    };

    let folder = Folder { directory: context.clone(), dockerfile: Some(dockerfile.clone()), preserve_modes: false };
    let mut recipe = Recipe::new(std::fs::read_to_string(dockerfile)?, Context::Folder(folder));
    recipe.options.labels.insert("org.example.made-by".to_owned(), "build_to_layout".to_owned());

    // What was built before is found again below this folder.
    let mut house = HouseOptions::new(std::env::temp_dir().join("locus-push-example"));
    house.events = Events::new(|event| eprintln!("{event:?}"));
    let outputs = Outputs { places: vec![Output::Folder(layout.clone(), Flavor::Oci)], tags: Vec::new() };

    let runtime = tokio::runtime::Runtime::new()?;
    let (image, _) = runtime.block_on(road::build(&recipe, outputs, &house))?;
    println!("{}", image.digest());
    Ok(())
}

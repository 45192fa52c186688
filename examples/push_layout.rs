//! Pushes the image of an OCI layout, a folder or a tar, and prints where it is, by digest:
//!
//!     cargo run --example push_layout -- LAYOUT REFERENCE
//!
//! Credentials are those of `docker login`; for ECR, those of AWS.

use std::error::Error;
use std::path::Path;

use locus_push::event::{Event, Events};
use locus_push::image::Reference;
use locus_push::road::{self, HouseOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [layout, destination] = &arguments[..] else {
        return Err("usage: push_layout LAYOUT REFERENCE".into());
    };
    let destination: Reference = destination.parse()?;

    let mut house = HouseOptions::new(std::env::temp_dir().join("locus-push-example"));
    house.events = Events::new(|event| {
        if let Event::Warning { message, .. } = event {
            eprintln!("warning: {}", message.escape_debug());
        }
    });

    let runtime = tokio::runtime::Runtime::new()?;
    let pushed = runtime.block_on(road::push_layout(Path::new(layout), &destination, &house))?;
    println!("{}", pushed.reference);
    Ok(())
}

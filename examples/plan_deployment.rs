//! Tells what deploying a loader would make or change in the cloud, and why. It builds nothing and changes nothing:
//!
//!     cargo run --example plan_deployment -- DOCKERFILE SUBNET SECURITY_GROUP
//!
//! Region and credentials are found as the AWS CLI finds them.

use std::error::Error;
use std::path::PathBuf;

use locus_push::build::{Context, Folder};
use locus_push::deploy::{Description, Loader};
use locus_push::event::Events;
use locus_push::road::{self, Order, Recipe, Session};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dockerfile, subnet, security_group] = &arguments[..] else {
        return Err("usage: plan_deployment DOCKERFILE SUBNET SECURITY_GROUP".into());
    };
    let dockerfile = PathBuf::from(dockerfile);
    let folder = Folder { directory: ".".into(), dockerfile: Some(dockerfile.clone()), preserve_modes: false };
    let recipe = Recipe::new(std::fs::read_to_string(&dockerfile)?, Context::Folder(folder));
    // What is not said has the name that the loader's gives it: its cluster, its roles, its log group.
    let loader = Loader::new(Description {
        name: dockerfile.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        subnets: vec![subnet.clone()],
        security_groups: vec![security_group.clone()],
        cpu: Some(512),
        memory: Some(1024),
        ..Description::default()
    })?;
    let order = Order { recipe, loader, session: Session::default(), preflight: false, repository_uri: None };

    let runtime = tokio::runtime::Runtime::new()?;
    let plan = runtime.block_on(road::plan(order, &Events::silent()))?;
    println!("in {} of {}:", plan.region, plan.account);
    for change in plan.changes {
        println!("{} {}: {}", change.action.kind(), change.name, change.why);
        for field in change.fields {
            println!("    {field}");
        }
    }
    Ok(())
}

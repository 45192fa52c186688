//! The programs of `examples`, as somebody would run them who uses the library.

use std::path::Path;
use std::process::Command;

use super::small;
use crate::cloud::Cloud;
use crate::image::Image;
use crate::place::{Place, Ran};
use crate::programs::{DockerRegistry, inspected};

/// Cargo builds the examples beside the program, with the tests.
fn example(place: &Place, name: &str, args: &[&str]) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_locus-push")).with_file_name("examples").join(name);
    let mut command = Command::new(program);
    command.args(args).current_dir(place.path(".")).env_clear().envs(&place.vars);
    Ran::of(command.output().expect("`cargo build --examples` makes it, and so does `cargo test` of everything"), args)
}

#[test]
fn an_image_is_built_to_a_layout_and_pushed_and_a_deployment_is_planned() {
    let cloud = Cloud::shared();
    let (mut place, name) = small(&cloud, "true");
    place.var("TMPDIR", place.beside("home").display());
    place.write("Dockerfile", "FROM scratch\nCOPY marker /\nCMD [\"/marker\"]\n");
    let built = example(&place, "build_to_layout", &["Dockerfile", ".", "layout"]);
    let digest = built.ok().to_owned();
    let image = Image::of_folder(&place.path("layout"));
    assert_eq!(image.digest, digest);
    assert_eq!(image.files(0)["/marker"].content, name.as_bytes());
    assert_eq!(image.config["config"]["Labels"]["org.example.made-by"], "build_to_layout");

    let registry = DockerRegistry::start(&place.beside("."));
    let reference = format!("{}/{name}", registry.address);
    let pushed = example(&place, "push_layout", &["layout", &format!("{reference}:1")]);
    assert_eq!(pushed.ok(), format!("{reference}@{digest}"));
    assert_eq!(inspected(&format!("{reference}:1"), &[])["Digest"], digest.as_str());

    place.write(&format!("{name}.Dockerfile"), "FROM scratch\nCOPY marker /\n");
    let dockerfile = format!("{name}.Dockerfile");
    let plan = example(&place, "plan_deployment", &[&dockerfile, "subnet-00000001", "sg-00000001"]);
    let lines: Vec<&str> = plan.ok().lines().collect();
    assert_eq!(lines[0], "in eu-west-1 of 123456789012:");
    assert!(lines.contains(&format!("cluster {name}_cluster: there is none").as_str()), "{plan}");
    assert!(lines.contains(&format!("task definition {name}: there is none").as_str()), "{plan}");
}

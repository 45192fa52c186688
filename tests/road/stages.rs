//! What a stage makes that no image stands on.

use std::fs;

use crate::image::{Image, text};
use crate::place::Place;

const DOCKERFILE: &str = "FROM scratch AS made\nCOPY big /big\nWORKDIR /w\nFROM scratch\nCOPY --from=made /big /out\n";

fn place() -> Place {
    let place = Place::new();
    place.write("Dockerfile", DOCKERFILE).write("big", "line upon line\n".repeat(1000));
    place
}

/// The image, whose layers are all compressed.
fn built(place: &Place, args: &str) -> Image {
    let (folder, output) = place.layout();
    let _ = fs::remove_dir_all(&folder);
    place.run(&format!("build {args} -o {output} .")).ok();
    let image = Image::of_folder(&folder);
    for layer in image.manifest["layers"].as_array().expect("a list") {
        assert_eq!(text(&layer["mediaType"]), "application/vnd.oci.image.layer.v1.tar+gzip");
    }
    image
}

/// How many of the blobs that are kept are compressed layers.
fn compressed(place: &Place) -> usize {
    let blobs = fs::read_dir(place.store().join("blobs/sha256")).expect("a store");
    let blobs = blobs.map(|blob| fs::read(blob.expect("a blob").path()).expect("a blob"));
    blobs.filter(|blob| blob.starts_with(&[0x1f, 0x8b])).count()
}

#[test]
fn its_layers_are_compressed_once_they_travel_and_never_before() {
    let place = place();
    built(&place, "");
    assert_eq!(compressed(&place), 1);
    let made = built(&place, "--target made");
    assert_eq!(compressed(&place), 3);
    // The digests are those of a machine that built it for itself.
    assert_eq!(made.digest, built(&self::place(), "--target made").digest);
    assert_eq!(place.run("build --target made .").stderr.matches("Cached ").count(), 2);
}

#[test]
fn a_cache_of_all_stages_takes_them_compressed() {
    let (first, other) = (place(), place());
    built(&first, "");
    let cache = first.beside("cache");
    let to = format!("--cache-to type=local,dest={},mode=max", cache.display());
    built(&first, &to);
    assert_eq!(compressed(&first), 3);
    let from = format!("--cache-from type=local,src={}", cache.display());
    let ran = other.run(&format!("build --target made {from} ."));
    ran.ok();
    assert_eq!(ran.stderr.matches("Cached ").count(), 2);
}

#[test]
fn a_copy_out_of_a_stage_uncompresses_the_layers_that_hold_its_files_alone() {
    let place = place();
    let text =
        "FROM scratch AS made\nCOPY big /big\nCOPY Dockerfile /other\nFROM scratch\nCOPY --from=made /big /out\n";
    place.write("Dockerfile", text);
    built(&place, "");
    let tars = || fs::read_dir(place.store().join("tars")).expect("a store").count();
    assert_eq!(tars(), 1);
    built(&place, "--target made --no-cache");
    place.write("Dockerfile", text.replace("/big /out", "/big /other /out/"));
    built(&place, "");
    assert_eq!(tars(), 2);
}

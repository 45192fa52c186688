//! `-o`: the places of an image on this machine, and what others read there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use serde_json::{Value, json};

use crate::image::Image;
use crate::place::Place;
use crate::programs::{Podman, said_by};

/// Over a base, with a file of the base replaced, one removed, two names of one file, a link and modes.
fn place() -> Place {
    let place = Place::new();
    place.write(
        "Dockerfile",
        "FROM scratch AS base\n\
         COPY --chmod=640 data.txt /etc/one\n\
         COPY data.txt /etc/two\n\
         FROM busybox AS made\n\
         WORKDIR /made\n\
         RUN echo a > a && ln a b && ln -s /etc/passwd l && mkdir -m 700 d && chmod 4755 a && chown 5:6 d\n\
         FROM base\n\
         COPY --chown=7:8 data.txt /etc/two\n\
         COPY --from=made /made /made\n",
    );
    place.write("data.txt", "data\n");
    place
}

#[test]
fn a_tar_for_docker_and_one_of_oci_are_one_image_and_podman_loads_both() {
    let place = place();
    let name = "example.com/loaders/x:1";
    place.run(&format!("build -t {name} -o type=docker,dest=docker.tar -o type=oci,dest=oci.tar .")).ok();
    let image = Image::of_tar(&place.path("oci.tar"));
    assert_eq!(Image::of_tar(&place.path("docker.tar")), image);
    for kind in ["docker", "oci"] {
        let tar = place.path(&format!("{kind}.tar")).display().to_string();
        let podman = Podman::new();
        podman.said(&["load", "-q", "-i", &tar]);
        let found: Value = serde_json::from_str(&podman.said(&["image", "inspect", name])).expect("JSON");
        assert_eq!(format!("sha256:{}", found[0]["Id"].as_str().expect("an id")), image.config_digest, "{kind}");
        let config = said_by("skopeo", &["inspect", "--config", "--raw", &format!("{kind}-archive:{tar}")]);
        assert_eq!(serde_json::from_str::<Value>(&config).expect("JSON"), image.config, "{kind}");
    }
}

#[test]
fn layers_hold_the_same_however_they_are_compressed() {
    let place = place();
    // More than a block of any compressor's, of which a part does not compress.
    let more: Vec<u8> =
        (0..6_000_000u32).map(|n| if n % 2_000_000 < 500_000 { (n.wrapping_mul(n) >> 11) as u8 } else { 7 }).collect();
    place.write("data.txt", &more);
    let built = |flags: &str| {
        let (layout, output) = place.layout();
        place.run(&format!("build {flags} -o {output} .")).ok();
        Image::of_folder(&layout)
    };
    let media_types = |image: &Image| -> Vec<String> {
        let layers = image.manifest["layers"].as_array().expect("a list").iter();
        layers
            .map(|layer| layer["mediaType"].as_str().expect("text").replace("application/vnd.oci.image.", ""))
            .collect()
    };
    let gzip = built("");
    for (flags, kind) in [
        ("--compression gzip --compression-level 9", "layer.v1.tar+gzip"),
        ("--compression zstd", "layer.v1.tar+zstd"),
        ("--compression none", "layer.v1.tar"),
    ] {
        let image = built(flags);
        assert_eq!(media_types(&image), [kind; 4], "{flags}");
        assert_ne!(image.digest, gzip.digest, "{flags}");
        // The config names the tars inside, which are the same.
        assert_eq!(image.config_digest, gzip.config_digest, "{flags}");
        assert!(image.files(0) == gzip.files(0), "{flags}");
    }
    place.run("build --compression zstd -t x:1 -o type=oci,dest=zstd.tar .").ok();
    let tar = place.path("zstd.tar").display().to_string();
    let podman = Podman::new();
    podman.said(&["load", "-q", "-i", &tar]);
    let found: Value = serde_json::from_str(&podman.said(&["image", "inspect", "x:1"])).expect("JSON");
    assert_eq!(format!("sha256:{}", found[0]["Id"].as_str().expect("an id")), gzip.config_digest);
}

#[test]
fn umoci_unpacks_the_layout_that_we_write() {
    let place = place();
    place.run("build -t a:v1 -o type=oci,dest=layout,tar=false .").ok();
    let [layout, bundle] = ["layout", "bundle"].map(|name| place.path(name).display().to_string());
    // Made by an ordinary user, too, which owns all that it unpacks.
    said_by("umoci", &["unpack", "--rootless", "--image", &format!("{layout}:v1"), &bundle]);
    let made = Path::new(&bundle).join("rootfs/made");
    let meta = |name: &str| fs::symlink_metadata(made.join(name)).expect("it is there");
    assert_eq!(fs::read_to_string(made.join("b")).expect("it is text"), "a\n");
    assert_eq!((meta("a").ino(), meta("d").mode() & 0o7777), (meta("b").ino(), 0o700));
    assert_eq!(fs::read_link(made.join("l")).expect("a link"), Path::new("/etc/passwd"));
    let listed = said_by("umoci", &["stat", "--json", "--image", &format!("{layout}:v1")]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let history = listed["history"].as_array().expect("a list");
    let told = history.iter().filter(|line| line["empty_layer"] != true).count();
    assert_eq!(told, Image::of_folder(Path::new(&layout)).layers.len(), "{listed}");
}

#[test]
fn the_files_of_an_image_are_one_tar_on_stdout_or_in_a_file() {
    let place = place();
    place.run("build -o type=tar,dest=files.tar -o type=oci,dest=layout,tar=false .").ok();
    let tar = fs::read(place.path("files.tar")).expect("it was written");
    let mut archive = tar::Archive::new(&tar[..]);
    let mut found = BTreeMap::new();
    for entry in archive.entries().expect("a tar") {
        let entry = entry.expect("a tar");
        let header = entry.header();
        let link = entry.link_name().expect("a link").map(|to| format!(" {}", to.display())).unwrap_or_default();
        let number = |number: std::io::Result<u64>| number.expect("a number");
        let said =
            format!("{:o} {}:{}{link}", header.mode().expect("a mode"), number(header.uid()), number(header.gid()));
        found.insert(entry.path().expect("a path").display().to_string(), said);
    }
    let expected = [
        // As BuildKit makes parents under --chmod.
        ("etc/", "640 0:0"),
        ("etc/one", "640 0:0"),
        ("etc/two", "644 7:8"),
        ("made/", "755 0:0"),
        ("made/a", "4755 0:0"),
        ("made/b", "4755 0:0 made/a"),
        ("made/d/", "700 5:6"),
        ("made/l", "777 0:0 /etc/passwd"),
    ];
    assert_eq!(found, expected.map(|(path, said)| (path.to_owned(), said.to_owned())).into());

    for line in ["build -o - .", "build -o type=tar -q .", "build -o type=tar,dest=- ."] {
        let output = place.start(line).wait_with_output().expect("it ends");
        assert!(output.status.success() && output.stdout == tar, "{line}: the tar and nothing else");
    }
    let output = place.start("build -o type=oci .").wait_with_output().expect("it ends");
    fs::write(place.path("image.tar"), output.stdout).expect("ours");
    assert_eq!(Image::of_tar(&place.path("image.tar")).digest, Image::of_folder(&place.path("layout")).digest);
}

#[test]
fn the_files_of_an_image_are_laid_into_a_folder_over_what_is_there() {
    let place = place();
    place.write("out/etc/two", "old").write("out/mine", "mine").link("out/made", "/var");
    for _ in 0..2 {
        let ran = place.run("build -o out .");
        ran.ok();
        ran.said("left out the set-id bit of 1 file, which would be yours here");
    }
    let meta = |path: &str| fs::symlink_metadata(place.path("out").join(path)).expect(path);
    assert_eq!(fs::read(place.path("out/etc/two")).expect("it is there"), b"data\n");
    assert_eq!(fs::read(place.path("out/mine")).expect("it stays"), b"mine");
    assert!(meta("made").is_dir());
    assert_eq!(meta("etc/one").permissions().mode() & 0o7777, 0o640);
    assert_eq!(meta("made/a").permissions().mode() & 0o7777, 0o755);
    assert_eq!(meta("made/a").ino(), meta("made/b").ino());
    assert_eq!((meta("made/d").uid(), meta("made/d").permissions().mode() & 0o777), (meta("mine").uid(), 0o700));
    assert_eq!(fs::read_link(place.path("out/made/l")).expect("a link"), std::path::Path::new("/etc/passwd"));
}

#[test]
fn what_cannot_be_on_stdout_is_refused_before_anything_is_built() {
    let place = place();
    for (line, words) in [
        ("build -o - -o type=oci .", "error: two outputs are written to stdout\n"),
        ("build -o - --json .", "error: --json and an output on stdout would be mixed\n"),
        ("build -o type=local,dest=- .", "error: -o type=local,dest=-: a folder does not go to stdout\n"),
    ] {
        let ran = place.run(line);
        assert_eq!(ran.code, Some(2), "{ran}");
        assert!(ran.stderr.starts_with(words), "{ran}");
    }
    assert!(!place.store().exists());
}

#[test]
fn annotations_are_the_manifests_own() {
    let place = place();
    let line = "build --annotation a.b=c=d --annotation manifest:e:f=g -o type=oci,dest=layout,tar=false .";
    place.run(line).ok();
    let image = Image::of_folder(&place.path("layout"));
    assert_eq!(image.manifest["annotations"], json!({"a.b": "c=d", "e:f": "g"}));
    let ran = place.run("build --annotation index:a=b .");
    ran.fails(
        2,
        "error: --annotation index:a=b: `index` is not supported: one manifest is written, and no index\n\
         hint: KEY=VALUE and manifest:KEY=VALUE are\n",
    );
}

#[test]
fn the_cache_is_passed_by_for_the_stages_that_are_named() {
    let place = place();
    place.run("build -o type=cacheonly .").ok();
    let ran = place.run("build --no-cache-filter MADE .");
    ran.ok();
    ran.said("Building [made 2/2] RUN echo a");
    ran.said("Cached [base 1/2] COPY --chmod=640");
    let ran = place.run("build --no-cache-filter mode .");
    assert_eq!(ran.code, Some(3), "{ran}");
    ran.said("--no-cache-filter: stage `mode` could not be found");
    ran.said("did you mean `made`?");
}

//! `diff`: two images, wherever they are, and every path that moved.

use std::fs;

use crate::place::Place;
use crate::programs::{DockerRegistry, Podman, said_by};

const DOCKERFILE: &str = "\
FROM scratch
LABEL about=diff
COPY data /data
COPY --chown=33:33 bin /bin
";

/// Two images of one Dockerfile, `one.tar` and `two`, of which the second has other files.
fn two_images() -> Place {
    let place = Place::new();
    place.write("Dockerfile", DOCKERFILE).write("data/places.csv", "id,name\n1,Ely\n2,Bath\n");
    place.write("data/kept", "same").write("bin/load", b"\x7fELF\0\0\0\0").write("data/old", "");
    place.run("build -t a:one -o type=oci,dest=one.tar .").ok();
    place.write("data/places.csv", "id,name\n1,Ely\n2,York\n").write_mode("data/kept", "same", 0o755);
    place.write("bin/load", b"\x7fELF\0\0\0\x01").write("data/new", "new\n");
    fs::remove_file(place.path("data/old")).expect("it is ours");
    place.run("build -t a:two -o type=oci,dest=two,tar=false --label about=other .").ok();
    place
}

#[test]
fn two_images_are_told_layer_by_layer_and_path_by_path() {
    let place = two_images();
    let ran = place.run("diff one.tar two:two");
    let answer = ran.ended(1);
    let told = answer.lines().skip(2).filter(|line| !line.contains(" → ") || line.contains(':'));
    let told: Vec<&str> = told.collect();
    assert_eq!(
        told.join("\n"),
        "\
config
  config.Labels.about: \"diff\" → \"other\"
layer 1 of 2  COPY data /data # buildkit
  /data/kept
    mode: 0644 → 0755
  /data/new: only right (file)
  /data/old: only left (file)
  /data/places.csv
    content: 21 bytes, different from byte 16 on
      @@ line 1 @@
       id,name
       1,Ely
      -2,Bath
      +2,York
layer 2 of 2  COPY --chown=33:33 bin /bin # buildkit
  /bin/load
    content: 8 bytes, different from byte 7 on
      -00000000  7f 45 4c 46 00 00 00 00                          |.ELF....|
      +00000000  7f 45 4c 46 00 00 00 01                          |.ELF....|"
    );

    let json = place.run("diff --json one.tar two");
    let json: serde_json::Value = serde_json::from_str(json.ended(1)).expect("it is JSON");
    assert_eq!(json["same"], false);
    assert_eq!(json["layers"][1]["paths"][0]["changed"]["name"]["path"], "bin/load");
    assert_eq!(json["layers"][0]["numbers"], serde_json::json!([1, 1]));
}

#[test]
fn the_same_image_is_the_same_as_layout_as_dockers_archive_and_in_a_registry() {
    let place = two_images();
    let registry = DockerRegistry::start(&place.beside(""));
    let reference = format!("{}/a/b:1", registry.address);
    place.run(&format!("push one.tar {reference}")).ok();
    let (tar, saved) = (place.path("one.tar"), place.path("saved.tar"));
    let from = format!("oci-archive:{}", tar.display());
    said_by("skopeo", &["copy", "-q", &from, &format!("docker-archive:{}:a:one", saved.display())]);
    for other in ["one.tar:one", "saved.tar:one", &reference] {
        let ran = place.run(&format!("diff one.tar {other}"));
        assert!(ran.ok().starts_with("same   sha256:"), "{ran}");
    }
    let copied = format!("{}/c/d:1", registry.address);
    let [source, destination] = [&reference, &copied].map(|name| format!("docker://{name}"));
    said_by("skopeo", &["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", &source, &destination]);
    assert!(place.run(&format!("diff one.tar {copied}")).ok().starts_with("same   sha256:"));
    for other in ["saved.tar", &reference] {
        let ran = place.run(&format!("diff {other} two"));
        assert!(ran.ended(1).contains("  /data/new: only right (file)"), "{ran}");
    }
}

#[test]
fn podman_keeps_every_tar_as_it_is_and_packs_it_anew() {
    let place = two_images();
    let podman = Podman::new();
    let [one, saved] = ["one.tar", "podman.tar"].map(|name| place.path(name).display().to_string());
    let loaded = podman.said(&["load", "-q", "-i", &one]);
    let name = loaded.trim().rsplit(' ').next().expect("what was loaded");
    podman.said(&["save", "-q", "--format", "oci-archive", "-o", &saved, name]);
    let ran = place.run("diff --json one.tar podman.tar");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).expect("it is JSON");
    assert_eq!((&json["config"], json["left"]["layers"].as_u64()), (&"same".into(), Some(2)), "{json:#}");
    for layer in json["layers"].as_array().expect("a list") {
        assert_eq!(layer["diff_ids"][0], layer["diff_ids"][1], "{json:#}");
    }
}

#[test]
fn an_image_that_is_not_there_is_a_usage_error_and_one_that_no_registry_has_a_registrys() {
    let place = two_images();
    place.run("diff one.tar ./missing").fails(2, "error: there is no image ./missing\n");
    let ran = place.run("diff one.tar two:three");
    assert_eq!((ran.ended(2), ran.stderr.contains("two has no image `three`")), ("", true), "{ran}");
    let ran = place.run("diff one.tar nobody/has-this:1");
    assert_eq!(ran.ended(4), "", "{ran}");
}

#[test]
fn a_layer_that_is_not_what_its_config_says_is_named() {
    let place = two_images();
    place.run("build -o type=oci,dest=three,tar=false .").ok();
    let index: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path("two/index.json")).expect("written")).expect("JSON");
    let manifest = index["manifests"][0]["digest"].as_str().expect("a digest").replace(':', "/");
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(place.path(&format!("two/blobs/{manifest}"))).expect("written"))
            .expect("JSON");
    let blob = manifest["layers"][0]["digest"].as_str().expect("a digest").replace(':', "/");
    let other = manifest["layers"][1]["digest"].as_str().expect("a digest").replace(':', "/");
    fs::copy(place.path(&format!("two/blobs/{other}")), place.path(&format!("two/blobs/{blob}"))).expect("ours");
    let ran = place.run("diff one.tar two");
    assert_eq!(ran.ended(2), "", "{ran}");
    ran.said("error: layer 1 of ");
    ran.said(", and the config says sha256:");
}

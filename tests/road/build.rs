//! `build` and `push`: the flags of `docker buildx build` that are honoured, and what others read of what was made.

use std::fs;

use serde_json::{Value, json};

use crate::image::Image;
use crate::place::Place;
use crate::programs::{DockerRegistry, Podman, inspected};

const DOCKERFILE: &str = "\
ARG NAME=nobody
FROM busybox AS tools
RUN echo tool > /tool
FROM tools AS test
RUN echo tested > /tested
FROM busybox
ARG NAME
COPY --from=tools /tool /tool
COPY data.txt /data.txt
ENV WHO=$NAME
CMD [\"cat\", \"/tool\", \"/data.txt\"]
";

fn place() -> Place {
    let place = Place::new();
    place.write("Dockerfile", DOCKERFILE).write("data.txt", "data\n");
    place
}

#[test]
fn the_same_image_comes_out_as_a_folder_and_as_a_tar() {
    let place = place();
    let line = "build -t example.com/loaders/x:1 -t example.com/loaders/x:latest \
                -o type=oci,dest=layout,tar=false -o type=oci,dest=image.tar .";
    let ran = place.run(line);
    let folder = Image::of_folder(&place.path("layout"));
    let tar = Image::of_tar(&place.path("image.tar"));
    assert_eq!(folder, tar);
    assert_eq!(folder.names, ["example.com/loaders/x:1", "example.com/loaders/x:latest"]);
    assert_eq!(ran.ok(), folder.config_digest, "without a push, the answer is the image's id");
    assert_eq!(folder.config["os"], "linux");
    assert_eq!(folder.config["architecture"], "amd64");
    assert_eq!(folder.files(1)["/data.txt"].content, b"data\n");
    let left: Vec<_> = fs::read_dir(place.path(".")).expect("ours").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left.len(), 4, "the context and the two outputs: {left:?}");
}

#[test]
fn what_was_pushed_is_read_by_skopeo_and_run_by_podman() {
    let place = place();
    let registry = DockerRegistry::start(&place.beside("."));
    let name = format!("{}/team/loader", registry.address);
    let ran = place.run(&format!("build -t {name}:v1 -o type=oci,dest=layout,tar=false --push ."));
    let image = Image::of_folder(&place.path("layout"));
    assert_eq!(ran.ok(), format!("{name}@{}", image.digest), "by digest, whatever the tag");
    let found = inspected(&format!("{name}:v1"), &[]);
    assert_eq!(found["Digest"], image.digest);
    let layers = image.manifest["layers"].as_array().expect("a list");
    assert_eq!(found["Layers"], layers.iter().map(|layer| layer["digest"].clone()).collect::<Value>());
    assert_eq!(inspected(&format!("{name}:v1"), &["--config"]), image.config);

    let again = place.run(&format!("build -t {name}:v1 --push ."));
    assert_eq!(again.ok(), ran.ok());
    again.said("(already there)");
    again.not_said("Sent").not_said("Building");

    let podman = Podman::new();
    // runc, as in tests/stack/up.
    let mut run = vec!["--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
    run.extend(["run", "--tls-verify=false", "--network", "none", "--rm"]);
    run.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", ran.ok()]);
    assert_eq!(podman.said(&run), "tool\ndata\n");
}

#[test]
fn a_layout_is_pushed_as_it_is_from_a_folder_and_from_a_tar() {
    let place = place();
    place.run("build -o type=oci,dest=layout,tar=false -o type=oci,dest=image.tar .").ok();
    let image = Image::of_folder(&place.path("layout"));
    let registry = DockerRegistry::start(&place.beside("."));
    for layout in ["layout", "image.tar"] {
        // On a machine that has nothing else of it.
        let mut elsewhere = Place::new();
        elsewhere.var("LOCUS_REGISTRY_ENDPOINTS", "");
        let name = format!("{}/{}", registry.address, layout.trim_end_matches(".tar"));
        let from = place.path(layout).display().to_string();
        let ran = elsewhere.run_args(&["push", &from, &format!("{name}:v2")]);
        assert_eq!(ran.ok(), format!("{name}@{}", image.digest));
        assert_eq!(inspected(&format!("{name}:v2"), &[])["Digest"], image.digest);
    }
}

#[test]
fn a_target_is_built_and_nothing_that_it_does_not_need() {
    let place = place();
    let whole = place.run("build -o type=oci,dest=whole,tar=false .");
    whole.ok();
    whole.not_said("tested");
    let test = place.run("build --target test -o type=oci,dest=test,tar=false .");
    test.ok();
    assert_eq!(Image::of_folder(&place.path("test")).files(1)["/tested"].content, b"tested\n");
    assert!(!Image::of_folder(&place.path("whole")).files(1).contains_key("/tested"));
    let none = place.run("build --target tset .");
    assert_eq!(none.code, Some(3), "{none}");
    none.said("tset");
    none.said("did you mean `test`?");
}

#[test]
fn build_arguments_and_labels_reach_the_image() {
    let mut place = place();
    let env = |place: &Place, line: &str| {
        place.run(&format!("build -o type=oci,dest=layout,tar=false {line} .")).ok();
        Image::of_folder(&place.path("layout")).config["config"].clone()
    };
    let has = |config: &Value, pair: &str| config["Env"].as_array().expect("a list").contains(&json!(pair));
    assert!(has(&env(&place, ""), "WHO=nobody"));
    let config = env(&place, "--build-arg NAME=ann --label team=locus --label made.by=hand");
    assert!(has(&config, "WHO=ann"), "{config}");
    assert_eq!(config["Labels"], json!({"made.by": "hand", "team": "locus"}));
    assert!(has(&env(place.var("NAME", "bob"), "--build-arg NAME"), "WHO=bob"));
}

#[test]
fn a_platform_is_chosen_from_the_bases_list_and_a_list_of_our_own_is_refused() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nCOPY Dockerfile /\n");
    place.run("build --platform linux/arm64 -o type=oci,dest=layout,tar=false .").ok();
    let image = Image::of_folder(&place.path("layout"));
    assert_eq!((&image.config["architecture"], &image.config["variant"]), (&json!("arm64"), &json!("v8")));
    let ran = place.run("build --platform linux/amd64,linux/arm64 .");
    assert_eq!(ran.ended(2), "");
    assert!(
        ran.stderr.starts_with("error: --platform linux/amd64,linux/arm64: one platform at a time\nhint: "),
        "{ran}"
    );
    let ran = place.run("build --platform linux/s390x .");
    assert_eq!(ran.ended(4), "");
    ran.said("for linux/s390x; it is there for linux/amd64, linux/arm64");
}

#[test]
fn the_image_id_and_the_metadata_are_written_to_files() {
    let place = place();
    let line = "build -q -t example.com/x:1 --iidfile id --metadata-file meta.json -o type=oci,dest=layout,tar=false .";
    let ran = place.run(line);
    let image = Image::of_folder(&place.path("layout"));
    assert_eq!((ran.ok(), ran.stderr.as_str()), (image.config_digest.as_str(), ""), "-q says nothing else");
    assert_eq!(fs::read_to_string(place.path("id")).expect("written"), image.config_digest);
    let metadata: Value = serde_json::from_slice(&fs::read(place.path("meta.json")).expect("written")).expect("JSON");
    assert_eq!(metadata["containerimage.digest"], image.digest);
    assert_eq!(metadata["containerimage.config.digest"], image.config_digest);
    assert_eq!(metadata["image.name"], "example.com/x:1");
}

#[test]
fn a_second_build_takes_all_from_the_cache_and_no_cache_takes_nothing() {
    let place = place();
    let first = place.run("build -o type=oci,dest=one,tar=false .");
    first.ok();
    let cached = place.run("build -o type=oci,dest=two,tar=false .");
    cached.ok();
    cached.said("Cached");
    cached.not_said("Building").not_said("Fetched");
    let anew = place.run("build --no-cache -o type=oci,dest=three,tar=false .");
    anew.ok();
    anew.said("Building");
    anew.not_said("Cached");
    let [one, two, three] = ["one", "two", "three"].map(|name| Image::of_folder(&place.path(name)));
    assert_eq!(one, two);
    assert_eq!(one, three, "the layers come out the same");
}

#[test]
fn one_changed_file_builds_what_follows_it_and_nothing_before() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nRUN echo first > /first\nCOPY a.txt /\nRUN wc -c < /a.txt > /size\n");
    let build = |text: &str| {
        place.write("a.txt", text);
        let ran = place.run("build -o type=oci,dest=layout,tar=false .");
        ran.ok();
        (ran, Image::of_folder(&place.path("layout")))
    };
    let (_, one) = build("a\n");
    let (ran, two) = build("aaa\n");
    ran.said("Cached [1/3] RUN echo first > /first");
    ran.said("Building [2/3] COPY a.txt /");
    assert_eq!(two.files(1)["/size"].content, b"4\n");
    assert_eq!(one.layers[..2], two.layers[..2]);
    let (ran, three) = build("a\n");
    ran.not_said("Building");
    assert_eq!(one, three);
}

#[test]
fn a_dockerfile_may_come_on_another_path_and_has_a_dockerignore_of_its_own() {
    let place = Place::new();
    place.write("context/a.txt", "a").write("context/b.txt", "b").write("context/.dockerignore", "a.txt\n");
    place.write("files/x.Dockerfile", "FROM scratch\nCOPY . /\n").write("files/x.Dockerfile.dockerignore", "b.txt\n");
    place.run("build -f files/x.Dockerfile -o type=oci,dest=layout,tar=false context").ok();
    let files = Image::of_folder(&place.path("layout")).files(0);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/.dockerignore", "/a.txt"]);
}

#[test]
fn extended_attributes_of_the_context_are_kept() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY d /d\n").write("d/f", "f");
    for (path, value) in [("d", b"of a folder".as_slice()), ("d/f", b"of a file\0")] {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(place.path(path), "user.team", value, flags).expect("the disk has attributes");
    }
    place.run("build -o type=oci,dest=layout,tar=false .").ok();
    let files = Image::of_folder(&place.path("layout")).files(0);
    assert_eq!(files["/d/f"].xattrs["user.team"], b"of a file\0");
    assert_eq!(files["/d"].xattrs, [].into(), "COPY takes what is in a folder, and makes the folder itself");
}

#[test]
fn a_store_that_lies_in_the_context_is_no_part_of_it() {
    let mut place = Place::new();
    place.write("Dockerfile", "FROM busybox\nCOPY . /all\n").write("cache/mine", "mine");
    let store = place.path("cache/locus-push").display().to_string();
    place.var("LOCUS_PUSH_HOME", store);
    place.run("build .").ok();
    place.run("build -o type=oci,dest=layout,tar=false .").ok();
    let files = Image::of_folder(&place.path("layout")).files(1);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["/all", "/all/Dockerfile", "/all/cache", "/all/cache/mine"]);
    assert!(place.run("verify Dockerfile").ok().starts_with("same"));
}

#[test]
fn a_base_whose_files_nobody_needs_is_not_downloaded() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nENV A=1\nCMD [\"true\"]\n");
    place.run("build .").ok();
    let blobs = fs::read_dir(place.store().join("blobs/sha256")).expect("the config is there").flatten();
    let sizes: Vec<u64> = blobs.map(|blob| blob.metadata().expect("it is there").len()).collect();
    assert!(!sizes.is_empty() && sizes.iter().all(|size| *size < 10_000), "documents only: {sizes:?}");
}

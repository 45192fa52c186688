//! The same input gives the same bytes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::image::Image;
use crate::place::Place;

const COPY_ONLY: &str = "\
FROM busybox AS tools
WORKDIR /made/by/tools
COPY bin ./bin
FROM busybox
WORKDIR /usr/src/app
COPY --chown=33:33 . .
COPY --from=tools /made /made
ADD site.tar.gz /srv/
USER www-data
CMD [\"./bin/load\"]
";

/// A checkout of the same commit, as git makes it under this umask, some time or other.
fn checkout(place: &Place, folder: &str, umask: u32, age: Duration) {
    let (file, program) = (0o666 & !umask, 0o777 & !umask);
    place.write_mode(&format!("{folder}/Dockerfile"), COPY_ONLY, file);
    place.write_mode(&format!("{folder}/bin/load"), "#!/bin/sh\necho loads\n", program);
    place.write_mode(&format!("{folder}/data/places.csv"), "id,name\n1,Ely\n", file);
    place.write_mode(&format!("{folder}/data/\u{e9}t\u{e9}.csv"), "\n", file);
    place.write_mode(&format!("{folder}/site.tar.gz"), archive(), file);
    place.link(&format!("{folder}/data/latest.csv"), "places.csv");
    make_old(&place.path(folder), program, SystemTime::now() - age);
}

/// Folders get the umask's mode, and all of it gets its time.
fn make_old(path: &Path, folder_mode: u32, time: SystemTime) {
    if path.is_symlink() {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("ours") {
            make_old(&entry.expect("its entries too").path(), folder_mode, time);
        }
        fs::set_permissions(path, PermissionsExt::from_mode(folder_mode)).expect("ours");
    }
    fs::File::open(path).and_then(|file| file.set_modified(time)).expect("ours");
}

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o640);
    header.set_uid(7);
    header.set_gid(8);
    header.set_mtime(1_600_000_000);
    tar.append_data(&mut header, "site/index.html", &b"<p/>"[..]).expect("in memory");
    tar.into_inner().and_then(|gzip| gzip.finish()).expect("in memory")
}

/// Each in a home of its own, so that nothing is taken from a cache.
fn built(place: &Place, folder: &str) -> Image {
    let (layout, output) = place.layout();
    let ran = place.run_in(folder, &["build", "-o", &output, "."]);
    ran.ok();
    ran.not_said("Sandbox").not_said("Cached");
    Image::of_folder(&layout)
}

#[test]
fn two_checkouts_give_one_digest_whatever_their_times_path_umask_and_owner() {
    let hour = Duration::from_secs(3600);
    let (root, user) = (Place::new(), Place::of_user());
    checkout(&root, "here", 0o022, hour);
    checkout(&user, "some/where/else entirely", 0o002, 9000 * hour);
    let (one, two) = (built(&root, "here"), built(&user, "some/where/else entirely"));
    assert_eq!(one.layers, two.layers);
    assert_eq!(one.config, two.config);
    assert_eq!(one.digest, two.digest);

    let files = one.files(1);
    let meta = |path: &str| files[path].meta.as_str();
    assert_eq!(meta("/usr/src/app/bin/load"), "0755 33:33");
    assert_eq!(meta("/usr/src/app/data/places.csv"), "0644 33:33");
    assert_eq!(meta("/usr/src/app/data"), "0755/ 33:33");
    assert_eq!(meta("/srv/site/index.html"), "0640 7:8", "an archive's own are kept");
    assert_eq!(meta("/usr/src/app"), "0755/ 0:0");
}

#[test]
fn another_content_or_mode_gives_another_digest() {
    let place = Place::new();
    checkout(&place, "here", 0o022, Duration::ZERO);
    let one = built(&place, "here");
    place.write_mode("here/bin/load", "#!/bin/sh\necho loads\n", 0o644);
    let ran = place.run_in("here", &["build", "-o", "type=oci,dest=../two,tar=false", "."]);
    ran.ok();
    let two = Image::of_folder(&place.path("two"));
    assert_ne!(one.digest, two.digest);
    assert_eq!(two.files(1)["/usr/src/app/bin/load"].meta, "0644 33:33");
}

/// What package installs do to a root: owners, links, removals, special bits, attributes. `touch -d` because the time
/// of what RUN writes is its own.
const RUN: &str = "\
FROM busybox
RUN mkdir -p /var/made /var/made/deep && echo data > /var/made/data && chown 33:33 /var/made/data \\
 && ln /var/made/data /var/made/hard && ln -s data /var/made/soft \\
 && cp /bin/busybox /var/made/su && chmod 4755 /var/made/su && chmod 2775 /var/made/deep && chown 0:8 /var/made/deep \\
 && rm /etc/shadow && rm -r /var/spool && mkdir /var/spool && echo new > /var/spool/new \\
 && chmod 1777 /var/www && mkfifo /var/made/pipe \\
 && find /var /etc -exec touch -h -d '2020-01-02 03:04:05' {} +
USER 33:33
WORKDIR /tmp/of_user
RUN echo \"$(id -u):$(id -g) $(umask) $HOME\" > who && touch -d '2020-01-02 03:04:05' who .
";

fn ran(place: &Place) -> Image {
    place.write("Dockerfile", RUN);
    let (layout, output) = place.layout();
    let ran = place.run_args(&["build", "-o", &output, "."]);
    ran.ok();
    ran.not_said("Cached");
    Image::of_folder(&layout)
}

#[test]
fn run_twice_from_nothing_gives_the_same_layers_as_root_and_as_ordinary_users_with_many_ids_and_with_one() {
    let (root, again, user) = (ran(&Place::new()), ran(&Place::new()), ran(&Place::of_user()));
    let nobody = ran(&Place::of_nobody());
    assert_eq!(root.layers, again.layers);
    assert_eq!(root.layers, user.layers);
    assert_eq!(root.digest, again.digest);
    assert_eq!(root.digest, user.digest);
    assert_eq!(root.layers, nobody.layers);
    assert_eq!(root.digest, nobody.digest);

    let files = root.files(1);
    let meta = |path: &str| files.get(path).unwrap_or_else(|| panic!("no {path}: {files:#?}")).meta.as_str();
    assert_eq!(meta("/var/made/data"), "0644 33:33");
    assert_eq!(meta("/var/made/hard"), "= var/made/data");
    assert_eq!(meta("/var/made/soft"), "-> data 0:0");
    assert_eq!(meta("/var/made/su"), "4755 0:0");
    assert_eq!(meta("/var/made/deep"), "2775/ 0:8");
    assert_eq!(meta("/var/www"), "1777/ 0:0");
    assert!(meta("/var/made/pipe").starts_with("Fifo 0644 0:0"));
    assert!(files.contains_key("/etc/.wh.shadow"), "a whiteout of what the base had");
    assert!(!files.contains_key("/etc/shadow"));
    assert_eq!(files["/var/spool/new"].content, b"new\n");
    let hides = |(path, _): &(String, _)| path == "/var/spool/.wh..wh..opq" || path == "/var/spool/.wh.mail";
    assert!(root.layers[1].entries.iter().any(hides), "a folder made anew shows nothing of the base's");
    assert_eq!(files["/tmp/of_user/who"].content, b"33:33 0022 /var/www\n");
    assert_eq!(meta("/tmp/of_user/who"), "0644 33:33");
}

#[test]
fn run_on_a_disk_that_holds_no_overlay_gives_the_same_layers() {
    let (plain, copied) = (Place::new(), Place::on_overlay());
    assert_eq!(ran(&copied).layers, ran(&plain).layers);
    copied.write("Dockerfile", "FROM scratch\nCOPY --from=busybox / /\nRUN true\n");
    let told = copied.run("build .");
    told.ok();
    told.said("each RUN stands on a copy of its layers, since");
    // What a step left is what the next one stands on, whiteouts included.
    let steps = "FROM busybox\nRUN mkdir -p /a/b && echo 1 > /a/b/c && echo 1 > /kept\n\
                 RUN rm -r /a/b && mkdir /a/b && rm /kept && ln /etc/passwd /again && head -c 1 /dev/zero | dd of=/sparse bs=1 seek=5000000\n\
                 RUN ls -A /a/b > /seen; ! [ -e /kept ] && rm -r /a && mkdir /a && mv /again /sparse /a\n";
    let built = |place: &Place| {
        place.write("Dockerfile", steps);
        let (layout, output) = place.layout();
        // The layout of the first image is there.
        fs::remove_dir_all(&layout).expect("it is ours");
        place.run_args(&["build", "-o", &output, "."]).ok();
        Image::of_folder(&layout)
    };
    let (copied, plain) = (built(&copied), built(&plain));
    assert_eq!(copied.layers, plain.layers);
    assert_eq!(copied.digest, plain.digest);
}

/// `setcap cap_net_bind_service+ep`, and an attribute of a user's own.
const ATTRIBUTES: &str = r#"FROM python:3
RUN touch /bound /noted && python3 -B -c "import os, struct; \
    os.setxattr('/bound', 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 10, 0, 0, 0)); \
    os.setxattr('/noted', 'user.note', b'by hand')" \
 && touch -d '2020-01-02 03:04:05' /bound /noted
"#;

#[test]
fn attributes_and_capabilities_are_the_same_as_root_and_as_ordinary_users_with_many_ids_and_with_one() {
    let build = |place: Place| {
        place.write("Dockerfile", ATTRIBUTES);
        let (layout, output) = place.layout();
        place.run_args(&["build", "-o", &output, "."]).ok();
        Image::of_folder(&layout)
    };
    let root = build(Place::new());
    for user in [build(Place::of_user()), build(Place::of_nobody())] {
        assert_eq!(root.layers.last(), user.layers.last());
        assert_eq!(root.digest, user.digest);
    }
    let files = root.files(root.layers.len() - 1);
    assert_eq!(files["/noted"].xattrs["user.note"], b"by hand");
    let capability = &files["/bound"].xattrs["security.capability"];
    assert_eq!(capability[..5], [1, 0, 0, 2, 0], "of the second version, which names no owner");
    assert_eq!(capability.len(), 20);
}

/// Of nothing but what is written here, so that its digest can be known.
const KNOWN: &str = "\
FROM scratch
LABEL about=golden
ENV LANG=C.UTF-8
WORKDIR /app
COPY --chown=33:8 . .
COPY --chmod=u=rwx,go= data/places.csv /etc/places
USER 33
ENTRYPOINT [\"/app/run.sh\", \"--all\"]
";

fn known(place: &Place) -> Image {
    place.write("Dockerfile", KNOWN).write(".dockerignore", "Dockerfile\n.dockerignore\n");
    place.write_mode("run.sh", "#!/bin/sh\n", 0o755).write("data/places.csv", "id,name\n1,Ely\n");
    place.write("large", "0123456789abcdef".repeat(100_000)).link("data/latest.csv", "places.csv");
    let (layout, output) = place.layout();
    place.run_args(&["build", "-o", &output, "."]).ok();
    Image::of_folder(&layout)
}

// When one of these moves, every image that is built from now on has another digest than the same image before: a
// person has to want that.
#[test]
fn the_bytes_of_a_whole_image_do_not_move_wherever_it_is_built() {
    let (mut east, mut west) = (Place::new(), Place::of_user());
    east.var("TZ", "Pacific/Chatham").var("LC_ALL", "tr_TR.UTF-8");
    west.var("TZ", "America/St_Johns").var("LC_ALL", "C");
    let (one, two) = (known(&east), known(&west));
    assert_eq!(one.digest, two.digest);
    let config = fs::read_to_string(east.layout().0.join("blobs").join(one.config_digest.replace(':', "/")));
    assert_eq!(config.expect("it is text"), GOLDEN_CONFIG);
    assert_eq!(one.digest, GOLDEN);
}

const GOLDEN: &str = "sha256:8f2a5cb8d74ba304b53d56af6061125c52ccee90db107702edb47a5032c2f1f0";
/// It names the layers too.
const GOLDEN_CONFIG: &str = include_str!("../../testdata/golden/config.json");

#[test]
fn a_run_sees_the_times_that_the_layers_say() {
    let place = Place::new();
    let text = "FROM busybox\nARG SOURCE_DATE_EPOCH\nCOPY a /a\nCOPY d /d/\nWORKDIR /w/deep\nRUN stat -c '%n %Y' /a /d \
                /d/f /w /w/deep > /times && echo \"$SOURCE_DATE_EPOCH\" > /date\n";
    place.write("Dockerfile", text).write("a", "a").write("d/f", "f");
    let seen = |place: &Place, args: &[&str]| {
        let (layout, output) = place.layout();
        place.run_args(&[&["build", "-o", &output], args, &["."]].concat()).ok();
        let image = Image::of_folder(&layout);
        let files = image.files(1);
        for path in ["/a", "/d/f", "/w/deep", "/times"] {
            assert_eq!(files[path].time, files["/a"].time, "{path}");
        }
        let text = |path: &str| String::from_utf8(files[path].content.clone()).expect("text");
        (text("/times"), text("/date"), image)
    };
    let all = |time: &str| ["/a", "/d", "/d/f", "/w", "/w/deep"].map(|path| format!("{path} {time}\n")).concat();
    let (times, date, plain) = seen(&place, &[]);
    assert_eq!((times, date.as_str()), (all("315532801"), "315532801\n"));
    let (times, date, given) = seen(&place, &["--build-arg", "SOURCE_DATE_EPOCH=1700000000"]);
    assert_eq!((times, date.as_str()), (all("1700000000"), "1700000000\n"));
    assert_eq!(given.config["created"], "2023-11-14T22:13:20Z");
    assert_ne!(plain.digest, given.digest);

    // The variable is the argument, as it is to buildx.
    let mut place = place;
    place.var("SOURCE_DATE_EPOCH", "1700000000");
    let (.., of_variable) = seen(&place, &[]);
    assert_eq!(of_variable.digest, given.digest);
    let (times, ..) = seen(&place, &["--build-arg", "SOURCE_DATE_EPOCH="]);
    assert_eq!(times, all("315532801"));
}

#[test]
fn what_no_two_runs_write_alike_is_named_and_is_kept_where_that_is_asked_for() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nRUN mkdir -p /var/log && date > /var/log/dpkg.log\n");
    let built = |args: &[&str]| {
        let (layout, output) = place.layout();
        let ran = place.run_args(&[&["build", "-o", &output], args, &["."]].concat());
        ran.ok();
        (Image::of_folder(&layout).files(1)["/var/log/dpkg.log"].content.len(), ran)
    };
    let (size, ran) = built(&["-v"]);
    ran.said("   Stilled /var/log/dpkg.log emptied: a log with times");
    ran.said("   Stilled 1 file that RUN writes otherwise each time: 1 emptied");
    assert_eq!(size, 0);
    let (size, ran) = built(&["--keep-volatile"]);
    ran.not_said("Stilled").not_said("Cached");
    assert!(size > 20);
}

#[test]
fn modes_and_times_are_kept_where_that_is_asked_for() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nWORKDIR /made\nCOPY a d /made/x/\n");
    place.write_mode("a", "a", 0o666).write_mode("d/f", "f", 0o600);
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    fs::File::open(place.path("a")).and_then(|file| file.set_modified(then)).expect("ours");
    let built = |args: &[&str]| {
        let (layout, output) = place.layout();
        let ran = place.run_args(&[&["build", "-o", &output], args, &["."]].concat());
        ran.ok();
        (Image::of_folder(&layout), ran)
    };
    let of = |image: &Image, path: &str| (image.files(0)[path].meta.clone(), image.files(0)[path].time);
    let (image, ran) = built(&[]);
    assert_eq!(of(&image, "/made/x/a"), ("0644 0:0".to_owned(), 315_532_801));
    assert_eq!(of(&image, "/made/x/f").0, "0600 0:0", "permissions are never widened");
    ran.said("warning: of the context's files 1 may be read by their owner alone, and so it will be in the image");
    ran.said("hint: check out with umask 022, or use COPY --chmod");
    let (image, _) = built(&["--preserve-modes"]);
    assert_eq!(of(&image, "/made/x/a"), ("0666 0:0".to_owned(), 315_532_801));
    let (image, ran) = built(&["--preserve-times"]);
    assert_eq!(of(&image, "/made/x/a"), ("0644 0:0".to_owned(), 1_600_000_000));
    assert_eq!(of(&image, "/made").1, 315_532_801, "what was made has no time of its own");
    ran.said("Building [2/2]");
    let (_, ran) = built(&["--preserve-times"]);
    ran.said("Cached [2/2]");
    // Another time is another layer.
    fs::File::open(place.path("a")).and_then(|file| file.set_modified(then - Duration::from_secs(1))).expect("ours");
    let (image, _) = built(&["--preserve-times"]);
    assert_eq!(of(&image, "/made/x/a").1, 1_599_999_999);
    let (image, _) = built(&["--preserve-times", "--build-arg", "SOURCE_DATE_EPOCH=1500000000"]);
    assert_eq!(of(&image, "/made/x/a").1, 1_500_000_000, "nothing is later than the source date");
}

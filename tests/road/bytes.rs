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
fn run_twice_from_nothing_gives_the_same_layers_as_root_and_as_an_ordinary_user() {
    let (root, again, user) = (ran(&Place::new()), ran(&Place::new()), ran(&Place::of_user()));
    assert_eq!(root.layers, again.layers);
    assert_eq!(root.layers, user.layers);
    assert_eq!(root.digest, again.digest);
    assert_eq!(root.digest, user.digest);

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

/// `setcap cap_net_bind_service+ep`, and an attribute of a user's own.
const ATTRIBUTES: &str = r#"FROM python:3
RUN touch /bound /noted && python3 -B -c "import os, struct; \
    os.setxattr('/bound', 'security.capability', struct.pack('<IIIII', 0x02000001, 1 << 10, 0, 0, 0)); \
    os.setxattr('/noted', 'user.note', b'by hand')" \
 && touch -d '2020-01-02 03:04:05' /bound /noted
"#;

#[test]
fn attributes_and_capabilities_are_the_same_as_root_and_as_an_ordinary_user() {
    let build = |place: Place| {
        place.write("Dockerfile", ATTRIBUTES);
        let (layout, output) = place.layout();
        place.run_args(&["build", "-o", &output, "."]).ok();
        Image::of_folder(&layout)
    };
    let (root, user) = (build(Place::new()), build(Place::of_user()));
    assert_eq!(root.layers.last(), user.layers.last());
    assert_eq!(root.digest, user.digest);
    let files = root.files(root.layers.len() - 1);
    assert_eq!(files["/noted"].xattrs["user.note"], b"by hand");
    let capability = &files["/bound"].xattrs["security.capability"];
    assert_eq!(capability[..5], [1, 0, 0, 2, 0], "of the second version, which names no owner");
    assert_eq!(capability.len(), 20);
}

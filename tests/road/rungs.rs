//! What a RUN leaves is the same on every rung of the sandbox's ladder: `testdata/runs/*` are built as root and on another
//! rung, and the file systems agree, owners and attributes included. `tests/against-buildah` compares the same Dockerfiles
//! with what another builder makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::container::Container;
use crate::image::{Entry, Image};
use crate::place::{Place, Ran};
use crate::programs::{DockerRegistry, Front, said_by};

/// Keys are of chance, and are left as they are.
fn is_of_chance(path: &str) -> bool {
    path.starts_with("/etc/ssh/ssh_host_")
}

/// Builds it in this place.
fn built(name: &str, place: &Place) -> (Image, Ran) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/runs").join(name);
    place.copy(&folder, "");
    let (layout, output) = place.layout();
    let ran = place.run_args(&["build", "--progress", "plain", "-o", &output, "."]);
    ran.ok();
    (Image::of_folder(&layout), ran)
}

#[track_caller]
fn agree(name: &str) -> Image {
    agree_on(name, &Place::of_user(), "Sandbox sub-ids")
}

/// `says` is what the build says of where it stands.
#[track_caller]
fn agree_on(name: &str, place: &Place, says: &str) -> Image {
    let one = as_root(name);
    let (other, ran) = built(name, place);
    ran.said(says);
    compare(&one, &other);
    if !is_copied(&ran) && !other.layers.iter().flat_map(|layer| &layer.entries).any(|(path, _)| is_of_chance(path)) {
        assert_eq!(one.config, other.config, "the layers' digests too");
    }
    one
}

/// Over an overlay what is only opened for writing is in the layer too, as it was: the files are the same, and not the
/// layers.
fn is_copied(ran: &Ran) -> bool {
    ran.stderr.contains("a copy of its layers") || ran.stderr.contains("Sandbox chroot")
}

#[track_caller]
fn as_root(name: &str) -> Image {
    let (image, ran) = built(name, &Place::new());
    ran.said("Sandbox root");
    image
}

#[track_caller]
fn compare(one: &Image, other: &Image) {
    // Layers that are the same need no second look.
    let same = one.layers.iter().zip(&other.layers).take_while(|(one, other)| one.diff_id == other.diff_id).count();
    let (files, others) = (one.files(same), other.files(same));
    let paths: BTreeSet<_> = files.keys().chain(others.keys()).collect();
    let below = |path: &str| {
        let entries = one.layers[..same].iter().rev().flat_map(|layer| &layer.entries);
        entries.into_iter().find(|(name, _)| name == path).map(|(_, entry)| entry)
    };
    let of = |files: &BTreeMap<String, Entry>, path: &str| files.get(path).or_else(|| below(path)).cloned();
    let differs = |path: &&&String| match (of(&files, path), of(&others, path)) {
        (Some(one), Some(other)) => {
            (&one.meta, &one.xattrs) != (&other.meta, &other.xattrs)
                || (one.content != other.content && !is_of_chance(path))
        }
        _ => !is_of_chance(path),
    };
    let told = |entry: Option<&Entry>| entry.map_or("nothing".to_owned(), ToString::to_string);
    let shown = |path: &String| format!("{path}\n  {}\n  {}", told(files.get(path)), told(others.get(path)));
    let different: Vec<_> = paths.iter().filter(differs).map(|path| shown(path)).collect();
    assert!(different.is_empty(), "{} differ\n{}", different.len(), different.join("\n"));
    assert_eq!(one.config["config"], other.config["config"]);
}

mod sandbox {
    use super::*;

    #[test]
    fn f5_what_a_base_has_preloaded_is_for_its_own_programs_alone() {
        let place = Place::new();
        // Whoever loads it leaves a file: a program of ours that took the image's environment on would.
        let (library, mark) = (place.beside("evil.so"), place.beside("mark"));
        let source = "#include <fcntl.h>\n__attribute__((constructor)) static void mark(void) { creat(MARK, 0644); }\n";
        place.write("evil.c", source);
        let define = format!("-DMARK=\"{}\"", mark.display());
        let [source, library] = [place.path("evil.c"), library].map(|path| path.display().to_string());
        said_by("cc", &["-shared", "-fPIC", &define, "-o", &library, &source]);
        place.write(
            "Dockerfile",
            format!(
                "FROM busybox AS base\nENV LD_PRELOAD={library} LD_AUDIT={library}\n\
                 FROM base\nRUN echo \"$LD_PRELOAD\" > /said\nCOPY evil.c /\n"
            ),
        );
        let (layout, output) = place.layout();
        place.run_args(&["build", "-o", &output, "."]).ok();
        let image = Image::of_folder(&layout);
        assert_eq!(image.files(0)["/said"].content, format!("{library}\n").as_bytes());
        assert!(!mark.exists());
        // It does leave one.
        let cat = std::process::Command::new("cat").arg("/dev/null").env("LD_PRELOAD", &library).status();
        assert!(cat.expect("it is everywhere").success() && mark.exists());
    }

    #[test]
    fn lower_layers_are_unpacked_while_upper_ones_still_come() {
        let (maker, place) = (Place::new(), Place::new());
        let registry = DockerRegistry::start(&maker.beside("."));
        maker.write("Dockerfile", "FROM busybox\nCOPY Dockerfile /upper\n");
        let name = format!("{}/base", registry.address);
        maker.run(&format!("build -t {name} --push -o type=oci,dest=layout,tar=false .")).ok();
        let image = Image::of_folder(&maker.path("layout"));
        let upper = image.manifest["layers"][1]["digest"].as_str().expect("the second layer").to_owned();
        // The upper layer is given when the lower one is unpacked, and not before.
        let layers = place.store().join("layers");
        let lower = image.layers[0].diff_id.trim_start_matches("sha256:")[..24].to_owned();
        let front = Front::start(registry.address, upper, move || layers.join(&lower).is_dir());
        place.write("Dockerfile", format!("FROM {}/base\nRUN cat /upper > /read\n", front.address));
        let (layout, output) = place.layout();
        place.run_args(&["build", "-o", &output, "."]).ok();
        let files = Image::of_folder(&layout).files(0);
        assert_eq!(files["/read"].content, files["/upper"].content);
    }

    #[test]
    fn links_attributes_special_bits_and_whiteouts_are_the_same() {
        let files = agree("marks").files(0);
        let attribute = |path: &str, name: &str| files[path].xattrs.get(name).cloned();
        assert_eq!(attribute("/srv/moved/deep/name", "user.mark").as_deref(), Some(&b"yes\0no"[..]));
        assert_eq!(attribute("/srv/moved/capable", "security.capability").map(|value| value.len()), Some(20));
        assert_eq!(files["/srv/moved/link"].meta, "-> nowhere 5:6");
        assert!(!files.contains_key("/usr/share/doc/bash") && files.contains_key("/usr/share/doc/again"));
    }

    #[test]
    fn accounts_and_what_they_make_are_the_same() {
        let files = agree("users").files(0);
        assert_eq!(files["/home/alice/private/home"].meta, "0600 1234:1234");
        assert_eq!(files["/home/alice/id"].meta, "0600 1234:4321");
        assert_eq!(files["/tmp/of-4444"].meta, "0644 4444:4321");
    }

    #[test]
    fn a_containers_root_without_the_right_to_mount_leaves_the_same() {
        let pod = Place::in_container(Container::Pod);
        agree_on("users", &pod, "the kernel refuses RUN a /proc of its own");
    }

    #[test]
    fn where_nothing_may_be_unshared_or_mounted_the_same_is_left() {
        agree_on("users", &Place::in_container(Container::Docker), "Sandbox chroot: RUN IS NOT ISOLATED, since making");
    }

    #[test]
    fn a_store_on_an_overlay_gives_the_same() {
        agree_on("users", &Place::on_overlay(), "each RUN stands on a copy of its layers");
    }

    #[test]
    fn where_no_run_can_be_executed_nothing_is_fetched_and_a_dockerfile_without_one_is_built() {
        let mut place = Place::of_nobody();
        place.var("LOCUS_REGISTRY_ENDPOINTS", "docker.io=http://127.0.0.1:1");
        place.contain(Container::Docker);
        place.write("Dockerfile", "FROM debian\nCOPY Dockerfile /\nRUN true\n");
        let ran = place.run("build .");
        ran.ended(3);
        ran.said(
            "error: RUN cannot be executed here: sub-ids: /etc/subuid gives `nobody` no range of ids; one id: making",
        );
        ran.said("--> Dockerfile:3");
        ran.said("docker run --security-opt seccomp=unconfined");
        let doctor = place.run("doctor");
        doctor.ended(1);
        assert!(doctor.stdout.starts_with("NG  RUN "), "{doctor}");
        let json: serde_json::Value = serde_json::from_str(place.run("doctor --json").ended(1)).expect("JSON");
        assert_eq!((&json["run"], &json["rung"]), (&serde_json::json!(false), &serde_json::Value::Null));
        place.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
        place.run("build .").ok();
    }

    #[test]
    fn the_doctor_names_the_rung_that_run_will_stand_on() {
        for (place, rung, isolated) in [
            (Place::new(), "root", true),
            (Place::of_nobody(), "one id", true),
            (Place::in_container(Container::Docker), "chroot", false),
        ] {
            let json: serde_json::Value = serde_json::from_str(place.run("doctor --json").ok()).expect("JSON");
            assert_eq!((&json["rung"], &json["isolated"]), (&serde_json::json!(rung), &serde_json::json!(isolated)));
            assert!(json["checks"].as_array().is_some_and(|checks| checks.len() >= 8), "{json}");
        }
    }

    #[test]
    fn agents_and_authorities_are_an_ordinary_users_too() {
        let place = Place::of_user();
        let key = place.path("key");
        place.write("ca.pem", "-----BEGIN CERTIFICATE-----\nQ2FuYXJ5\n-----END CERTIFICATE-----\n");
        let mut make = std::process::Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        assert!(make.status().expect("package openssh-client").success());
        // Root made it, and the user is to read it; ssh-add itself would refuse such a file.
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("ours");
        place.write(
            "Dockerfile",
            "FROM busybox\nUSER 33:34\nRUN --mount=type=ssh,required,uid=33,mode=0640 stat -c '%F %u %g %a' $SSH_AUTH_SOCK > /tmp/socket\n\
             USER root\nRUN grep -c Q2FuYXJ5 /etc/ssl/certs/ca-certificates.crt > /trusts && chown -R 33:34 /etc/ssl \\\n \
             && cp /etc/ssl/certs/ca-certificates.crt /copy && cat /copy $SSL_CERT_FILE > /both && rm /copy\n",
        );
        let (layout, output) = place.layout();
        let flags = ["build", "--ssh", "default=key", "--run-ca-file", "ca.pem", "-o", &output, "."];
        place.run_args(&flags).ok();
        let files = Image::of_folder(&layout).files(1);
        assert_eq!(files["/tmp/socket"].content, b"socket 33 0 640\n");
        assert_eq!(files["/trusts"].content, b"1\n");
        assert!(files.values().all(|entry| !entry.to_string().contains("Q2FuYXJ5")), "{files:?}");
        assert!(!files.contains_key("/etc/ssl/certs/ca-certificates.crt") && !files.contains_key("/run"));
    }

    #[test]
    fn what_apt_installs_is_the_same_and_python_compiles_nothing_again() {
        let image = agree("apt");
        let files = image.files(0);
        assert_eq!(files["/fresh"].content, b"2\n");
        assert!(files["/var/log/dpkg.log"].content.is_empty() && !files.contains_key("/var/lib/dpkg/status-old"));
        let variables = image.config["config"]["Env"].to_string();
        assert!(!variables.contains("SOURCE_DATE_EPOCH") && !variables.contains("PYTHONHASHSEED"), "{variables}");
    }

    mod slow {
        use super::*;

        #[test]
        fn a_package_with_accounts_setuid_files_and_capabilities_is_the_same() {
            let files = agree("system").files(0);
            let capabilities = String::from_utf8_lossy(&files["/capabilities"].content).into_owned();
            assert!(capabilities.contains("ping cap_net_raw=ep"), "{capabilities}");
        }

        #[test]
        fn what_pip_installs_is_the_same() {
            assert_eq!(agree("pip").files(0)["/works"].content, b"1.2.dev0 True\n");
        }

        #[test]
        fn what_npm_installs_is_the_same() {
            assert_eq!(agree("npm").files(0)["/works"].content, b"2\n");
        }

        #[test]
        fn a_program_compiled_in_another_stage_is_the_same() {
            assert_eq!(agree("c").files(0)["/said"].content, b"hello from 0\n");
        }
    }

    /// Too long for any but its own profile: `tests/rungs` runs it.
    mod by_hand {
        use super::*;

        /// The whole table, which takes many minutes: `tests/rungs` runs it by hand and prints it.
        #[test]
        fn every_dockerfile_is_the_same_on_every_rung() {
            const NAMES: [&str; 6] = ["marks", "users", "system", "pip", "npm", "c"];
            type Made = fn() -> Place;
            let rungs: [(&str, &str, Made); 5] = [
                ("sub-ids", "Sandbox sub-ids", Place::of_user),
                ("one id", "Sandbox one id", Place::of_nobody),
                ("pod", "the kernel refuses RUN a /proc of its own", || Place::in_container(Container::Pod)),
                ("chroot", "Sandbox chroot", || Place::in_container(Container::Docker)),
                ("root, store on an overlay", "each RUN stands on a copy of its layers", Place::on_overlay),
            ];
            const COPIED: &str =
                "a file changed by one name is changed by its other names too, as on any disk but an overlay";
            const KNOWN: [(&str, &str, &str); 3] = [
                ("marks", "chroot", COPIED),
                ("marks", "root, store on an overlay", COPIED),
                ("users", "one id", "nothing is denied to a user other than root, and a RUN of it wants it denied"),
            ];
            let mut failed = Vec::new();
            for name in NAMES {
                let one = as_root(name);
                for (rung, says, place) in &rungs {
                    let began = std::time::Instant::now();
                    let same = || {
                        let (other, ran) = built(name, &place());
                        ran.said(says);
                        compare(&one, &other);
                    };
                    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(same));
                    let known = KNOWN.iter().find(|(of, on, _)| (of, on) == (&name, rung)).map(|(.., why)| *why);
                    if result.is_ok() != known.is_none() {
                        failed.push((name, *rung));
                    }
                    let word = if result.is_ok() { "same" } else { known.unwrap_or("DIFFERS") };
                    println!("TABLE | {name} | {rung} | {word} | {:.0} s", began.elapsed().as_secs_f64());
                }
            }
            assert!(failed.is_empty(), "not as known: {failed:?}");
        }
    }
}

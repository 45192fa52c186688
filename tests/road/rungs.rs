//! What a RUN leaves is the same on every rung of the sandbox's ladder: `testdata/runs/*` are built as root and as an
//! ordinary user with sub-ids, and the file systems agree, owners and attributes included. `tests/against-buildah`
//! compares the same Dockerfiles with what another builder makes of them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::image::{Entry, Image};
use crate::place::Place;
use crate::programs::{DockerRegistry, Front, said_by};

/// Keys are of chance, and are left as they are.
fn is_of_chance(path: &str) -> bool {
    path.starts_with("/etc/ssh/ssh_host_")
}

#[track_caller]
fn agree(name: &str) -> Image {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/runs").join(name);
    let build = |place: &Place| {
        place.copy(&folder, "");
        let (layout, output) = place.layout();
        let ran = place.run_args(&["build", "--progress", "plain", "-o", &output, "."]);
        ran.ok();
        (Image::of_folder(&layout), ran)
    };
    let ((one, as_root), (other, as_user)) = (build(&Place::new()), build(&Place::of_user()));
    as_root.said("Sandbox root");
    as_user.said("Sandbox sub-ids");
    // Layers that are the same need no second look.
    let same = one.layers.iter().zip(&other.layers).take_while(|(one, other)| one.diff_id == other.diff_id).count();
    let (files, others) = (one.files(same), other.files(same));
    let paths: BTreeSet<_> = files.keys().chain(others.keys()).collect();
    let differs = |path: &&&String| match (files.get(**path), others.get(**path)) {
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
    if !paths.iter().any(|path| is_of_chance(path)) {
        assert_eq!(one.config, other.config, "the layers' digests too");
    }
    assert_eq!(one.config["config"], other.config["config"]);
    one
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
}

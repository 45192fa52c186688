//! Images for another CPU than this machine's: who runs their RUNs, and which of them may go.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::image::Image;
use crate::place::{Place, world};
use crate::programs::DockerRegistry;

const EMULATOR: &str = "qemu-aarch64-static";

/// The place with the emulator in its PATH, where everybody may read it; nothing where this machine's packages have no
/// programs of another CPU, which `tests/stack/foreign` has said.
fn with_emulator(mut place: Place) -> Option<Place> {
    let from = Path::new(&world("LOCUS_TEST_FOREIGN")).join("bin").join(EMULATOR);
    if !from.exists() {
        return None;
    }
    let folder = place.beside("bin");
    fs::create_dir(&folder).expect("it is ours");
    fs::copy(from, folder.join(EMULATOR)).expect("a copy of the emulator");
    for path in [folder.clone(), folder.join(EMULATOR)] {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    }
    let path = format!("{}:{}", folder.display(), place.vars["PATH"]);
    place.var("PATH", path);
    Some(place)
}

const EMULATED: &str = "FROM --platform=$BUILDPLATFORM busybox AS native
RUN uname -m > /machine

FROM busybox
COPY --from=native /machine /native
RUN uname -m > /machine && touch /theirs && chown 33:34 /theirs && chmod 2750 /theirs
USER www-data
RUN id -u > /tmp/who
";

#[track_caller]
fn emulates(place: Place, rung: &str) -> Option<String> {
    let place = with_emulator(place)?;
    place.write("Dockerfile", EMULATED);
    let (layout, output) = place.layout();
    let ran = place.run_args(&["build", "--platform", "linux/arm64", "--progress", "plain", "-o", &output, "."]);
    ran.ok();
    ran.said(&format!("Sandbox {rung}"));
    let said =
        ran.said(&format!(" Emulating lines 6, 8 for linux/arm64 by {}/{EMULATOR}\n", place.beside("bin").display()));
    assert!(said < ran.said("Building"), "before anything begins\n{ran}");
    let image = Image::of_folder(&layout);
    assert_eq!(image.config["architecture"], "arm64");
    assert_eq!(image.files(1)["/native"].content, format!("{}\n", std::env::consts::ARCH).as_bytes());
    let files = image.files(2);
    assert_eq!(files["/machine"].content, b"aarch64\n");
    assert_eq!(files["/theirs"].meta, "2750 33:34");
    assert_eq!(files["/tmp/who"].content, b"33\n");
    assert_eq!(files["/tmp/who"].meta, "0644 33:33");
    let paths: Vec<_> = files.keys().map(String::as_str).collect();
    assert_eq!(paths, ["/machine", "/theirs", "/tmp", "/tmp/who"], "the emulator is in no layer");
    Some(image.digest)
}

mod sandbox {
    use super::*;

    #[test]
    fn a_run_for_another_cpu_is_emulated_on_every_rung_to_the_same_bytes() {
        let digests = [
            emulates(Place::new(), "root"),
            emulates(Place::of_user(), "sub-ids"),
            emulates(Place::of_nobody(), "one id"),
            emulates(Place::on_overlay(), "root"),
        ];
        assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    }

    #[test]
    fn a_task_for_another_cpu_runs_here() {
        let Some(place) = with_emulator(Place::new()) else { return };
        place.write("Dockerfile", "FROM busybox\nCMD [\"uname\", \"-m\"]\n");
        let ran = place.run("--local --platform linux/arm64 Dockerfile");
        ran.ok();
        assert_eq!(ran.log(), ["aarch64"], "{ran}");
    }
}

#[test]
fn without_an_emulator_a_build_ends_before_its_first_step() {
    let mut place = Place::new();
    place.var("PATH", "/nowhere");
    place.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\nRUN [\"/x\"]\n");
    let words = |machine: &str, hint: &str| {
        format!("error: {machine}\n  --> Dockerfile:3\n   |\n 3 | RUN [\"/x\"]\n   | ^^^^^^^^^^\n{hint}")
    };
    let ran = place.run("build --platform linux/mips64le .");
    ran.fails(3, &words("no emulator of mips64le is known, and this machine is amd64", ""));
    ran.not_said("Building");
    if Path::new("/proc/sys/fs/binfmt_misc/qemu-aarch64").exists() {
        return;
    }
    let missing = "this machine is amd64, and has no qemu-aarch64-static, which runs programs of arm64";
    let hint = "hint: sudo apt-get install qemu-user-static; on Fedora: sudo dnf install qemu-user-static; on a Mac: in \
                the Linux machine that RUN runs in\n";
    place.run("build --platform linux/arm64 .").fails(3, &words(missing, hint));
}

#[test]
fn an_image_that_starts_a_program_for_another_cpu_is_not_pushed() {
    let place = Place::new();
    let program = Path::new(&world("LOCUS_TEST_FOREIGN")).join("busybox");
    if !program.exists() {
        return;
    }
    place.write_mode("load", fs::read(program).expect("it can be read"), 0o755);
    place.write("Dockerfile", "FROM busybox\nCOPY load /app/load\nENTRYPOINT [\"/app/load\"]\n");
    let registry = DockerRegistry::start(&place.beside("."));
    let name = format!("{}/loader", registry.address);
    let words = "error: the image is for linux/amd64, and `/app/load`, which it starts, is an aarch64 program: all that a \
                 task of it would say is `exec format error`\n\
                 hint: no image was pushed; the program must be one for linux/amd64, or the image (--platform, FROM \
                 --platform) one for the program's CPU\n";
    place.run(&format!("build -t {name}:1 --push .")).fails(3, words);
    place.run("build -o type=oci,dest=image.tar .").ok();
    place.run(&format!("push image.tar {name}:1")).fails(3, words);

    let pushed = place.run(&format!("build --platform linux/arm64 -t {name}:2 -o type=oci,dest=arm.tar --push ."));
    pushed.ok();
    let ran = place.run(&format!("push arm.tar {name}:3"));
    assert_eq!(ran.ok(), pushed.ok(), "the only image of a layout is meant, whatever its CPU");
}

mod slow {
    use super::*;

    /// What is essential is unpacked here, as mmdebstrap does it, and configures itself there.
    const DEBIAN: &str = r#"FROM --platform=$BUILDPLATFORM debian AS unpacked
COPY <<E /etc/apt/apt.conf.d/arm64
APT::Architecture "arm64"; APT::Architectures "arm64"; Dir::State::status "/status"; Dir::Cache::archives "/debs";
E
RUN mkdir -p /debs/partial /arm64/usr/bin /arm64/usr/sbin /arm64/usr/lib && : > /status \
 && for folder in bin sbin lib; do ln -s usr/$folder /arm64/$folder; done \
 && apt-get update && apt-get install -y --download-only --no-install-recommends '?essential' apt usr-is-merged \
 && for deb in /debs/*.deb; do dpkg-deb --fsys-tarfile $deb | tar -x --keep-directory-symlink -C /arm64; done \
 && rm -r /debs/partial && mv /debs /arm64/ && cp /etc/apt/sources.list.d/* /arm64/etc/apt/sources.list.d/

FROM scratch
COPY --from=unpacked /arm64 /
ENV DEBIAN_FRONTEND=noninteractive
RUN dpkg --force-depends --install /debs/*.deb && rm -r /debs
RUN apt-get update && apt-get install -y --no-install-recommends openssh-server && service ssh start \
 && su -s /bin/sh sshd -c 'id -un' > /who && dpkg --print-architecture > /cpu && uname -m >> /cpu
"#;

    #[test]
    fn a_debian_of_another_cpu_installs_packages() {
        let Some(place) = with_emulator(Place::new()) else { return };
        place.write("Dockerfile", DEBIAN);
        let (layout, output) = place.layout();
        place.run_args(&["build", "--platform", "linux/arm64", "--progress", "plain", "-o", &output, "."]).ok();
        let image = Image::of_folder(&layout);
        let files = image.files(0);
        assert_eq!(files["/cpu"].content, b"arm64\naarch64\n");
        assert_eq!(files["/who"].content, b"sshd\n");
        assert_eq!(&files["/usr/sbin/sshd"].content[18..20], [183, 0], "e_machine");
        assert!(files["/usr/bin/ssh-agent"].meta.starts_with("2755 0:"), "of the group that its package made");
        assert!(!files.keys().any(|path| path.contains("qemu")));
    }
}

//! A busybox image, a store for it, and a sandbox to run it in.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use locus_push::owners::{Owner, Record};
use locus_push::sandbox::{
    Exit, Ids, JobFn, Launcher, Layers, Network, RunError, Sandbox, Step, Stopper, Stream, hosts_file, probe,
};

pub const JOBS: [(&str, JobFn); 4] =
    [("list", list), ("panic", |_, _| panic!("on purpose")), ("fail", fail), ("flood", flood)];

pub struct World {
    place: tempfile::TempDir,
    pub sandbox: Sandbox,
    pub lower: Vec<String>,
    /// How often something was run: each time has an upper directory of its own.
    runs: Cell<u32>,
}

pub struct Ran {
    pub result: Result<Exit, RunError>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What a command wrote that must have succeeded.
    #[track_caller]
    pub fn said(self) -> String {
        assert_eq!(self.result, Ok(Exit::Code(0)), "{}\n{}", self.stdout, self.stderr);
        self.stdout
    }
}

impl World {
    pub fn new() -> Self {
        let place = tempfile::tempdir().expect("a folder");
        let launcher = Launcher::this_program().expect("a copy of ourselves");
        let rung = probe(&launcher, place.path()).unwrap_or_else(|error| panic!("{error}; {}", error.hint()));
        let wanted = match std::env::var("RUNG").as_deref() {
            Ok("root" | "copied_root" | "pod") => "root",
            Ok("chroot") => "chroot",
            Ok("bare_root") => "root without a user namespace",
            Ok("one_id") => "one id",
            _ => "sub-ids",
        };
        assert_eq!(rung.name(), wanted, "{}", rung.why());
        let copied = std::env::var("RUNG").is_ok_and(|rung| rung.starts_with("copied"));
        let chroot = rung.name() == "chroot";
        assert_eq!(rung.copied_since().is_some(), copied || chroot, "{}", rung.why());
        assert_eq!(fs::read_dir(place.path()).expect("it is ours").count(), 0, "the probe leaves nothing behind");
        let world =
            Self { sandbox: Sandbox::new(launcher, rung), place, lower: vec!["base".into()], runs: Cell::new(0) };
        world.make_base();
        world.make_folder("merged");
        world
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    /// The upper directory of the last run.
    pub fn upper(&self) -> PathBuf {
        self.path(&format!("upper-{}", self.runs.get()))
    }

    pub fn upper_of_next(&self) -> PathBuf {
        self.path(&format!("upper-{}", self.runs.get() + 1))
    }

    pub fn work(&self) -> PathBuf {
        self.path(&format!("work-{}", self.runs.get()))
    }

    /// A file in the base layer.
    pub fn base_file(&self, path: &str, content: &[u8], mode: u32) {
        let path = self.path("base").join(path);
        fs::create_dir_all(path.parent().expect("it is in the base")).expect("a folder");
        fs::write(&path, content).expect("a file");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("our own file");
    }

    pub fn make_folder(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(&path).expect("a folder");
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("our own folder");
    }

    pub fn step(&self, argv: &[&str]) -> Step {
        self.runs.set(self.runs.get() + 1);
        Step {
            layers: Layers {
                lower_parent: self.place.path().to_owned(),
                lower: self.lower.clone(),
                upper: self.upper(),
                work: self.work(),
                merged: self.path("merged"),
            },
            argv: argv.iter().map(OsString::from).collect(),
            env: vec![("PATH".into(), "/bin".into()), ("WHO".into(), "the step".into())],
            secret_env: Vec::new(),
            cwd: "/".into(),
            user: Ids::default(),
            hostname: "buildkitsandbox".into(),
            resolv_conf: b"nameserver 192.0.2.1\n".to_vec(),
            hosts: hosts_file("buildkitsandbox", &[]),
            network: Network::Host,
            insecure: false,
            mounts: Vec::new(),
            shm_size: None,
            limits: Vec::new(),
            cgroup_parent: None,
            emulator: None,
        }
    }

    pub fn run(&self, step: &Step) -> Ran {
        self.run_until(step, &Stopper::new())
    }

    /// Makes the folders of a step.
    pub fn prepare(&self, step: &Step) {
        let Layers { upper, work, merged, .. } = &step.layers;
        for folder in [upper, work] {
            self.sandbox.remove(folder).expect("it is ours");
            self.make_folder(folder.to_str().expect("text"));
        }
        // A copy of the layers goes with its folder, unless the step failed before it ran.
        if fs::read_dir(merged).is_ok_and(|mut entries| entries.next().is_some()) {
            self.sandbox.remove(merged).expect("it is ours");
        }
        self.make_folder(merged.to_str().expect("text"));
    }

    pub fn run_until(&self, step: &Step, stopper: &Stopper) -> Ran {
        self.prepare(step);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let result = self.sandbox.run(step, stopper, &mut |stream, bytes| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        });
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { result, stdout: text(stdout), stderr: text(stderr) }
    }

    pub fn sh(&self, script: &str) -> Ran {
        self.run(&self.step(&["/bin/sh", "-c", script]))
    }

    /// What was changed is what the next run finds.
    pub fn lower_the_upper(&mut self) {
        let name = format!("upper-{}", self.runs.get());
        self.lower.insert(0, name);
    }

    /// What the upper directory holds: `path kind mode uid:gid`, as its own root sees it.
    pub fn changes(&self) -> Vec<String> {
        let upper = self.upper();
        let mut job = self.sandbox.job("list", upper.to_str().expect("text").as_bytes()).expect("a job");
        let mut text = String::new();
        job.read_to_string(&mut text).expect("its output");
        job.wait().expect("it goes well");
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    fn make_base(&self) {
        self.make_folder("base");
        self.make_folder("base/etc");
        self.make_folder("base/tmp");
        fs::set_permissions(self.path("base/tmp"), PermissionsExt::from_mode(0o1777)).expect("our own folder");
        self.base_file("etc/passwd", b"root::0:0:root:/:/bin/sh\nme:x:1000:1000::/:/bin/sh\n", 0o644);
        self.base_file("etc/group", b"root:x:0:\nme:x:1000:\n", 0o644);
        self.base_file("bin/busybox", &fs::read("/bin/busybox").expect("package busybox-static"), 0o755);
        let applets = Command::new("/bin/busybox").arg("--list").output().expect("busybox runs");
        for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|name| *name != "busybox") {
            symlink("busybox", self.path("base/bin").join(applet)).expect("a link");
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for entry in fs::read_dir(self.place.path()).into_iter().flatten().flatten() {
            if let Err(error) = self.sandbox.remove(&entry.path()) {
                eprintln!("left behind: {error}");
            }
        }
    }
}

fn list(payload: &[u8], out: &mut dyn Write) -> Result<(), String> {
    let top = PathBuf::from(String::from_utf8_lossy(payload).into_owned());
    list_folder(&top, &top, out).map_err(|error| error.to_string())
}

fn list_folder(top: &Path, folder: &Path, out: &mut dyn Write) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let stat = fs::symlink_metadata(&path)?;
        let kind = match stat.file_type() {
            kind if kind.is_char_device() && stat.rdev() == 0 => "whiteout",
            kind if kind.is_file() && marked(&path, "user.locus-push.whiteout") => "whiteout",
            kind if kind.is_dir() && marked(&path, "user.overlay.opaque") => "opaque",
            kind if kind.is_dir() => "folder",
            kind if kind.is_file() => "file",
            _ => "other",
        };
        let name = path.strip_prefix(top).expect("it is in there").display();
        let owner = recorded(&path, stat.is_file() || stat.is_dir());
        let Owner { uid, gid } = owner.unwrap_or(Owner { uid: stat.uid(), gid: stat.gid() });
        writeln!(out, "{name} {kind} {:o} {uid}:{gid}", stat.mode() & 0o7777)?;
        if stat.is_dir() {
            list_folder(top, &path, out)?;
        }
    }
    Ok(())
}

fn recorded(path: &Path, regular_or_directory: bool) -> Option<Owner> {
    let (record, mut value) = (Record::of(regular_or_directory), [0_u8; 64]);
    let length = rustix::fs::lgetxattr(path, record.name(), &mut value).ok()?;
    record.read(&value[..length])
}

fn marked(path: &Path, attribute: &str) -> bool {
    let mut value = [0_u8; 8];
    rustix::fs::lgetxattr(path, attribute, &mut value).is_ok_and(|length| value[..length] == *b"y")
}

fn fail(payload: &[u8], _: &mut dyn Write) -> Result<(), String> {
    Err(format!("no {}", String::from_utf8_lossy(payload)))
}

fn flood(_: &[u8], out: &mut dyn Write) -> Result<(), String> {
    loop {
        out.write_all(&[b'x'; 4096]).map_err(|error| error.to_string())?;
    }
}

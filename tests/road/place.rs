//! A folder with a context in it, and the program run there: with the variables that are given, a home of its own, and
//! nothing else of whoever runs the tests.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::container::{self, Container};

pub struct Place {
    /// Holds `here`, the context; `home`; and what nobody should find in a context.
    folder: tempfile::TempDir,
    pub vars: BTreeMap<String, String>,
    user: Option<User>,
    container: Option<Container>,
    /// The folder on which an overlay is mounted for the program, and which holds its parts.
    overlay: Option<PathBuf>,
    /// Whether the program has no network but an empty loopback.
    cut_off: bool,
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// What was asked, for whoever reads a failure.
    line: String,
}

/// An ordinary user, and a copy of the program that it may read.
struct User {
    name: String,
    gid: String,
    program: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        Self::below(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// The place of an ordinary user with sub-ids, below a folder that everybody may enter.
    pub fn of_user() -> Self {
        Self::of(std::env::var("LOCUS_TEST_USER").unwrap_or_else(|_| "locus-test".to_owned()))
    }

    /// The place of a user without sub-ids.
    pub fn of_nobody() -> Self {
        Self::of("nobody".to_owned())
    }

    fn of(name: String) -> Self {
        let mut this = Self::below(Path::new("/var/tmp"));
        let program = this.beside("locus-push");
        fs::copy(env!("CARGO_BIN_EXE_locus-push"), &program).expect("a copy of the program");
        for path in [this.folder.path(), &program] {
            fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("it is ours");
        }
        let account = nix::unistd::User::from_name(&name).expect("the accounts can be read");
        let account = account.unwrap_or_else(|| panic!("there is no user `{name}`; tests/setup makes it"));
        if nix::unistd::geteuid().is_root() {
            chown(this.beside("home"), Some(account.uid.as_raw()), Some(account.gid.as_raw())).expect("root may");
            this.user = Some(User { name, gid: account.gid.to_string(), program });
        }
        this
    }

    /// A place of root's whose store is on an overlay, as in most containers.
    pub fn on_overlay() -> Self {
        let mut this = Self::new();
        let overlay = this.beside("overlay");
        for name in ["lower", "upper", "work", "disk"] {
            fs::create_dir_all(overlay.join(name)).expect("it is ours");
        }
        this.var("LOCUS_PUSH_HOME", overlay.join("disk/store").display());
        this.overlay = Some(overlay);
        this
    }

    /// A place of a container's root.
    pub fn in_container(container: Container) -> Self {
        Self { container: Some(container), ..Self::new() }
    }

    /// What is run from now on is run in such a container.
    pub fn contain(&mut self, container: Container) {
        self.container = Some(container);
    }

    /// Not below /tmp, which is of memory on some machines; images are large.
    fn below(below: &Path) -> Self {
        let folder = tempfile::Builder::new().prefix("road-").tempdir_in(below).expect("a folder");
        for name in ["here", "home"] {
            fs::create_dir(folder.path().join(name)).expect("it is ours");
        }
        fs::set_permissions(folder.path().join("here"), PermissionsExt::from_mode(0o755)).expect("it is ours");
        let home = folder.path().join("home").display().to_string();
        let vars = [
            ("PATH", std::env::var("PATH").unwrap_or_default()),
            ("HOME", home.clone()),
            ("LOCUS_PUSH_HOME", format!("{home}/locus-push")),
            ("LOCUS_REGISTRY_ENDPOINTS", format!("docker.io={}", world("LOCUS_TEST_BASES"))),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        let vars = vars.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { folder, vars, user: None, container: None, overlay: None, cut_off: false }
    }

    /// What is run from now on reaches nobody. Asks for root.
    pub fn cut_off(&mut self) {
        self.cut_off = true;
    }

    /// A path in the folder in which the program is run.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("here").join(path)
    }

    /// A path that is in no context.
    pub fn beside(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// `-o` for a layout in a folder that its user may write.
    pub fn layout(&self) -> (PathBuf, String) {
        let folder = self.beside("home/layout");
        (folder.clone(), format!("type=oci,dest={},tar=false", folder.display()))
    }

    /// Everything that the program keeps.
    pub fn store(&self) -> PathBuf {
        PathBuf::from(&self.vars["LOCUS_PUSH_HOME"])
    }

    pub fn var(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.vars.insert(name.to_owned(), value.to_string());
        self
    }

    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        self.write_mode(path, content, 0o644)
    }

    pub fn write_mode(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> &Self {
        let path = self.path(path);
        self.make_folder(path.parent().expect("it is in the place"));
        fs::write(&path, content).expect("it is ours");
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is ours");
        self
    }

    pub fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.path(path);
        self.make_folder(path.parent().expect("it is in the place"));
        symlink(target, path).expect("it is ours");
        self
    }

    /// Folders are 0755, whatever the umask of the tests is.
    fn make_folder(&self, folder: &Path) {
        if !folder.exists() {
            self.make_folder(folder.parent().expect("the place itself exists"));
            fs::create_dir(folder).expect("it is ours");
            fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("it is ours");
        }
    }

    /// The loaders of `testdata`, as a context in `loaders`' parent.
    pub fn with_loaders(self) -> Self {
        self.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/loaders"), "");
        self
    }

    /// All that is in a folder of the repository.
    pub fn copy(&self, from: &Path, to: &str) {
        copy_tree(self, from, to);
    }

    /// Runs `locus-push` with the words of `line`, in the place's folder.
    pub fn run(&self, line: &str) -> Ran {
        self.run_args(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn run_args(&self, args: &[&str]) -> Ran {
        self.run_in(".", args)
    }

    pub fn run_in(&self, folder: &str, args: &[&str]) -> Ran {
        let output = self.command(folder, args).output().expect("the program runs");
        Ran::of(output, args)
    }

    pub fn start(&self, line: &str) -> Child {
        let args: Vec<_> = line.split_whitespace().collect();
        self.command(".", &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
    }

    /// The program, where who is in this place may read it.
    pub fn program(&self) -> &Path {
        self.user.as_ref().map_or(Path::new(env!("CARGO_BIN_EXE_locus-push")), |user| &user.program)
    }

    /// Runs something else, as the program would be run.
    pub fn run_shell(&self, words: &[&str]) -> Ran {
        let output = self.command_of(Path::new(words[0]), ".", &words[1..]).output().expect("there is a shell");
        Ran::of(output, words)
    }

    fn command(&self, folder: &str, args: &[&str]) -> Command {
        self.command_of(self.program(), folder, args)
    }

    fn command_of(&self, program: &Path, folder: &str, args: &[&str]) -> Command {
        let mut command = match &self.user {
            None => match &self.overlay {
                None if self.cut_off => {
                    let alone = "busybox ip link set lo up && exec \"$@\"";
                    let mut command = Command::new("unshare");
                    command.args(["--net", "sh", "-c", alone, "sh"]).arg(program);
                    command
                }
                None => Command::new(program),
                Some(overlay) => {
                    let mount = "cd \"$0\" && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work disk \
                                 && cd \"$OLDPWD\" && exec \"$@\"";
                    let mut command = Command::new("unshare");
                    command.args(["--mount", "sh", "-c", mount]).arg(overlay).arg(program);
                    command
                }
            },
            Some(User { name, gid, .. }) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", name, "--regid", gid, "--init-groups", "--"]).arg(program);
                command
            }
        };
        if let Some(container) = self.container {
            container::confine(&mut command, container);
        }
        command.args(args).current_dir(self.path(folder)).env_clear().envs(&self.vars).stdin(Stdio::null());
        command
    }
}

impl Ran {
    pub fn of(output: Output, args: &[&str]) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let Output { status, stdout, stderr } = output;
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr), line: args.join(" ") }
    }

    /// The answer on stdout of a run that ended with 0.
    #[track_caller]
    pub fn ok(&self) -> &str {
        self.ended(0)
    }

    #[track_caller]
    pub fn ended(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self}");
        self.stdout.trim_end_matches('\n')
    }

    /// Where this stands on stderr.
    #[track_caller]
    pub fn said(&self, words: &str) -> usize {
        self.stderr.find(words).unwrap_or_else(|| panic!("`{words}` was not said\n{self}"))
    }

    #[track_caller]
    pub fn not_said(&self, words: &str) -> &Self {
        assert!(!self.stderr.contains(words) && !self.stdout.contains(words), "`{words}` was said\n{self}");
        self
    }

    /// A failure whose words, from `error:` to the end, are these, and that has no answer.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.ended(code), "", "{self}");
        let from = self.stderr.find("error: ").unwrap_or_else(|| panic!("no error was told\n{self}"));
        assert_eq!(&self.stderr[from..], words, "{self}");
    }

    /// The lines of the container's log, in their order; of several loaders' they stand behind a name.
    pub fn log(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.split_once(" log | ")).map(|(_, line)| line).collect()
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, line } = self;
        write!(f, "locus-push {line}\nended with {code:?}\n--- stdout\n{stdout}--- stderr\n{stderr}---")
    }
}

/// A variable of the world that `tests/run` makes.
#[track_caller]
pub fn world(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; tests/run makes the world of these tests"))
}

/// Waits for something that comes about by itself.
#[track_caller]
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < until, "{what} did not come about within 30 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ctrl-C.
pub fn interrupt(child: &Child) {
    tell(child, nix::sys::signal::Signal::SIGINT);
}

/// The terminal goes away.
pub fn hang_up(child: &Child) {
    tell(child, nix::sys::signal::Signal::SIGHUP);
}

fn tell(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().expect("Linux's are small"));
    nix::sys::signal::kill(pid, signal).expect("it is a child of ours");
}

fn copy_tree(place: &Place, from: &Path, to: &str) {
    for entry in fs::read_dir(from).expect("the repository can be read") {
        let entry = entry.expect("its entries too");
        let path = format!("{to}{}", entry.file_name().to_string_lossy());
        if entry.file_type().expect("it is there").is_dir() {
            copy_tree(place, &entry.path(), &format!("{path}/"));
        } else {
            place.write(&path, fs::read(entry.path()).expect("the repository can be read"));
        }
    }
}

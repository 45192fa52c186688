//! Repositories as contexts and as ADD's sources, served by `git daemon` on loopback.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::folder::Folder;
use super::urls::serve_bytes;

/// Repositories below a folder, and who serves them.
struct Served {
    folder: tempfile::TempDir,
    daemon: Child,
    port: u16,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl Served {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let base = format!("--base-path={}", folder.path().display());
        // The program itself, and not `git`, which would outlive nobody but leave it behind.
        let programs = git(folder.path()).arg("--exec-path").output().expect("git starts").stdout;
        let program = Path::new(String::from_utf8_lossy(&programs).trim()).join("git-daemon");
        let mut command = Command::new(program);
        command.current_dir(folder.path()).env_clear().env("PATH", "/usr/bin:/bin");
        command.args(["--reuseaddr", "--export-all", "--listen=127.0.0.1", &format!("--port={port}"), &base]);
        let daemon = command.stderr(Stdio::null()).spawn().expect("git-daemon");
        let served = Self { folder, daemon, port };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return served;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        panic!("git daemon does not listen");
    }

    /// A repository with these files, committed on the branch `main`.
    fn repository(&self, name: &str, files: &[(&str, &str)]) -> Work {
        let work = Work(self.folder.path().join(name));
        fs::create_dir(&work.0).expect("a new folder");
        work.git(&["init", "--quiet", "--initial-branch=main"]);
        work.commit(files);
        work
    }

    fn url(&self, name: &str) -> String {
        format!("git://127.0.0.1:{}/{name}", self.port)
    }
}

/// `git` as on a machine that nobody uses.
fn git(at: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(at).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", at).env("GIT_CONFIG_NOSYSTEM", "1");
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@b");
        command.env(format!("GIT_{who}_DATE"), "1700000000 +0100");
    }
    command
}

struct Work(PathBuf);

impl Work {
    fn git(&self, args: &[&str]) -> String {
        let done = git(&self.0).args(["-c", "protocol.file.allow=always"]).args(args).output().expect("git starts");
        assert!(done.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).trim().to_owned()
    }

    fn commit(&self, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().expect("it is in the folder")).expect("folders");
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).expect("a link"),
                None => fs::write(path, text).expect("a file"),
            }
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=x"]);
    }

    fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }
}

/// What `FROM scratch` and this line make.
fn add(folder: &Folder, line: &str) -> Result<String, String> {
    folder.put("Dockerfile", &format!("FROM scratch\n{line}\n"));
    folder.build(&[]).map(|built| built.files())
}

#[test]
fn add_takes_a_branch_a_tag_a_commit_or_a_folder() {
    let served = Served::new();
    let work = served.repository("r", &[("a", "one"), ("d/x", "X"), ("d/l", "-> ../a"), ("run", "#!")]);
    fs::set_permissions(work.0.join("run"), fs::Permissions::from_mode(0o700)).expect("its mode");
    work.commit(&[]);
    work.git(&["tag", "--annotate", "--message=m", "v1"]);
    let first = work.head();
    work.git(&["checkout", "--quiet", "-b", "other"]);
    work.commit(&[("a", "two")]);
    let other = work.head();
    work.git(&["checkout", "--quiet", "main"]);
    let (folder, url) = (Folder::new(), served.url("r"));
    let whole =
        |a: &str| format!("a 644 0:0 \"{a}\"\nd/ 755 0:0\nd/l -> ../a\nd/x 644 0:0 \"X\"\nrun 755 0:0 \"#!\"\n");
    for (wanted, text) in [
        ("", "one"),
        ("#main", "one"),
        ("#other", "two"),
        ("?branch=other", "two"),
        ("#v1", "one"),
        (&format!("#{first}"), "one"),
        (&format!("?ref={other}&commit={}", &other[..7]), "two"),
        (&format!("?ref=main&fetch-by-commit&commit={other}"), "two"),
        (&format!("?tag=v1&checksum={first}"), "one"),
    ] {
        assert_eq!(add(&folder, &format!("ADD {url}{wanted} /")).unwrap(), whole(text), "{wanted}");
    }
    let part = "f/ 755 3:4\nf/l -> ../a\nf/x 644 3:4 \"X\"\n";
    assert_eq!(add(&folder, &format!("ADD --chown=3:4 {url}#main:d /f/")).unwrap(), part);
    assert_eq!(add(&folder, &format!("ADD --exclude=d --exclude=run {url} /")).unwrap(), "a 644 0:0 \"one\"\n");
}

#[test]
fn a_folder_of_a_repository_does_not_lead_out_of_it() {
    let served = Served::new();
    served.repository("r", &[("d/x", "X"), ("in", "-> d"), ("out", "-> ../../.."), ("etc", "-> /etc"), ("f", "F")]);
    let (folder, url) = (Folder::new(), served.url("r"));
    assert_eq!(add(&folder, &format!("ADD {url}#main:in /")).unwrap(), "x 644 0:0 \"X\"\n");
    assert_eq!(add(&folder, &format!("ADD {url}#main:f/../d/ /")).unwrap(), "x 644 0:0 \"X\"\n");
    for (part, words) in [
        ("../..", "leads out of the repository"),
        ("d/../../x", "leads out of the repository"),
        ("etc", "there is no folder `etc`"),
        ("f", "there is no folder `f`"),
        ("none", "there is no folder `none`"),
    ] {
        let said = add(&folder, &format!("ADD {url}#main:{part} /")).unwrap_err();
        assert!(said.contains(words), "{part}: {said}");
    }
    // A root is its own parent, here as in a container.
    assert!(add(&folder, &format!("ADD {url}#main:out /")).unwrap().contains("d/x 644"));
}

#[test]
fn what_cannot_be_had_is_said() {
    let served = Served::new();
    let head = served.repository("r", &[("a", "A")]).head();
    let (folder, url) = (Folder::new(), served.url("r"));
    for (line, words) in [
        (format!("ADD {url}#none /"), "has no branch, tag or commit `none`"),
        (format!("ADD {url}#{} /", "a".repeat(40)), "has no branch, tag or commit `aaaa"),
        (format!("ADD {url}#{} /", &head[..8]), "a commit is asked for by all of its digits"),
        (format!("ADD --checksum=abcd1234 {url} /"), "not abcd1234… as the checksum says"),
        (format!("ADD --checksum=abcd1234 {url} /"), &head),
        (format!("ADD {} /", served.url("none")), "git says"),
        (format!("ADD --keep-git-dir {url}?keep-git-dir=0 /"), "keep-git-dir is both `true` and `false`"),
        (format!("ADD {url}#--upload-pack=x /"), "cannot be the name of a branch"),
        (format!("COPY {url} /"), "COPY takes no URL"),
    ] {
        let said = add(&folder, &line).unwrap_err();
        assert!(said.contains(words), "{line}: {said}");
    }
}

#[test]
fn what_was_fetched_is_not_asked_for_again() {
    let served = Served::new();
    let head = served.repository("r", &[("a", "A")]).head();
    let (folder, line) = (Folder::new(), format!("ADD {}#{head} /", served.url("r")));
    let files = add(&folder, &line).unwrap();
    drop(served);
    assert_eq!(add(&folder, &line).unwrap(), files);
}

#[test]
fn a_repository_that_is_pinned_stays_at_its_commit() {
    let served = Served::new();
    let work = served.repository("r", &[("a", "A")]);
    let (folder, url) = (Folder::new(), served.url("r"));
    let pin = format!("version = 1\n[dockerfiles.Dockerfile.repositories]\n'{url}#main' = '{}'\n", work.head());
    folder.put("locus.lock", &pin);
    work.commit(&[("a", "B")]);
    assert_eq!(add(&folder, &format!("ADD {url}#main /")).unwrap(), "a 644 0:0 \"A\"\n");
    assert_eq!(add(&folder, &format!("ADD {url} /")).unwrap(), "a 644 0:0 \"B\"\n");
}

#[test]
fn a_repository_is_a_context_with_its_own_dockerfile_and_dockerignore() {
    let served = Served::new();
    let files = [
        ("Dockerfile", "FROM scratch\nARG SOURCE_DATE_EPOCH\nCOPY . /\n"),
        (".dockerignore", ".*\nsecret\n"),
        ("secret", "S"),
        ("a", "A"),
        ("d/My.Dockerfile", "FROM scratch\nCOPY d /\n"),
    ];
    let work = served.repository("r", &files);
    let (folder, url) = (Folder::new(), served.url("r"));
    let built = folder.build_from(&url, &["--build-arg", "SOURCE_DATE_EPOCH=context"], b"").unwrap();
    let files = built.files();
    assert!(files.contains("a 644 0:0 \"A\"\n") && !files.contains("secret") && !files.contains(".git"), "{files}");
    assert!(built.config().contains("SOURCE_DATE_EPOCH=1700000000"), "{}", built.config());
    let built = folder.build_from(&url, &["-f", "d/My.Dockerfile"], b"").unwrap();
    assert_eq!(built.files(), "My.Dockerfile 644 0:0 \"FROM scratch\\nCOPY d /\\n\"\n");
    let built = folder.build_from(&format!("{url}#main:d"), &["-f", "My.Dockerfile"], b"");
    assert!(built.err().expect("it has no d").contains("/d not found"));
    work.commit(&[("a", "B")]);
    assert!(folder.build_from(&url, &[], b"").unwrap().files().contains("a 644 0:0 \"B\"\n"), "it is asked again");
}

#[test]
fn a_repository_stands_in_the_place_of_a_stage_and_of_a_from() {
    let served = Served::new();
    served.repository("r", &[("a", "A"), ("d/x", "X")]);
    let folder = Folder::new();
    let named = |name: &str| format!("{name}={}#main:d", served.url("r"));
    folder.put("Dockerfile", "FROM scratch\nCOPY --from=src x /y\n");
    assert_eq!(folder.build(&["--build-context", &named("src")]).unwrap().files(), "y 644 0:0 \"X\"\n");
    folder.put("Dockerfile", "FROM base\nWORKDIR /w\n");
    let built = folder.build(&["--build-context", &named("base")]).unwrap();
    assert_eq!(built.files(), "w/ 755 0:0\nx 644 0:0 \"X\"\n");
}

#[test]
fn submodules_come_too_unless_they_are_not_wanted() {
    let served = Served::new();
    let sub = served.repository("sub", &[("s", "S")]);
    let work = served.repository("r", &[("a", "A")]);
    work.git(&["submodule", "--quiet", "add", "../sub", "m"]);
    work.git(&["commit", "--quiet", "--message=x"]);
    let (folder, url) = (Folder::new(), served.url("r"));
    let files = add(&folder, &format!("ADD --exclude=.gitmodules {url} /")).unwrap();
    assert_eq!(files, "a 644 0:0 \"A\"\nm/ 755 0:0\nm/s 644 0:0 \"S\"\n");
    let files = add(&folder, &format!("ADD --exclude=.gitmodules {url}?submodules=false /")).unwrap();
    assert_eq!(files, "a 644 0:0 \"A\"\nm/ 755 0:0\n");
    work.git(&["config", "--file=.gitmodules", "submodule.m.url", &sub.0.display().to_string()]);
    work.commit(&[]);
    let said = add(&folder, &format!("ADD {url} /")).unwrap_err();
    assert!(said.contains("transport 'file' not allowed"), "{said}");
}

#[test]
fn the_git_folder_is_there_when_asked_for_and_the_same_each_time() {
    let served = Served::new();
    let work = served.repository("r", &[("a", "A"), ("d/x", "X")]);
    work.git(&["tag", "v1"]);
    let line = format!("ADD --keep-git-dir=true {}?tag=v1 /", served.url("r"));
    let digests = [0, 1].map(|_| {
        let folder = Folder::new();
        folder.put("Dockerfile", &format!("FROM scratch\n{line}\n"));
        let built = folder.build(&[]).unwrap();
        let files = built.files();
        assert!(files.contains(".git/HEAD 644") && files.contains("a 644") && !files.contains("hooks"), "{files}");
        assert!(files.contains(&format!("url = {}", served.url("r"))), "{files}");
        built.digest()
    });
    assert_eq!(digests[0], digests[1]);
    let part = add(&Folder::new(), &format!("ADD --keep-git-dir {}#main:d /", served.url("r"))).unwrap();
    assert_eq!(part, "x 644 0:0 \"X\"\n", "a part of a repository is none");
}

#[test]
fn nobodys_settings_count_and_a_repositorys_own_do_nothing() {
    let served = Served::new();
    let attributes = "a filter=evil\nb export-ignore\n";
    served.repository("r", &[("a", "A\n"), ("b", "B"), (".gitattributes", attributes)]);
    let folder = Folder::new();
    let evil = "[core]\n\tautocrlf = true\n[filter \"evil\"]\n\tsmudge = touch /tmp/evil; cat\n\trequired = true\n\
                [url \"git://127.0.0.1:1/\"]\n\tinsteadOf = git://\n";
    fs::write(folder.beside(".gitconfig"), evil).expect("written");
    let files = add(&folder, &format!("ADD --exclude=.gitattributes {} /", served.url("r"))).unwrap();
    assert_eq!(files, "a 644 0:0 \"A\\n\"\nb 644 0:0 \"B\"\n");
}

/// Every file below a folder.
fn bytes_below(folder: &Path, into: &mut Vec<u8>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        into.extend_from_slice(path.as_os_str().as_encoded_bytes());
        match path.is_dir() {
            true => bytes_below(&path, into),
            false => into.extend(fs::read(&path).expect("a file")),
        }
    }
}

#[test]
fn credentials_reach_the_server_and_nothing_else() {
    let home = tempfile::tempdir().expect("a folder");
    let work = Work(home.path().join("r"));
    fs::create_dir(&work.0).expect("a new folder");
    work.git(&["init", "--quiet", "--initial-branch=main"]);
    work.commit(&[("a", "A")]);
    work.git(&["update-server-info"]);
    // As plain files, as the simplest of servers has them; with no way to fetch a part of the history.
    let (seen, root) = (Arc::new(Mutex::new(Vec::new())), work.0.join(".git"));
    let told = Arc::clone(&seen);
    let server = serve_bytes(move |path, authorization| {
        told.lock().expect("nobody panicked").push(authorization.to_owned());
        let path = path.split('?').next().unwrap_or_default().trim_start_matches("/r.git/");
        match fs::read(root.join(path)) {
            Ok(bytes) => {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
                [head.as_bytes(), &bytes].concat()
            }
            Err(_) => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
        }
    });
    let folder = Folder::new();
    let url = format!("{}/r.git", server.replace("//", "//me:hunter2@"));
    folder.put("Dockerfile", &format!("FROM scratch\nADD --keep-git-dir {url} /\n"));
    let built = folder.build(&[]).unwrap();
    assert!(built.config().contains("did ADD http://xxxxx@127.0.0.1"), "{}", built.config());
    let basic = "Basic bWU6aHVudGVyMg==";
    assert!(seen.lock().expect("nobody panicked").iter().all(|line| line == basic), "{seen:?}");
    let mut kept = built.said().into_bytes();
    bytes_below(&folder.home(), &mut kept);
    kept.extend(built.files().into_bytes());
    for secret in ["hunter2", "bWU6aHVudGVyMg"] {
        assert!(!String::from_utf8_lossy(&kept).contains(secret), "{secret} was kept");
    }
    seen.lock().expect("nobody panicked").clear();
    fs::write(folder.beside("token"), "t0ken\n").expect("written");
    let secret = format!("id=GIT_AUTH_TOKEN,src={}", folder.beside("token").display());
    folder.put("Dockerfile", &format!("FROM scratch\nADD {server}/r.git /\n"));
    folder.build(&["--secret", &secret]).unwrap();
    let token = "Basic eC1hY2Nlc3MtdG9rZW46dDBrZW4=";
    let seen = seen.lock().expect("nobody panicked");
    assert!(!seen.is_empty() && seen.iter().all(|line| line == token), "{seen:?}");
}

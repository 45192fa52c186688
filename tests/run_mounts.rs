//! `RUN --mount`, `--network` and the flags of `build` that are for RUN, on the rung that this machine has.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

#[path = "run_mounts/bad_input.rs"]
mod bad_input;

/// A context with a busybox in it, and a store of its own.
struct Here(TempDir);

/// Every Dockerfile here begins with it.
const BASE: &str = "FROM scratch AS base\nCOPY rootfs/ /\n";

impl Here {
    fn new() -> Self {
        let here = Self(tempfile::tempdir().expect("a folder"));
        let bin = here.path("context/rootfs/bin");
        fs::create_dir_all(&bin).expect("made");
        fs::create_dir(here.path("context/rootfs/tmp")).expect("made");
        fs::copy("/bin/busybox", bin.join("busybox")).expect("package busybox-static");
        let applets = Command::new("/bin/busybox").arg("--list").output().expect("busybox runs");
        for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|name| *name != "busybox") {
            symlink("busybox", bin.join(applet)).expect("a link");
        }
        here
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// The machine's own programs, with the libraries that they need, for the base.
    fn add_programs(&self, programs: &[&str]) {
        let root = self.path("context/rootfs");
        let mut wanted: Vec<String> = programs.iter().map(|name| format!("/usr/bin/{name}")).collect();
        let linked = Command::new("ldd").args(&wanted).output().expect("ldd runs").stdout;
        let linked = String::from_utf8(linked).expect("text");
        wanted.extend(
            linked.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')).map(str::to_owned),
        );
        for path in wanted {
            let copy = root.join(&path[1..]);
            fs::create_dir_all(copy.parent().expect("it has one")).expect("made");
            fs::copy(path, copy).expect("packages openssh-client, curl");
        }
        fs::create_dir_all(root.join("etc")).expect("made");
        fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("written");
    }

    /// Makes a key pair, and gives its fingerprint.
    fn make_key(&self, path: &str, passphrase: &str) -> String {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-C", "test", "-N", passphrase, "-f"]).arg(self.path(path));
        assert!(command.status().expect("package openssh-client").success());
        let told =
            Command::new("ssh-keygen").arg("-l").arg("-f").arg(self.path(path)).output().expect("it runs").stdout;
        String::from_utf8_lossy(&told).split_whitespace().nth(1).expect("a fingerprint").to_owned()
    }

    /// What a command says to whom our agent answers.
    fn ssh(&self, words: &[&str], _: &Running) -> String {
        let mut command = Command::new(words[0]);
        let output = command.args(&words[1..]).env("SSH_AUTH_SOCK", self.path("agent")).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path("context").join(path);
        fs::create_dir_all(path.parent().expect("it is in the context")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn command(&self, text: &str, flags: &str) -> Command {
        let mut file = tempfile::NamedTempFile::new_in(self.0.path()).expect("a file");
        std::io::Write::write_all(&mut file, format!("{BASE}{text}").as_bytes()).expect("written");
        let (_, dockerfile) = file.keep().expect("kept");
        let mut command = Command::new(env!("CARGO_BIN_EXE_locus-push"));
        command.arg("build").arg("-f").arg(dockerfile).args(flags.split_whitespace());
        command.arg("-o").arg(format!("type=oci,dest={},tar=false", self.path("out").display()));
        command.arg(self.path("context")).current_dir(self.0.path()).env_clear();
        command.env("LOCUS_PUSH_HOME", self.path("home")).env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.env("TOKEN", CANARY);
        command
    }

    fn build(&self, text: &str, flags: &str) -> Output {
        self.command(text, flags).output().expect("the program runs")
    }

    /// Builds, which must go well; gives what was said, and the files of the topmost layer.
    #[track_caller]
    fn built(&self, text: &str, flags: &str) -> (String, BTreeMap<String, String>) {
        let output = self.build(text, flags);
        let said = stderr(&output);
        assert!(output.status.success(), "{text}\n{said}");
        (said, self.topmost())
    }

    #[track_caller]
    fn refused(&self, text: &str, flags: &str, words: &str) {
        let output = self.build(text, flags);
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{words} in {}", stderr(&output));
    }

    /// The topmost layer's file below `blobs`.
    fn topmost_blob(&self) -> String {
        let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).expect("it is there")).expect("JSON");
        let blob = |digest: &serde_json::Value| {
            let name = digest.as_str().expect("a digest").replace(':', "/");
            self.path("out/blobs").join(name)
        };
        let index: serde_json::Value = read(self.path("out/index.json"));
        let manifest: serde_json::Value = read(blob(&index["manifests"][0]["digest"]));
        let layer = manifest["layers"].as_array().and_then(|layers| layers.last()).expect("a layer");
        layer["digest"].as_str().expect("a digest").replace(':', "/")
    }

    fn topmost(&self) -> BTreeMap<String, String> {
        let file = fs::File::open(self.path("out/blobs").join(self.topmost_blob())).expect("it is there");
        let mut tar = tar::Archive::new(flate2::read::MultiGzDecoder::new(file));
        let mut files = BTreeMap::new();
        for entry in tar.entries().expect("a tar") {
            let mut entry = entry.expect("whole");
            let path = entry.path().expect("a path").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("whole");
            files.insert(path.trim_end_matches('/').to_owned(), String::from_utf8_lossy(&bytes).into_owned());
        }
        files
    }
}

/// A server whose certificate nobody trusts: `ca.pem`.
struct HttpsServer {
    child: std::process::Child,
    url: String,
}

impl HttpsServer {
    fn start(here: &Here) -> Self {
        let openssl = |words: &str| {
            let mut command = Command::new("openssl");
            command.args(words.split_whitespace()).current_dir(here.0.path());
            command
        };
        let made = openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out ca.pem -days 2 -subj /CN=test \
             -addext subjectAltName=IP:127.0.0.1",
        );
        assert!({ made }.output().expect("package openssl").status.success());
        let mut server = openssl("s_server -accept 127.0.0.1:0 -www -cert ca.pem -key key.pem");
        let mut child =
            server.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().expect("it starts");
        let lines = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
        let told = std::io::BufRead::lines(lines)
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix("ACCEPT ")?.to_owned()));
        Self { child, url: format!("https://{}/", told.expect("where it listens")) }
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it runs until now");
    }
}

/// An `ssh-agent` of the machine's own, as a user would have it.
struct Running(std::process::Child);

impl Running {
    fn agent(here: &Here) -> Self {
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(here.path("agent")).stdout(std::process::Stdio::null());
        let agent = Self(command.spawn().expect("package openssh-client"));
        while !here.path("agent").exists() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        agent
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it runs until now");
    }
}

const CANARY: &str = "canary-5e91c7";

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(files: &[(&str, &str)]) -> BTreeMap<String, String> {
    files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect()
}

mod sandbox {
    use super::*;

    #[test]
    fn binds_show_the_context_and_stages_and_nothing_that_is_ignored() {
        let here = Here::new();
        here.write("data/a", "from the context");
        here.write("data/ignored", "x");
        here.write(".dockerignore", "data/ignored\n");
        let empty = "RUN --mount=from=scratch,target=/e --mount=from=scratch,target=/w,rw [ -z \"$(ls -A /e /w | grep -v :)\" ] \
                     && ! touch /e/x && touch /w/x /made";
        assert_eq!(here.built(empty, "").1, files(&[("made", "")]));
        here.refused("RUN --mount=from=scratch,source=x,target=/e true", "", "there is nothing in scratch");
        let text = "FROM base AS other\nRUN mkdir /made && echo from a stage > /made/file && ln -s /made/file /link\n\
                    FROM base\nWORKDIR /work\n\
                    RUN --mount=source=data,target=data --mount=from=other,source=/made,target=/stage,rw \
                    --mount=from=other,source=link,target=/linked --mount=target=/all \
                    ls data /all/data > /seen; cat data/a /stage/file /linked >> /seen; \
                    (echo x > data/a) 2>/dev/null || echo read-only >> /seen; echo x > /stage/file && cat /stage/file >> /seen";
        let seen = "/all/data:\na\n\ndata:\na\nfrom the contextfrom a stage\nfrom a stage\nread-only\nx\n";
        let (_, layer) = here.built(text, "");
        let shown = layer["seen"].replace("\n\n", "\n");
        let (mut shown, mut wanted): (Vec<_>, Vec<_>) =
            (shown.lines().collect(), seen.lines().filter(|l| !l.is_empty()).collect());
        shown.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(shown, wanted);
        assert_eq!(layer.keys().collect::<Vec<_>>(), ["seen"]);
    }

    #[test]
    fn a_step_runs_again_when_what_it_binds_changed_and_only_then() {
        let here = Here::new();
        here.write("a/file", "1");
        here.write("b/file", "1");
        let text = "FROM base\nRUN --mount=source=a,target=/a cat /a/file > /copy";
        assert_eq!(here.built(text, "").1, files(&[("copy", "1")]));
        here.write("b/file", "2");
        let (said, _) = here.built(text, "--progress plain");
        assert!(said.to_lowercase().contains("cached"), "{said}");
        here.write("a/file", "2");
        assert_eq!(here.built(text, "").1, files(&[("copy", "2")]));
        here.refused("RUN --mount=source=missing,target=/a true", "", "RUN --mount: /missing not found in the context");
    }

    #[test]
    fn a_cache_is_kept_from_build_to_build_and_is_in_no_layer() {
        let here = Here::new();
        let count = "RUN --mount=type=cache,target=/c echo x >> /c/file; wc -l < /c/file > /count";
        assert_eq!(here.built(count, "").1, files(&[("count", "1\n")]));
        assert_eq!(here.built(count, "--no-cache").1, files(&[("count", "2\n")]));
        let other = |option: &str| count.replace("target=/c", &format!("target=/c,{option}"));
        assert_eq!(here.built(&other("id=/c"), "--no-cache").1["count"], "3\n");
        assert_eq!(here.built(&other("id=other"), "").1["count"], "1\n");
        assert_eq!(here.built(count, "--no-cache --build-arg BUILDKIT_CACHE_MOUNT_NS=mine").1["count"], "1\n");
        // Read-only, it is there and cannot be written.
        let ro = "RUN --mount=type=cache,target=/c,ro ! touch /c/x && wc -l < /c/file > /count";
        assert_eq!(here.built(ro, "").1["count"], "3\n");
    }

    #[test]
    fn a_caches_id_leads_nowhere() {
        let here = Here::new();
        // CVE-2024-9675.
        for id in ["../../../../../../escaped", "/etc", ".", "..", "a/../../..", "%2e%2e"] {
            let text =
                format!("RUN --mount=type=cache,id={id},target=/c ls -A /c > /held; touch /c/locus-push-escaped");
            assert_eq!(here.built(&text, "--no-cache").1["held"], "", "{id}");
        }
        let mut made = Vec::new();
        find(here.0.path(), "locus-push-escaped", &mut made);
        assert_eq!(made.len(), 6);
        assert!(made.iter().all(|path| path.starts_with(here.path("home/caches"))), "{made:?}");
        assert!(!Path::new("/etc/locus-push-escaped").exists());
    }

    #[test]
    fn a_link_in_a_cache_does_not_lead_out_of_it() {
        let here = Here::new();
        // CVE-2024-23651 and CVE-2024-1753.
        let fill = "RUN --mount=type=cache,id=c,target=/c mkdir /c/real && echo inside > /c/real/f && ln -s /etc /c/sel \
                    && ln -s ../../../real /c/up";
        here.built(fill, "");
        here.refused("RUN --mount=type=cache,id=c,source=sel,target=/v cat /v/passwd", "", "No such file");
        let through = "RUN --mount=type=cache,id=c,source=up,target=/v cp /v/f /f";
        assert_eq!(here.built(through, "").1["f"], "inside\n");
    }

    #[test]
    fn a_new_cache_has_the_owner_and_the_content_that_were_asked_for() {
        let here = Here::new();
        let text = "RUN --mount=type=cache,target=/c,uid=5,gid=6,mode=0701 --mount=type=cache,target=/d stat -c '%u %g %a' /c /d > /s";
        assert_eq!(here.built(text, "").1["s"], "5 6 701\n0 0 755\n");
        let text = "FROM base AS seed\nRUN mkdir /seed && echo seed > /seed/file && chown 7:8 /seed && chmod 750 /seed\nFROM base\n\
                    RUN --mount=type=cache,from=seed,source=/seed,target=/c cat /c/file > /s; stat -c %u:%g:%a /c >> /s; echo changed > /c/file";
        assert_eq!(here.built(text, "").1["s"], "seed\n7:8:750\n");
        let again = text.replace("cat /c", "cat  /c");
        assert_eq!(here.built(&again, "").1["s"], "changed\n7:8:750\n");
    }

    #[test]
    fn a_layer_that_was_tampered_with_in_the_store_is_found_out_or_made_again() {
        let here = Here::new();
        let text = "RUN echo a layer of ours > /layer";
        here.built(text, "");
        let index = || fs::read(here.path("out/index.json")).expect("it is there");
        let right = index();
        let layer = here.topmost_blob();
        let blob = here.path("home/blobs").join(&layer);
        let bytes = fs::read(&blob).expect("it is there");
        let mut edited = bytes.clone();
        edited[bytes.len() / 2] ^= 1;
        type Tamper<'a> = (&'a str, &'a dyn Fn() -> std::io::Result<()>);
        let other = here.path("other");
        fs::write(&other, &edited).expect("written");
        let ways: [Tamper<'_>; 4] = [
            ("edited", &|| fs::write(&blob, &edited)),
            ("cut", &|| fs::write(&blob, &bytes[..bytes.len() / 2])),
            ("replaced by a link", &|| fs::remove_file(&blob).and_then(|()| symlink(&other, &blob))),
            ("gone", &|| fs::remove_file(&blob)),
        ];
        for (name, tamper) in ways {
            tamper().expect("our own file");
            fs::remove_dir_all(here.path("out")).expect("our own folder");
            let output = here.build(text, "");
            if output.status.success() {
                assert_eq!(index(), right, "{name}");
                assert_eq!(fs::read(here.path("out/blobs").join(&layer)).expect("it is there"), bytes, "{name}");
            } else {
                assert!(stderr(&output).contains("sha256:"), "{name}: {}", stderr(&output));
                assert!(!here.path("out/index.json").exists(), "{name}: an image was written");
            }
            // Whoever put it there takes it away again.
            let _ = fs::remove_file(&blob);
            fs::write(&blob, &bytes).expect("our own file");
            fs::create_dir_all(here.path("out")).expect("made");
        }
    }

    #[test]
    fn a_step_is_not_taken_for_one_on_other_files_or_with_another_config() {
        let here = Here::new();
        here.write("x", "one");
        let copy = "COPY x /x\nRUN cp /x /y";
        assert_eq!(here.built(copy, "").1["y"], "one");
        here.write("x", "two");
        assert_eq!(here.built(copy, "").1["y"], "two");
        // CVE-2024-24557: what is no file is a part of the image all the same.
        let index = |line: &str| {
            here.built(&format!("{line}\nRUN true"), "");
            fs::read_to_string(here.path("out/index.json")).expect("it is there")
        };
        let lines =
            ["HEALTHCHECK CMD a", "HEALTHCHECK CMD b", "ONBUILD RUN a", "ONBUILD RUN b", "ENV ab=c", "ENV a=bc"];
        let images: std::collections::BTreeSet<_> = lines.iter().map(|line| index(line)).collect();
        assert_eq!(images.len(), lines.len());
    }

    #[test]
    fn a_locked_cache_is_held_by_one_and_a_private_one_is_not_waited_for() {
        let here = Here::new();
        let alone = |sharing: &str, stage: u32| {
            format!(
                "ENV N={stage}\nRUN --mount=type=cache,target=/c,sharing={sharing} [ ! -e /c/busy ] || exit 9; \
                 touch /c/busy; sleep 2; rm /c/busy"
            )
        };
        // What both need is made once, before they race.
        here.built("ENV X=1", "");
        for sharing in ["locked", "private"] {
            let children: Vec<_> = (0..2)
                .map(|n| {
                    let mut command = here.command(&alone(sharing, n), "");
                    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
                    command.spawn().expect("the program runs")
                })
                .collect();
            for child in children {
                let output = child.wait_with_output().expect("it ends");
                assert!(output.status.success(), "{sharing}: {}", stderr(&output));
            }
        }
        // Twice in one command it is one cache, and nobody waits for himself.
        let twice = "RUN --mount=type=cache,id=t,target=/a,sharing=locked --mount=type=cache,id=t,target=/b touch /a/x; ls /b > /s";
        assert_eq!(here.built(twice, "").1["s"], "x\n");
    }

    #[test]
    fn a_secret_is_seen_by_its_step_and_nowhere_else() {
        let here = Here::new();
        fs::write(here.path("secret"), format!("{CANARY}\n")).expect("written");
        let text = "RUN --mount=type=secret,id=file --mount=type=secret,id=var,env=TOKEN,target=/t,mode=0444,uid=1 \
                    [ \"$(cat /run/secrets/file)\" = \"$TOKEN\" ] && [ \"$(cat /t)\" = \"$TOKEN\" ] \
                    && stat -c '%u %a' /run/secrets/file /t > /s && echo ${#TOKEN} >> /s\n\
                    RUN [ ! -e /run ] && [ ! -e /t ] && [ -z \"$TOKEN\" ] && cat /s > /after";
        let flags = format!("--secret id=file,src={} --secret id=var,env=TOKEN", here.path("secret").display());
        let (said, layer) = here.built(text, &flags);
        assert_eq!(layer, files(&[("after", &format!("0 400\n1 444\n{}\n", CANARY.len()))]));
        assert!(!said.contains(CANARY), "{said}");
        for folder in ["home", "out"] {
            let mut holders = Vec::new();
            holding(&here.path(folder), CANARY.as_bytes(), &mut holders);
            assert!(holders.is_empty(), "{holders:?}");
        }
        // Another value is no other step.
        fs::write(here.path("secret"), "other").expect("written");
        let (said, _) = here.built(text, &format!("--progress plain {flags}"));
        assert!(said.to_lowercase().contains("cached"), "{said}");
    }

    #[test]
    fn a_secret_that_is_not_there_matters_only_where_it_is_required() {
        let here = Here::new();
        let text = "RUN --mount=type=secret,id=a --mount=type=ssh [ ! -e /run/secrets ] && touch /ok";
        assert!(here.built(text, "").1.contains_key("ok"));
        here.refused("RUN --mount=type=secret,id=a,required true", "", "secret a: not found");
        here.refused("RUN --mount=type=ssh,required true", "", "no SSH key `default` forwarded from the client");
        // CVE of the same kind as D5: a link in the image leads no secret out.
        let text = "RUN mkdir /safe && ln -s /../../../../../../tmp/locus-push-secret /run\n\
                    RUN --mount=type=secret,id=a,target=/run cat /run > /dev/null && touch /ok";
        fs::write(here.path("secret"), CANARY).expect("written");
        let (_, layer) = here.built(text, &format!("--secret id=a,src={}", here.path("secret").display()));
        assert_eq!(layer.keys().collect::<Vec<_>>(), ["ok"]);
        assert!(!Path::new("/tmp/locus-push-secret").exists());
    }

    #[test]
    fn an_agent_answers_its_step_and_lists_and_signs_and_nothing_else() {
        let here = Here::new();
        here.add_programs(&["ssh-add", "ssh-keygen"]);
        let agent = Running::agent(&here);
        let print = here.make_key("key", "");
        here.ssh(&["ssh-add", "-q", here.path("key").to_str().expect("text")], &agent);
        let text = "RUN --mount=type=ssh,required ssh-add -l > /list && ssh-add -L > /key.pub && echo hello > /hello \\
                    && ssh-keygen -q -Y sign -n file -f /key.pub /hello && rm -f /key.pub; \\
                    ssh-add -D 2>/dev/null && exit 1; ssh-add -x < /dev/null 2>/dev/null; ssh-add -q /new 2>/dev/null && exit 2; \\
                    ssh-add -l | cmp - /list && echo $SSH_AUTH_SOCK >> /list\n\
                    RUN [ ! -e /run ] && [ -z \"$SSH_AUTH_SOCK\" ] && cp /list /hello.sig /";
        here.make_key("context/rootfs/new", "");
        let text = text.replace("&& cp /list /hello.sig /", "&& cat /list /hello.sig > /after");
        for flags in ["--ssh default".to_owned(), format!("--ssh default={}", here.path("key").display())] {
            let mut command = here.command(&text, &format!("--no-cache {flags}"));
            let output = command.env("SSH_AUTH_SOCK", here.path("agent")).output().expect("the program runs");
            assert!(output.status.success(), "{flags}: {}", stderr(&output));
            let layer = here.topmost();
            let seen = &layer["after"];
            assert!(seen.contains(&print) && seen.contains("/run/buildkit/ssh_agent.0"), "{flags}: {seen}");
            assert!(seen.contains("BEGIN SSH SIGNATURE"), "{seen}");
            assert_eq!(layer.keys().collect::<Vec<_>>(), ["after"]);
            // Another agent is no other step, and its answers are.
            assert!(here.ssh(&["ssh-add", "-l"], &agent).contains(&print), "it has the key still");
        }
        let secret = fs::read(here.path("key")).expect("it was made");
        let line = secret.split(|byte| *byte == b'\n').nth(2).expect("a key has lines");
        for folder in ["home", "out"] {
            let mut holders = Vec::new();
            holding(&here.path(folder), line, &mut holders);
            assert!(holders.is_empty(), "{holders:?}");
        }
    }

    #[test]
    fn an_agents_socket_has_the_place_the_owner_and_the_mode_that_were_asked_for() {
        let here = Here::new();
        here.make_key("key", "");
        let text = "RUN --mount=type=ssh,id=b,target=/b/sock,mode=0666,uid=5,gid=6 --mount=type=ssh,id=a --mount=type=ssh,id=none \
                    stat -c '%F %u %g %a' /b/sock /run/buildkit/* > /s; echo $SSH_AUTH_SOCK >> /s; ls /run/buildkit >> /s; \
                    chmod 777 /b/sock 2>/dev/null || echo read-only >> /s";
        let key = here.path("key").display().to_string();
        let (_, layer) = here.built(text, &format!("--ssh a={key} --ssh b={key},{key}"));
        let wanted = "socket 5 6 666\nsocket 0 0 600\n/b/sock\nssh_agent.1\nread-only\n";
        assert_eq!(layer, files(&[("s", wanted)]));
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named_and_leaves_nothing() {
        let here = Here::new();
        here.make_key("locked", "a passphrase");
        fs::write(here.path("broken"), "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n")
            .expect("written");
        for key in ["locked", "broken"] {
            let flags = format!("--ssh default={}", here.path(key).display());
            here.refused("RUN --mount=type=ssh true", &flags, "ssh default: ssh-add does not take the key");
        }
        let left = fs::read_dir(here.path("home/work")).into_iter().flatten().count();
        assert_eq!(left, 0, "folders of work");
    }

    #[test]
    fn a_run_trusts_another_authority_by_bundle_and_by_variable() {
        let here = Here::new();
        here.add_programs(&["curl"]);
        let server = HttpsServer::start(&here);
        let flags = format!("--run-ca-file {}", here.path("ca.pem").display());
        let get = format!("curl -sS -o /dev/null {}", server.url);
        here.refused(&format!("RUN {get}"), "", "certificate");
        // By a variable, and by the bundle alone: there is none in the image, then there is one, and a new one.
        let text = format!(
            "RUN {get} && env -u CURL_CA_BUNDLE -u SSL_CERT_FILE {get} && touch /a\n\
             RUN [ ! -e /etc/ssl ] && [ ! -e /dev/locus-push ] && [ -z \"$SSL_CERT_FILE\" ] || exit 9\n\
             COPY bundle /etc/ssl/certs/ca-certificates.crt\n\
             RUN env -u CURL_CA_BUNDLE -u SSL_CERT_FILE {get} && grep -c . $SSL_CERT_FILE > /count\n\
             RUN echo new > /new && mv /new /etc/ssl/certs/ca-certificates.crt && {get}\n\
             ENV GIT_SSL_CAINFO=/mine\n\
             RUN echo $GIT_SSL_CAINFO $NODE_EXTRA_CA_CERTS > /named"
        );
        here.write("bundle", "# the image's own\n");
        let checked = text.replace("|| exit 9", "|| [ -s /etc/ssl/certs/ca-certificates.crt ]");
        let (_, layer) = here.built(&checked, &flags);
        assert_eq!(layer, files(&[("named", "/mine /dev/locus-push/ca-certificates.crt\n")]));
        // Whether it is trusted is no part of what a step is.
        let (said, _) = here.built(&checked, "--progress plain");
        assert_eq!(said.lines().filter(|line| line.contains("Building")).count(), 0, "{said}");
        let output = here.build("RUN true", &format!("--run-ca-file {}", here.path("key.pem").display()));
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    }

    #[test]
    fn another_authority_is_in_no_image_whatever_the_run_does_to_bundles() {
        let here = Here::new();
        drop(HttpsServer::start(&here));
        here.write("bundle", "# the image's own\n");
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let pem = fs::read_to_string(here.path("ca.pem")).expect("it was made");
        let line = pem.lines().nth(2).expect("a certificate has lines");
        let flags = format!("--no-cache --run-ca-file {}", here.path("ca.pem").display());
        for (base, run) in [
            (
                "bundle",
                format!("cp -a /etc/ssl /copied; chown 3:4 {bundle}; ln {bundle} /etc/other; echo more >> {bundle}"),
            ),
            ("bundle", format!("mv /etc/ssl /etc/tls; ln -s tls /etc/ssl; rm {bundle}; echo x > {bundle}")),
            ("bundle", "rm -r /etc/ssl; mkdir /made".to_owned()),
            ("other", "mkdir -p /etc/ssl/certs; echo x > /etc/ssl/certs/x".to_owned()),
            ("other", format!("mkdir -p /etc/ssl/certs; echo x > /x; mv /x {bundle}")),
            ("other", "chown -R 3:4 /etc".to_owned()),
        ] {
            // The place of the bundle, or another one.
            let place = if base == "bundle" { bundle } else { "/etc/elsewhere" };
            let text = format!("COPY bundle {place}\nRUN {run}");
            here.built(&text, &flags);
            let mut holders = Vec::new();
            holding(&here.path("out"), line.as_bytes(), &mut holders);
            assert!(holders.is_empty(), "{run}: {holders:?}");
            let with = fs::read(here.path("out/index.json")).expect("it is there");
            here.built(&text, "--no-cache");
            let without = fs::read(here.path("out/index.json")).expect("it is there");
            let same = String::from_utf8_lossy(&with) == String::from_utf8_lossy(&without);
            assert!(same || run.starts_with("chown -R"), "{run}");
        }
    }

    #[test]
    fn a_heredoc_with_an_interpreter_is_run_by_it() {
        let here = Here::new();
        let text = "RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" > \"/who\" }\nEOF\n";
        assert_eq!(here.built(text, "").1, files(&[("who", "awk\n")]));
        let other = text.replace("\"awk\"", "\"new\"");
        assert_eq!(here.built(&other, "").1, files(&[("who", "new\n")]));
    }

    #[test]
    fn a_tmpfs_has_its_size_and_leaves_nothing() {
        let here = Here::new();
        let text = "RUN --mount=type=tmpfs,target=/t/deep,size=2m df -k /t/deep | grep -o ' 2048 ' | head -n 1 > /size; echo x > /t/deep/x";
        assert_eq!(here.built(text, "").1, files(&[("size", " 2048 \n")]));
        here.refused("RUN --mount=type=tmpfs,target=/ true", "", "nothing is mounted over the root");
        here.refused("RUN --mount=type=tmpfs,target=/t,size=huge true", "", "it is a number of bytes");
        here.refused("RUN --mount=type=tmpfs,target=/proc/sys true", "", "it is inside /proc");
        // CVE-2024-9407.
        here.refused("RUN --mount=bind-propagation=shared,target=/t true", "", "unexpected key 'bind-propagation'");
    }

    #[test]
    fn the_network_is_as_asked_and_the_hosts_only_where_it_is_allowed() {
        let here = Here::new();
        let links = "ls /sys/class/net > /links";
        assert_eq!(here.built(&format!("RUN --network=none {links}"), "").1["links"], "lo\n");
        assert_eq!(here.built(&format!("RUN {links}"), "--network none").1["links"], "lo\n");
        here.refused(&format!("RUN --network=host {links}"), "", "network.host is not allowed");
        let hosts = here.built(&format!("RUN --network=host {links}"), "--allow network.host").1["links"].clone();
        assert_eq!(here.built(&format!("RUN {links}"), "").1["links"], hosts);
    }

    #[test]
    fn a_run_without_restraints_needs_our_leave() {
        let here = Here::new();
        let text = "RUN --security=insecure mount -t tmpfs none /tmp && grep -o 'Seccomp:.*' /proc/self/status > /s";
        here.refused(text, "", "security.insecure is not allowed");
        let (said, layer) = here.built(text, "--allow security.insecure");
        assert_eq!(layer, files(&[("s", "Seccomp:\t0\n")]));
        assert!(said.contains("--security=insecure: the command has all"), "{said}");
        // The leave is not for those that do not ask, and what was built with it is not what is built without.
        let text = text.replace("--security=insecure mount", "--security=sandbox mount");
        here.refused(&text, "--allow security.insecure", "exit code 1");
        let output = here.build("RUN true", "--allow security.all");
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    }

    #[test]
    fn a_device_that_is_needed_is_refused_and_one_that_is_not_is_done_without() {
        let here = Here::new();
        here.refused(
            "RUN --device=vendor.com/gpu=0,required true",
            "",
            "required device \"vendor.com/gpu=0\" is not registered",
        );
        let (said, _) = here.built("RUN --device=vendor.com/gpu=0 touch /x", "");
        assert!(said.contains("RUN --device=vendor.com/gpu=0: there is no such device here"), "{said}");
        here.refused("RUN --device=a,requird=1 true", "", "did you mean required?");
    }

    #[test]
    fn names_shared_memory_and_limits_reach_the_command_and_the_key() {
        let here = Here::new();
        let text = "RUN grep -c 10.1.2.3.*db /etc/hosts > /s; df -k /dev/shm | grep -o ' 131072 ' | head -n 1 >> /s; ulimit -n >> /s";
        let name = "RUN hostname > /s; grep -c kiln /etc/hosts >> /s";
        assert_eq!(here.built(name, "--build-arg BUILDKIT_SANDBOX_HOSTNAME=kiln").1["s"], "kiln\n1\n");
        let flags = "--add-host db:10.1.2.3 --shm-size 128m --ulimit nofile=77:88";
        assert_eq!(here.built(text, flags).1["s"], "1\n 131072 \n77\n");
        assert_ne!(here.built(text, "").1["s"], "1\n 131072 \n77\n");
    }
}

fn find(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of ours") {
        let entry = entry.expect("readable");
        if entry.file_name() == name {
            found.push(entry.path());
        }
        if entry.file_type().expect("its kind").is_dir() {
            find(&entry.path(), name, found);
        }
    }
}

/// The files that hold these bytes, or hold them compressed.
fn holding(folder: &Path, bytes: &[u8], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of ours") {
        let entry = entry.expect("readable");
        let kind = entry.file_type().expect("its kind");
        if kind.is_dir() {
            holding(&entry.path(), bytes, found);
        } else if kind.is_file() {
            let mut content = fs::read(entry.path()).expect("a file of ours");
            let mut inner = Vec::new();
            if flate2::read::MultiGzDecoder::new(&content[..]).read_to_end(&mut inner).is_ok() {
                content.append(&mut inner);
            }
            if content.windows(bytes.len()).any(|window| window == bytes) {
                found.push(entry.path());
            }
        }
    }
}

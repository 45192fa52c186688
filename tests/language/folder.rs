//! A folder to build in, and the image that comes out.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine;
use locus_push::image::{Image, Layout, Platform};
use locus_push::layer::{Kind, LayerPath, Limits, View, decompress, index};

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder of our own");
        fs::create_dir(folder.path().join("context")).expect("a folder in it");
        Self(folder)
    }

    /// A path beside the context.
    pub fn beside(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Where the program keeps what it keeps.
    pub fn home(&self) -> std::path::PathBuf {
        self.beside("home")
    }

    /// Puts a file, folder or link there, as the head of a case's part describes it.
    pub fn put(&self, head: &str, body: &str) {
        let context = self.0.path().join("context");
        if let Some((name, target)) = head.split_once(" -> ") {
            symlink(target, made(&context, name)).expect("a link");
            return;
        }
        if let Some((name, file)) = head.split_once(" = ") {
            fs::hard_link(context.join(file), made(&context, name)).expect("another name");
            return;
        }
        if let Some(name) = head.strip_suffix(" fifo") {
            nix::unistd::mkfifo(&made(&context, name), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
            return;
        }
        let (name, word) = head.split_once(' ').unwrap_or((head, "644"));
        let path = made(&context, name);
        let (bytes, mode) = match word {
            "base64" => {
                let text: String = body.split_whitespace().collect();
                (base64::engine::general_purpose::STANDARD.decode(text).expect("base64"), 0o644)
            }
            mode => (body.as_bytes().to_vec(), u32::from_str_radix(mode, 8).expect("an octal mode")),
        };
        match name.ends_with('/') {
            true => fs::create_dir_all(&path).expect("a folder"),
            false => {
                fs::write(&path, bytes).expect("a file");
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
            }
        }
    }

    /// Runs `build` there; a failure is what it said.
    pub fn build(&self, args: &[&str]) -> Result<Built, String> {
        self.build_from(".", args, b"")
    }

    /// The same with another context, and with something on stdin.
    pub fn build_from(&self, context: &str, args: &[&str], stdin: &[u8]) -> Result<Built, String> {
        let out = self.0.path().join("out");
        let mut command = Command::new(env!("CARGO_BIN_EXE_locus-push"));
        command.env_clear().env("LOCUS_PUSH_HOME", self.home()).env("PATH", "/usr/bin:/bin");
        // Whose settings must make no difference.
        command.env("HOME", self.0.path()).env("GIT_DIR", self.0.path());
        command.current_dir(self.0.path().join("context")).args(["build", "--progress", "plain"]);
        command.arg("-o").arg(format!("type=oci,tar=false,dest={}", out.display())).args(args).arg(context);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        // It may have ended before it read anything.
        let _ = child.stdin.take().expect("it is piped").write_all(stdin);
        let done = child.wait_with_output().expect("the program ends");
        match done.status.success() {
            true => Ok(Built::read(&out, String::from_utf8_lossy(&done.stderr).into_owned())),
            false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        }
    }
}

fn made(context: &Path, name: &str) -> std::path::PathBuf {
    let path = context.join(name.trim_end_matches('/'));
    fs::create_dir_all(path.parent().expect("it is below the context")).expect("folders");
    path
}

/// An image that was read back.
pub struct Built {
    image: Image,
    layout: Layout,
    said: String,
}

impl Built {
    fn read(path: &Path, said: String) -> Self {
        let layout = Layout::open(path).expect("a layout was written");
        let arm = Platform::new("linux", "arm64", None);
        let image = layout.image(&Platform::linux_amd64()).or_else(|_| layout.image(&arm));
        let image = image.expect("with an image in it");
        Self { image, layout, said }
    }

    /// What was said while it was built.
    pub fn said(&self) -> String {
        self.said.clone()
    }

    pub fn digest(&self) -> String {
        self.image.digest().to_string()
    }

    /// Every path, its mode and owner, and what is in it.
    pub fn files(&self) -> String {
        let mut view = View::default();
        let mut tars = Vec::new();
        for layer in &self.image.manifest.layers {
            let blob = self.layout.blob(&layer.digest).expect("every layer is there");
            let compression = layer.media_type.layer_compression().expect("of a known type");
            let mut tar = Vec::new();
            decompress(blob, compression, Limits::default()).read_to_end(&mut tar).expect("and can be read");
            let index = index(&tar[..]).expect("as a tar");
            view.apply(&index).expect("that can be laid over the others");
            tars.push((index.diff_id, tar));
        }
        let mut out = String::new();
        let mut names = Vec::new();
        for (path, node) in view.walk(&LayerPath::root()) {
            let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
            let what = match &node.kind {
                Kind::Symlink { target } => {
                    out.push_str(&format!("{path} -> {}\n", String::from_utf8_lossy(target)));
                    continue;
                }
                Kind::Directory => format!("{path}/ {:o} {}:{}", node.mode, node.uid, node.gid),
                Kind::File { size, content } => {
                    if let Some((_, first)) = names.iter().find(|(known, _)| known == content) {
                        out.push_str(&format!("{path} = {first}\n"));
                        continue;
                    }
                    names.push((*content, path.clone()));
                    let (_, tar) = tars.iter().find(|(id, _)| *id == content.diff_id).expect("a layer of ours");
                    let bytes = &tar[content.offset as usize..(content.offset + size) as usize];
                    let text = String::from_utf8_lossy(bytes);
                    format!("{path} {:o} {}:{} {:?}", node.mode, node.uid, node.gid, text)
                }
                other => format!("{path} {other:?}"),
            };
            let xattrs = node.xattrs.iter().map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value)));
            out.push_str(&format!("{what}{}\n", xattrs.collect::<String>()));
        }
        out
    }

    pub fn config(&self) -> String {
        let config = &self.image.config;
        let mut lines: Vec<String> = Vec::new();
        let platform = config.platform();
        if platform != Platform::linux_amd64() {
            lines.push(format!("platform {platform}"));
        }
        lines.extend(config.author.iter().map(|author| format!("author {author}")));
        lines.extend(config.config.env.iter().filter(|pair| !pair.starts_with("PATH=")).map(|p| format!("env {p}")));
        lines.push(format!("workdir {}", config.config.working_dir));
        lines.extend(config.config.on_build.iter().map(|trigger| format!("onbuild {trigger}")));
        let keys = serde_json::to_value(&config.config).expect("a config is JSON");
        let told = ["Env", "WorkingDir", "OnBuild", "ArgsEscaped"];
        let rest = keys.as_object().into_iter().flatten().filter(|(key, _)| !told.contains(&key.as_str()));
        lines.extend(rest.map(|(key, value)| format!("{key} {value}")));
        lines.extend(config.history.iter().filter_map(|h| h.created_by.as_ref()).map(|line| format!("did {line}")));
        lines.join("\n")
    }
}

//! The table of rooms in `src/lib.rs`, held: a room imports only what it may.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may use.
const MAY_USE: [(&str, &[&str]); 13] = [
    ("dockerfile", &[]),
    ("image", &[]),
    ("graph", &["dockerfile", "image"]),
    ("layer", &["image"]),
    ("store", &["image"]),
    ("sandbox", &[]),
    ("replay", &["image", "store"]),
    ("build", &["dockerfile", "graph", "image", "layer", "replay", "sandbox", "store"]),
    // The two traits of `build` that it implements.
    ("registry", &["build", "image", "store"]),
    ("aws", &["image"]),
    ("deploy", &["aws", "image", "registry", "sandbox", "store"]),
    (
        "road",
        &["aws", "build", "deploy", "dockerfile", "graph", "image", "layer", "registry", "replay", "sandbox", "store"],
    ),
    (
        "cli",
        &["aws", "build", "deploy", "dockerfile", "graph", "image", "layer", "registry", "road", "sandbox", "store"],
    ),
];

/// Small values that belong to nobody.
const VALUES: [&str; 8] = ["calendar", "elf", "event", "lines", "listen", "owners", "range", "secret"];

/// Crates that only these rooms may use: HTTP and AWS stay where they are, and only the screen prints.
const ONLY_IN: [(&str, &[&str]); 5] = [
    ("reqwest", &["registry", "replay"]),
    ("hyper", &["registry", "replay"]),
    ("aws_", &["aws"]),
    ("unicode_width", &["cli"]),
    ("clap", &["cli"]),
];

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a room is a folder that can be read") {
        let path = entry.expect("its entries too").path();
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// A room's code without its comments and its tests, file by file.
fn code(room: &str) -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room), &mut paths);
    let code = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("source is text");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        (path, lines.collect::<Vec<_>>().join("\n"))
    };
    paths.into_iter().filter(|path| !path.ends_with("testing.rs")).map(code).collect()
}

/// The names that follow `crate::` in a text.
fn named(text: &str) -> BTreeSet<&str> {
    let after = text.split("crate::").skip(1);
    after.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()).collect()
}

#[test]
fn a_room_uses_only_what_the_table_gives_it() {
    let mut broken = Vec::new();
    for (room, may_use) in MAY_USE {
        for (path, text) in code(room) {
            let allowed = |name: &&&str| **name == room || may_use.contains(name) || VALUES.contains(name);
            let names = named(&text);
            let over: Vec<_> =
                names.iter().filter(|name| !allowed(name) && name.starts_with(char::is_lowercase)).collect();
            if !over.is_empty() {
                broken.push(format!("{} uses {over:?}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn http_aws_and_the_screen_stay_in_their_rooms() {
    let mut broken = Vec::new();
    for (room, _) in MAY_USE {
        for (path, text) in code(room) {
            for (name, rooms) in ONLY_IN {
                let uses = text.contains(&format!("use {name}")) || text.contains(&format!(" {name}::"));
                if uses && !rooms.contains(&room) {
                    broken.push(format!("{} uses {name}", path.display()));
                }
            }
            if room != "cli" && ["println!", "print!(", "eprint"].iter().any(|word| text.contains(word)) {
                broken.push(format!("{} prints", path.display()));
            }
            if room != "sandbox" && text.contains("unsafe ") {
                broken.push(format!("{} has unsafe code", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_room_is_in_the_table() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let entries = fs::read_dir(source).expect("the source is there").map(|entry| entry.expect("readable").path());
    let names = entries.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    let known = |name: &String| {
        MAY_USE.iter().any(|(room, _)| room == name)
            || VALUES.contains(&name.as_str())
            || name == "lib"
            || name == "main"
    };
    let unknown: Vec<_> = names.filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");
}

/// What Linux alone has. The rest is for macOS too, where a Dockerfile without RUN is built: `tests/mac` has the compiler
/// say so, by hand, and this test holds it meanwhile.
const LINUX: [&str; 13] = [
    "rustix::mount",
    "rustix::thread",
    "seccompiler::",
    "nix::sched",
    "nix::mount",
    "std::os::linux",
    "openat2",
    "mknodat",
    "memfd_create",
    "OFlags::PATH",
    "OFlags::TMPFILE",
    "AtFlags::EMPTY_PATH",
    "RecvFlags::CMSG_CLOEXEC",
];

/// Compiled on Linux alone, as a whole; `sandbox/elsewhere` stands in their place.
const ON_LINUX: [&str; 2] = ["src/sandbox/inside", "src/sandbox/ladder.rs"];

/// These have both ways in themselves.
const BOTH_WAYS: [&str; 5] =
    ["src/layer/beneath.rs", "src/layer/host.rs", "src/road/verify.rs", "src/sandbox/launch.rs", "src/sandbox/wire.rs"];

#[test]
fn what_linux_alone_has_is_used_where_only_linux_compiles_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut broken, mut both) = (Vec::new(), BTreeSet::new());
    for (room, _) in MAY_USE {
        for (path, text) in code(room) {
            let path = path.strip_prefix(root).expect("it is ours").display().to_string();
            if ON_LINUX.iter().any(|linux| path.starts_with(linux)) {
                continue;
            }
            for name in LINUX.iter().filter(|name| text.contains(**name)) {
                let before = text.split(name).next().unwrap_or_default();
                if BOTH_WAYS.contains(&path.as_str()) && before.contains("#[cfg(target_os = \"linux\")]") {
                    both.insert(path.clone());
                } else {
                    broken.push(format!("{path} uses {name}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(
        both.into_iter().collect::<Vec<_>>(),
        BOTH_WAYS,
        "a file that needs both ways no more is taken off the list"
    );
}

/// The names that a room's `mod.rs` shows: those of its `pub use`.
fn door(text: &str) -> BTreeSet<String> {
    let shown = text.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let own = shown.filter(|names| !names.starts_with("crate::"));
    let words = own.flat_map(|names| names.rsplit("::").next().unwrap_or_default().split(['{', '}', ',']));
    let named = |word: &str| word.split(" as ").next().unwrap_or_default().trim().to_owned();
    words.map(named).filter(|name| !name.is_empty()).collect()
}

/// The name that a line declares for others.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.strip_prefix("pub ")?.split_whitespace().skip_while(|word| ["async", "unsafe"].contains(word));
    let kind = words.next()?;
    let name = match (kind, words.next()?) {
        ("const", "fn") => words.next()?,
        ("fn" | "struct" | "enum" | "trait" | "const" | "type", name) => name,
        _ => return None,
    };
    name.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

#[test]
fn what_stands_at_a_rooms_door_is_documented() {
    let (mut bare, mut seen) = (Vec::new(), 0);
    for (room, _) in MAY_USE {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room);
        let names = door(&fs::read_to_string(folder.join("mod.rs")).expect("source is text"));
        let mut paths = Vec::new();
        files(&folder, &mut paths);
        for path in paths {
            let text = fs::read_to_string(&path).expect("source is text");
            let mut documented = false;
            for line in text.lines() {
                if let Some(name) = declared(line).filter(|name| names.contains(*name)) {
                    seen += 1;
                    if !documented {
                        bare.push(format!("{}: {name}", path.display()));
                    }
                }
                // Attributes may stand between, over several lines.
                documented = line.starts_with("///") || documented && line.starts_with(['#', ')', ' ']);
            }
        }
    }
    assert!(bare.is_empty(), "without a word:\n{}", bare.join("\n"));
    assert!(seen > 500, "only {seen} doors were found: this test looks in the wrong place");
}

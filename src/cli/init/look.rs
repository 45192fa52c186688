//! What lies in a folder: Dockerfiles, and documents that the AWS CLI was given.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::super::{Failure, name};
use crate::deploy::Kind;

/// How deep and how far is looked: a folder of data is not read through.
const DEPTH: usize = 5;
const ENTRIES: usize = 20_000;
/// A task definition is at most 64 KiB (RegisterTaskDefinition).
const LARGEST: u64 = 64 << 10;
/// Folders of other people's files.
const SKIPPED: [&str; 7] = ["node_modules", "target", "vendor", "venv", "__pycache__", "dist", "build"];

pub(super) struct Found {
    /// By their names.
    pub loaders: Vec<FoundLoader>,
    /// Dockerfiles that name no loader, each with the reason.
    pub nameless: Vec<(String, String)>,
}

pub(super) struct FoundLoader {
    pub name: String,
    /// From the folder.
    pub dockerfile: String,
    pub task: Option<FoundTask>,
}

/// A task definition as the AWS CLI takes it.
#[derive(Clone, Default)]
pub(super) struct FoundTask {
    pub path: String,
    family: String,
    pub cpu: Option<u32>,
    pub memory: Option<u32>,
    pub environment: BTreeMap<String, String>,
    /// Variable → `valueFrom`.
    pub secrets: BTreeMap<String, String>,
}

pub(super) fn look(folder: &Path) -> Result<Found, Failure> {
    let mut files = Vec::new();
    let mut left = ENTRIES;
    walk(folder, "", DEPTH, &mut left, &mut files);
    files.sort();
    let tasks: Vec<FoundTask> =
        files.iter().filter(|path| path.ends_with(".json")).filter_map(|path| task(folder, path)).collect();
    let dockerfiles: Vec<&String> = files.iter().filter(|path| is_dockerfile(path)).collect();
    let (mut loaders, mut nameless) = (BTreeMap::new(), Vec::new());
    for path in &dockerfiles {
        let named = name::of_dockerfile(&folder.join(path)).map_err(|failure| failure.message);
        match named.and_then(usable) {
            Err(why) => nameless.push(((*path).clone(), why)),
            Ok(name) if loaders.contains_key(&name) => {
                nameless.push(((*path).clone(), format!("{name} is another's name already")));
            }
            Ok(name) => {
                let alone = dockerfiles.len() == 1 && tasks.len() == 1;
                let task = tasks.iter().find(|task| alone || task.is_of(&name)).cloned();
                loaders.insert(name.clone(), FoundLoader { name, dockerfile: (*path).clone(), task });
            }
        }
    }
    if loaders.is_empty() && nameless.is_empty() {
        return Err(Failure::configuration(format!("there is no Dockerfile in {} or below it", folder.display()))
            .hint("names that are known: Dockerfile, NAME.Dockerfile, Dockerfile.NAME, Dockerfile-NAME"));
    }
    Ok(Found { loaders: loaders.into_values().collect(), nameless })
}

/// A name that a loader and its roles can have.
fn usable(name: String) -> Result<String, String> {
    let checked = Kind::Loader.check(&name).and_then(|_| Kind::Role.check(&format!("{name}-task-execution-role")));
    checked.map(|_| name).map_err(|error| error.to_string())
}

/// The files below, as paths from the top; what cannot be read is passed by.
fn walk(top: &Path, below: &str, depth: usize, left: &mut usize, files: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(top.join(below)) else { return };
    for entry in entries.flatten() {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if below.is_empty() { name.clone() } else { format!("{below}/{name}") };
        // A link leads elsewhere.
        match entry.file_type() {
            Ok(kind) if kind.is_file() => files.push(path),
            Ok(kind) if kind.is_dir() && depth > 0 && !name.starts_with('.') && !SKIPPED.contains(&&*name) => {
                walk(top, &path, depth - 1, left, files);
            }
            _ => {}
        }
    }
}

fn is_dockerfile(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
    if name.ends_with(".dockerignore") {
        return false;
    }
    let begins = ["dockerfile", "containerfile"]
        .iter()
        .any(|word| name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-'])));
    begins || name.ends_with(".dockerfile") || name.ends_with(".containerfile")
}

fn task(folder: &Path, path: &str) -> Option<FoundTask> {
    let file = folder.join(path);
    if fs::metadata(&file).ok()?.len() > LARGEST {
        return None;
    }
    let document: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    let container = document["containerDefinitions"].as_array()?.first()?;
    let pairs = |list: &str, value: &str| {
        let list = container[list].as_array().into_iter().flatten();
        list.filter_map(|one| Some((one["name"].as_str()?.to_owned(), one[value].as_str()?.to_owned()))).collect()
    };
    Some(FoundTask {
        path: path.to_owned(),
        family: document["family"].as_str().unwrap_or_default().to_owned(),
        cpu: number(&document["cpu"]),
        memory: number(&document["memory"]),
        environment: pairs("environment", "value"),
        secrets: pairs("secrets", "valueFrom"),
    })
}

/// The API takes digits in a text; a number is met as well.
fn number(value: &Value) -> Option<u32> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_u64().and_then(|number| number.try_into().ok()),
    }
}

impl FoundTask {
    /// By its family, or by its file's name: `NAME-task.json`.
    fn is_of(&self, loader: &str) -> bool {
        let file = self.path.rsplit('/').next().unwrap_or(&self.path);
        let rest = file.strip_prefix(loader).and_then(|rest| rest.strip_suffix(".json"));
        self.family == loader || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
    }
}

//! Whether an image can start where it is sent: its config names a CPU, and the program that it starts is for one.
//!
//! Where they disagree, all that a task says is `exec format error`. So it is looked at before a push; but nothing is
//! fetched for it, and what cannot be told from the layers that are here is left to whoever runs the image.

use std::io::{self, Read};

use serde::{Deserialize, Serialize};

use crate::elf::{self, Machine};
use crate::event::{Event, Events};
use crate::graph::PATH;
use crate::image::{ContainerConfig, Digest, Hasher, Image, ImageConfig, Platform};
use crate::layer::{InTar, Index, Kind, Limits, View, decompress, index};
use crate::store::Store;

use super::snapshot::Layer;

/// What the image starts is for another CPU than the image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the image is for {platform}, and {what} is {machine} program: all that a task of it would say is `exec format error`"
)]
pub struct Unstartable {
    platform: Platform,
    /// The program, by its part in the start.
    what: String,
    machine: Machine,
}

impl Unstartable {
    pub fn hint(&self) -> String {
        format!(
            "no image was pushed; the program must be one for {0}, or the image (--platform, FROM --platform) one for \
             the program's CPU",
            self.platform
        )
    }
}

/// Opens the blob of a layer; nothing where it is not on this machine.
pub type OpenHere<'a> = dyn Fn(&Digest) -> Option<Box<dyn Read>> + 'a;

/// The layers of an image, where they come from left unsaid.
pub fn layers_of(image: &Image) -> Vec<Layer> {
    let pairs = image.config.rootfs.diff_ids.iter().zip(&image.manifest.layers);
    pairs.map(|(diff_id, blob)| Layer { diff_id: *diff_id, blob: blob.clone(), from: None, tar_size: None }).collect()
}

/// Looks at what an image starts, as far as its layers are here. What they say is kept in the store; and that there was
/// nothing to say, so that an image that was looked at is not read again.
pub fn check_start(
    config: &ImageConfig,
    layers: &[Layer],
    store: &Store,
    open: &OpenHere<'_>,
    events: &Events,
) -> Result<(), Unstartable> {
    let here = Here { store, open };
    if here.looked_at(config, layers).is_some_and(|key| store.step::<Passed>(&key).is_some()) {
        return Ok(());
    }
    let Some(warning) = here.check(config, layers)? else {
        // Where it cannot be kept, the image is looked at again.
        here.looked_at(config, layers).iter().for_each(|key| drop(store.keep_step(key, &Passed {})));
        return Ok(());
    };
    events.emit(warning);
    Ok(())
}

/// What [`check_start`] keeps of an image about which there was nothing to say.
#[derive(Serialize, Deserialize)]
struct Passed {}

/// The layers that are on this machine.
struct Here<'a> {
    store: &'a Store,
    open: &'a OpenHere<'a>,
}

/// What is known of an image's files.
struct Files {
    view: View,
    /// Nothing of the image is hidden from us.
    whole: bool,
}

/// A file that may be executed.
#[derive(Clone, Copy)]
struct Program {
    content: InTar,
    size: u64,
}

/// How a file begins; kept, since finding it in a layer takes as long as the layer is large.
#[derive(Serialize, Deserialize)]
struct Beginning {
    bytes: Vec<u8>,
}

/// As much as the kernel looks at (BINPRM_BUF_SIZE, linux/binfmts.h).
const LOOKED_AT: u64 = 256;

impl Here<'_> {
    /// What says that an image was looked at: its CPU, what it starts, its layers, and which of those are known; none where
    /// one is here whose paths nobody has read, or could read.
    fn looked_at(&self, config: &ImageConfig, layers: &[Layer]) -> Option<Digest> {
        let mut key = Hasher::default();
        key.field(b"locus-push looked at 2");
        key.field(env!("CARGO_PKG_VERSION").as_bytes());
        key.field(config.platform().to_string().as_bytes());
        for part in [started(&config.config), Some(&config.config.working_dir), Some(path_of(&config.config))] {
            key.field(&[part.is_some().into()]);
            key.field(part.unwrap_or_default().as_bytes());
        }
        for layer in layers {
            key.field(layer.diff_id.as_bytes());
            let known = self.store.tree_path(&layer.diff_id).exists();
            if !known && (self.open)(&layer.blob.digest).is_some() {
                return None;
            }
            key.field(&[known.into()]);
        }
        Some(key.finish())
    }

    /// What there is to be warned of.
    fn check(&self, config: &ImageConfig, layers: &[Layer]) -> Result<Option<Event>, Unstartable> {
        let Some(files) = self.files(layers) else { return Ok(None) };
        let Some((name, program)) = files.program(config) else { return Ok(None) };
        let Some(bytes) = self.beginning(layers, program) else { return Ok(None) };
        let wrong = |what: String, machine: Machine| Unstartable { platform: config.platform(), what, machine };
        let fits = |machine: &Machine| {
            // Of a CPU that we do not know nothing is said.
            Machine::of_architecture(&config.architecture).is_none() || machine.runs_on(&config.architecture)
        };
        if let Some(machine) = Machine::of(&bytes) {
            return if fits(&machine) { Ok(None) } else { Err(wrong(format!("`{name}`, which it starts,"), machine)) };
        }
        let Some(interpreter) = elf::shebang(&bytes) else {
            let message =
                format!("`{name}`, which the image starts, is neither an ELF program nor a script with a #! line");
            let hint = Some("a task of it would end with `exec format error`".to_owned());
            return Ok(Some(Event::Warning { message, hint }));
        };
        let found = files.at(&interpreter).and_then(|file| self.beginning(layers, file));
        match found.as_deref().and_then(Machine::of) {
            Some(machine) if !fits(&machine) => {
                Err(wrong(format!("`{interpreter}`, which reads the `{name}` that it starts,"), machine))
            }
            _ => Ok(None),
        }
    }

    /// The files of the topmost layers that are here without a gap. What is unreadable is as good as not here.
    fn files(&self, layers: &[Layer]) -> Option<Files> {
        let mut known: Vec<Index> = Vec::new();
        for layer in layers.iter().rev() {
            match self.index(layer) {
                Some(index) => known.push(index),
                None => break,
            }
        }
        let mut view = View::default();
        known.iter().rev().try_for_each(|index| view.apply(index)).ok()?;
        Some(Files { view, whole: known.len() == layers.len() })
    }

    fn index(&self, layer: &Layer) -> Option<Index> {
        let right = |index: &Index| index.diff_id == layer.diff_id;
        if let Some(index) = self.store.tree::<Index>(&layer.diff_id).filter(right) {
            return Some(index);
        }
        let found = index(self.tar(layer)?).ok().filter(right)?;
        // It is found again where it cannot be kept.
        let _ = self.store.keep_tree(&layer.diff_id, &found);
        Some(found)
    }

    fn tar(&self, layer: &Layer) -> Option<impl Read> {
        let compression = layer.blob.media_type.layer_compression()?;
        Some(decompress((self.open)(&layer.blob.digest)?, compression, Limits::default()))
    }

    fn beginning(&self, layers: &[Layer], program: Program) -> Option<Vec<u8>> {
        let Program { content: InTar { diff_id, offset }, size } = program;
        let mut key = Hasher::default();
        key.field(b"locus-push beginning 1");
        key.field(diff_id.as_bytes());
        key.field(&offset.to_le_bytes());
        let key = key.finish();
        if let Some(Beginning { bytes }) = self.store.step(&key) {
            return Some(bytes);
        }
        let layer = layers.iter().find(|layer| layer.diff_id == diff_id)?;
        let mut tar = self.tar(layer)?;
        let skipped = io::copy(&mut tar.by_ref().take(offset), &mut io::sink()).ok()?;
        let mut bytes = Vec::new();
        tar.take(LOOKED_AT.min(size)).read_to_end(&mut bytes).ok()?;
        let _ = self.store.keep_step(&key, &Beginning { bytes: bytes.clone() });
        (skipped == offset).then_some(bytes)
    }
}

impl Files {
    /// What a container starts unless it is told otherwise: its path, and where it is.
    fn program(&self, config: &ImageConfig) -> Option<(String, Program)> {
        let config = &config.config;
        let name = started(config)?;
        if name.contains('/') {
            let path = if name.starts_with('/') { name.to_owned() } else { format!("{}/{name}", config.working_dir) };
            return self.at(&path).map(|file| (path, file));
        }
        // What is hidden may stand in an earlier folder.
        if !self.whole {
            return None;
        }
        path_of(config).split(':').find_map(|folder| {
            let path = format!("{folder}/{name}");
            self.at(&path).map(|file| (path, file))
        })
    }

    /// The file at a path, links followed, if it may be executed.
    fn at(&self, path: &str) -> Option<Program> {
        let node = self.view.resolve(path.as_bytes(), true).ok()?.node?;
        match &node.kind {
            Kind::File { content, size } if node.mode & 0o111 != 0 => Some(Program { content: *content, size: *size }),
            _ => None,
        }
    }
}

/// What a container starts unless it is told otherwise, as it is named.
fn started(config: &ContainerConfig) -> Option<&str> {
    [&config.entrypoint, &config.cmd].into_iter().flatten().flatten().map(String::as_str).next()
}

/// Where a program of no folder is looked for.
fn path_of(config: &ContainerConfig) -> &str {
    config.env.iter().find_map(|pair| pair.strip_prefix("PATH=")).unwrap_or(PATH)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::image::{Descriptor, MediaType};
    use crate::layer::{Content, Entry, LayerPath, Packing, Times, Tree, pack};

    const ARM: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0";
    const INTEL: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0";

    type Blobs = BTreeMap<Digest, Vec<u8>>;

    /// A layer of files that may be executed, and of links, whose content is `-> target`.
    fn layer(files: &[(&str, &[u8])], blobs: &mut Blobs) -> Layer {
        let mut tree = Tree::default();
        for (path, bytes) in files {
            let kind = match bytes.strip_prefix(b"-> ") {
                Some(target) => Kind::Symlink { target: target.to_vec() },
                None => Kind::File { size: bytes.len() as u64, content: Content::Bytes((*bytes).into()) },
            };
            tree.entries.insert(LayerPath::parse(path.as_bytes()).unwrap(), Entry::new(kind, 0o755));
        }
        let none = |_: &Digest| Err(io::ErrorKind::NotFound.into());
        let mut blob = Vec::new();
        let packed = pack(&tree, Times::default(), Packing::default(), 1, &none, &mut blob).unwrap();
        blobs.insert(packed.blob, blob);
        let blob = Descriptor::new(MediaType::new(MediaType::OCI_LAYER_GZIP), packed.blob, packed.size);
        Layer { diff_id: packed.index.diff_id, blob, from: None, tar_size: None }
    }

    fn config(entrypoint: &[&str], cmd: &[&str]) -> ImageConfig {
        let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
        let mut config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
        config.config.entrypoint = words(entrypoint);
        config.config.cmd = words(cmd);
        config.config.working_dir = "/app".into();
        config.config.env = vec!["PATH=/opt:/bin".into()];
        config
    }

    /// The refusal, or the warning, of an image of these layers; one without files is not on this machine.
    fn said(config: &ImageConfig, layers: &[&[(&str, &[u8])]]) -> String {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(home.path()).unwrap();
        let mut blobs = Blobs::new();
        let layers: Vec<_> = layers.iter().map(|files| layer(files, &mut blobs)).collect();
        blobs.remove(&layer(&[], &mut Blobs::new()).blob.digest);
        let (opened, warned) = (RefCell::new(0), Arc::new(Mutex::new(String::new())));
        let open = |digest: &Digest| -> Option<Box<dyn Read>> {
            *opened.borrow_mut() += 1;
            Some(Box::new(io::Cursor::new(blobs.get(digest)?.clone())))
        };
        let heard = Arc::clone(&warned);
        let events = Events::new(move |event| {
            if let Event::Warning { message, .. } = event {
                *heard.lock().unwrap() = message;
            }
        });
        let check = || check_start(config, &layers, &store, &open, &events);
        let first = check();
        let read = *opened.borrow();
        assert_eq!(check(), first);
        let hidden = layers.iter().any(|layer| !blobs.contains_key(&layer.blob.digest));
        assert!(hidden || *opened.borrow() == read, "what was read once is known");
        let warning = warned.lock().unwrap().clone();
        first.map_or_else(|error| error.to_string(), |()| warning)
    }

    #[track_caller]
    fn refused(config: &ImageConfig, layers: &[&[(&str, &[u8])]], what: &str) {
        let words = "program: all that a task of it would say is `exec format error`";
        let wanted = format!("the image is for linux/amd64, and {what} is an aarch64 {words}");
        assert_eq!(said(config, layers), wanted);
    }

    #[track_caller]
    fn passes(config: &ImageConfig, layers: &[&[(&str, &[u8])]]) {
        assert_eq!(said(config, layers), "");
    }

    #[test]
    fn a_program_for_another_cpu_is_refused_and_one_for_the_images_own_is_not() {
        let exec = config(&["/app/load"], &[]);
        refused(&exec, &[&[("app/load", ARM)]], "`/app/load`, which it starts,");
        passes(&exec, &[&[("app/load", INTEL)]]);
        passes(&exec, &[&[("app/load", ARM)], &[("app/load", INTEL)]]);
        let arm = ImageConfig { architecture: "arm64".into(), ..exec.clone() };
        passes(&arm, &[&[("app/load", ARM)]]);
        passes(&ImageConfig { architecture: "sparc".into(), ..exec }, &[&[("app/load", ARM)]]);
    }

    #[test]
    fn the_program_is_found_as_a_container_finds_it() {
        let there: &[(&str, &[u8])] = &[("bin/load", ARM), ("app/load", INTEL)];
        refused(&config(&["load"], &[]), &[there], "`/bin/load`, which it starts,");
        refused(&config(&[], &["load"]), &[there], "`/bin/load`, which it starts,");
        passes(&config(&["./load"], &["load"]), &[there]);
        let linked: &[(&str, &[u8])] = &[("usr/bin/sh", ARM), ("bin", b"-> usr/bin")];
        refused(&config(&["/bin/sh", "-c", "x"], &[]), &[linked], "`/bin/sh`, which it starts,");
    }

    #[test]
    fn the_interpreter_of_a_script_must_be_for_the_cpu_too() {
        let script: (&str, &[u8]) = ("app/run", b"#!/bin/sh -e\nx\n");
        let starts = config(&["/app/run"], &[]);
        refused(&starts, &[&[script, ("bin/sh", ARM)]], "`/bin/sh`, which reads the `/app/run` that it starts,");
        passes(&starts, &[&[script, ("bin/sh", INTEL)]]);
        passes(&starts, &[&[script]]);
    }

    #[test]
    fn a_script_without_its_first_line_is_warned_of() {
        let words = said(&config(&["/app/run"], &[]), &[&[("app/run", b"echo hello\n")]]);
        assert_eq!(words, "`/app/run`, which the image starts, is neither an ELF program nor a script with a #! line");
    }

    #[test]
    fn what_cannot_be_told_is_left_alone() {
        let base: &[(&str, &[u8])] = &[];
        passes(&config(&[], &[]), &[&[("app/load", ARM)]]);
        passes(&config(&["/mounted/later"], &[]), &[&[("app/load", ARM)]]);
        // The base may hold another in /opt, or none of it matters: our own layer is on top.
        passes(&config(&["load"], &[]), &[base, &[("bin/load", ARM)]]);
        refused(&config(&["/bin/load"], &[]), &[base, &[("bin/load", ARM)]], "`/bin/load`, which it starts,");
        passes(&config(&["/bin/load"], &[]), &[&[("bin/load", ARM)], base]);
    }
}

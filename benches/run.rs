//! How long an empty RUN takes, from the start of the sandbox to the layer in the store: over an image of a few files,
//! of many, and of many layers.
//!
//!     cargo bench --bench run
//!
//! Wants what RUN wants (root, or sub-ids), the static `/bin/busybox`, and a disk that holds an overlay: `TMPDIR` may
//! name it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::Arc;

use criterion::Criterion;
use locus_push::build::{
    self, BaseImage, Context, Download, Epochs, FetchError, Folder, Imports, NoCache, Pinning, Plan, RunOptions, Sink,
    Workshop,
};
use locus_push::dockerfile;
use locus_push::event::Events;
use locus_push::graph;
use locus_push::image::{Descriptor, Image, ImageConfig, MediaType, Platform, Reference};
use locus_push::sandbox;
use locus_push::store::{Growing, Store};

/// Files and layers of a base image.
const BASES: [(&str, usize, usize); 3] = [("10 files", 10, 1), ("20000 files", 20_000, 1), ("100 layers", 10, 100)];

fn main() {
    // The sandbox starts this very program again.
    sandbox::enter_if_asked(build::JOBS);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut criterion = Criterion::default().configure_from_args();
    for (name, files, layers) in BASES {
        let home = tempfile::tempdir().expect("a folder");
        let store = Store::open(home.path()).expect("a store");
        let base = Base(base(&store, files, layers));
        let workshop = Arc::new(Workshop::new(store, base, Events::silent(), sandbox::Stopper::new()));
        let plan = plan();
        let build = || runtime.block_on(build::build(&plan, Arc::clone(&workshop), &Nowhere)).expect("it builds");
        // The base is read and unpacked once, and the sandbox tried.
        build();
        criterion.bench_function(&format!("an empty RUN over {name}"), |bencher| bencher.iter(build));
        let sandbox = workshop.sandbox().expect("it was there");
        for entry in fs::read_dir(home.path().join("layers")).expect("our own folder").flatten() {
            sandbox.remove(&entry.path()).expect("it is ours");
        }
    }
    criterion.final_summary();
}

fn plan() -> Plan {
    let file = dockerfile::parse("FROM base\nRUN [\"/bin/busybox\", \"true\"]\n").expect("it is a Dockerfile");
    let options = graph::Options {
        platform: Platform::host(),
        build_platform: Platform::host(),
        build_args: BTreeMap::new(),
        target: None,
        labels: BTreeMap::new(),
        contexts: graph::Contexts::default(),
    };
    let context = Context::Folder(Folder { directory: "/nonexistent".into(), dockerfile: None, preserve_modes: false });
    Plan {
        graph: graph::plan(&file, &options).expect("it can be planned"),
        context,
        epochs: Epochs::default(),
        no_cache: NoCache::All,
        shown: String::new(),
        explain: false,
        annotations: BTreeMap::new(),
        run: RunOptions::default(),
        pinning: Pinning::default(),
        imports: Imports::default(),
        inline: false,
        all_travel: false,
    }
}

/// An image in the store: `files` small files in the lowest layer, then layers of one file each.
fn base(store: &Store, files: usize, layers: usize) -> Image {
    let Platform { os, architecture, .. } = Platform::host();
    let mut config = ImageConfig { os, architecture, ..ImageConfig::default() };
    let mut descriptors = Vec::new();
    for number in 0..layers {
        let tar = if number == 0 { lowest(files) } else { tar(&[(format!("layer-{number}"), b"x".to_vec(), 0o644)]) };
        let digest = store.keep_blob(&tar).expect("it is kept");
        config.rootfs.diff_ids.push(digest);
        descriptors.push(Descriptor::new(MediaType::new(MediaType::OCI_LAYER), digest, tar.len() as u64));
    }
    Image::new(config, descriptors, BTreeMap::new())
}

fn lowest(files: usize) -> Vec<u8> {
    let busybox = fs::read("/bin/busybox").expect("package busybox-static");
    let passwd = b"root:x:0:0:root:/root:/bin/sh\n".to_vec();
    let mut content = vec![("bin/busybox".to_owned(), busybox, 0o755), ("etc/passwd".to_owned(), passwd, 0o644)];
    content.extend((0..files).map(|n| (format!("usr/share/{}/file-{n}", n % 100), b"small".to_vec(), 0o644)));
    tar(&content)
}

fn tar(files: &[(String, Vec<u8>, u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content, mode) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        tar.append_data(&mut header, path, &content[..]).expect("memory takes it");
    }
    let mut bytes = tar.into_inner().expect("memory takes it");
    bytes.flush().expect("memory takes it");
    bytes
}

/// The one image that there is; its layers are in the store.
struct Base(Image);

impl build::Source for Base {
    async fn image(&self, reference: &Reference, _: &Platform) -> Result<BaseImage, FetchError> {
        Ok(BaseImage { reference: reference.clone(), digest: self.0.digest(), image: self.0.clone() })
    }

    async fn fetch(&self, _: &Reference, blob: &Descriptor, _: Option<build::Tap>) -> Result<(), FetchError> {
        unreachable!("{} is in the store", blob.digest)
    }

    async fn download(&self, url: &str) -> Result<Download, FetchError> {
        unreachable!("nothing names {url}")
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn growing(&self, _: Growing) {}

    fn layer(&self, _: &Descriptor) {}
}

//! How fast the language is by itself: `cargo bench --bench language`.
//!
//! The measures: a Dockerfile of 1,000 lines is parsed and planned in less than 10 ms; a context of 30,000 files that
//! was built before is walked, hashed and found in the build cache in less than 1 s.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use locus_push::build::{
    self, BaseImage, Context, Download, Epochs, FetchError, Folder, Imports, NoCache, Pinning, Plan, RunOptions, Sink,
    Workshop,
};
use locus_push::dockerfile;
use locus_push::event::Events;
use locus_push::graph::{self, Contexts, Graph, Ground};
use locus_push::image::{Descriptor, Platform, Reference};
use locus_push::sandbox::Stopper;
use locus_push::store::{Growing, Store};

criterion_group!(language, parse_and_plan, walk_and_hash);
criterion_main!(language);

fn parse_and_plan(criterion: &mut Criterion) {
    let text = a_thousand_lines();
    criterion.bench_function("parse and plan 1,000 lines", |bencher| {
        bencher.iter(|| {
            let graph = planned(&text);
            for stage in graph.needed() {
                graph.steps(stage, Ground::default()).expect("every word expands");
            }
        });
    });
}

fn walk_and_hash(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let context = folder.path().join("context");
    thirty_thousand_files(&context);
    let workshop = |home: &Path| {
        let store = Store::open(home).expect("a store of our own");
        Arc::new(Workshop::new(store, Nowhere, Events::silent(), Stopper::default()))
    };
    let plan = Plan {
        graph: planned("FROM scratch\nCOPY . /\n"),
        context: Context::Folder(Folder { directory: context, dockerfile: None, preserve_modes: false }),
        epochs: Epochs::default(),
        no_cache: NoCache::None,
        shown: String::new(),
        explain: false,
        annotations: BTreeMap::new(),
        run: RunOptions::default(),
        pinning: Pinning::default(),
        imports: Imports::default(),
        inline: false,
        all_travel: false,
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let home = folder.path().join("home");
    let build = || runtime.block_on(build::build(&plan, workshop(&home), &Nowhere)).expect("it builds");
    build();
    let mut group = criterion.benchmark_group("context");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("walk and hash 30,000 files", |bencher| bencher.iter(build));
    group.finish();
}

fn planned(text: &str) -> Graph {
    let file = dockerfile::parse(text).expect("it parses");
    let options = graph::Options {
        platform: Platform::linux_amd64(),
        build_platform: Platform::linux_amd64(),
        build_args: BTreeMap::new(),
        target: None,
        labels: BTreeMap::new(),
        contexts: Contexts::default(),
    };
    graph::plan(&file, &options).expect("it can be planned")
}

/// Ten stages of a hundred lines, of what people write: variables, continued lines, flags, heredocs.
fn a_thousand_lines() -> String {
    let mut text = String::new();
    for stage in 0..10 {
        let base = if stage == 0 { "debian:12".to_owned() } else { format!("stage{}", stage - 1) };
        // A String takes all that is written to it.
        let _ = write!(text, "FROM {base} AS stage{stage}\nARG VERSION=1.{stage}\nWORKDIR /srv/${{VERSION%.*}}\n");
        for block in 0..8 {
            let _ = write!(
                text,
                "# what block {block} is for\n\
                 ENV PATH_{block}=/opt/${{VERSION:-none}}/{block}:$PATH NAME_{block}=\"a b\"\n\
                 RUN --mount=type=cache,target=/var/cache/apt \\\n    apt-get update && \\\n    apt-get install -y \\\n\
                 \x20       package-{block}\n\
                 COPY --chown=1000:1000 --chmod=644 src/{block}/*.py lib/${{NAME_{block}//b/_}}/ /srv/app/\n\
                 COPY <<EOF /etc/conf.{block}\nversion=$VERSION\nEOF\nLABEL org.example.block.{block}=\"${{VERSION}}\"\n"
            );
        }
    }
    let missing = 1000_usize.checked_sub(text.lines().count()).expect("the stages are no longer than that");
    text + &"EXPOSE 80/tcp\n".repeat(missing)
}

fn thirty_thousand_files(context: &Path) {
    for folder in 0..300 {
        let path = context.join(format!("a{}/b{folder}", folder % 30));
        fs::create_dir_all(&path).expect("a folder of our own");
        for file in 0..100 {
            fs::write(path.join(format!("{file}.txt")), format!("{folder} {file}\n").repeat(50)).expect("a file");
        }
    }
}

/// Nothing comes from outside, and nothing goes there.
struct Nowhere;

impl build::Source for Nowhere {
    async fn image(&self, _: &Reference, _: &Platform) -> Result<BaseImage, FetchError> {
        Err(nothing())
    }

    async fn fetch(&self, _: &Reference, _: &Descriptor, _: Option<build::Tap>) -> Result<(), FetchError> {
        Err(nothing())
    }

    async fn download(&self, _: &str) -> Result<Download, FetchError> {
        Err(nothing())
    }
}

impl Sink for Nowhere {
    fn growing(&self, _: Growing) {}

    fn layer(&self, _: &Descriptor) {}
}

fn nothing() -> FetchError {
    let source: Box<dyn Error + Send + Sync> = "a benchmark stands on scratch".into();
    FetchError { source, hint: None }
}

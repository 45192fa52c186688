//! A property of keys: change anything that a step is a function of, and its key and those of the steps above it change;
//! change anything else, and none does.
//!
//! No step is done: what one gives is made of its key, so that whatever stands on it has another key where it has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed, TestRunner};

use super::*;
use crate::build::{BaseImage, FetchError, Folder, Tap};
use crate::dockerfile;
use crate::event::Events;
use crate::graph::{Contexts, Network, Options};
use crate::image::{Compression, MediaType};
use crate::layer::{Entry, Kind, LayerPath, Packing, pack};
use crate::sandbox::Stopper;
use crate::secret::Secret;
use crate::store::{Growing, Store};

/// What a generated instruction is; `{n}` stands for a number that its key must have, `{d}` for that of a folder.
const KINDS: [(&str, Uses); 18] = [
    ("RUN echo {n}", Uses { run: true, ..NOTHING }),
    ("RUN [\"echo\", \"{n}\"]", Uses { run: true, ..NOTHING }),
    ("RUN <<E\n{n}\nE", Uses { run: true, ..NOTHING }),
    ("RUN --mount=type=tmpfs,target=/t{n} x", Uses { run: true, ..NOTHING }),
    ("RUN --mount=type=cache,target=/c,id=i{n} x", Uses { run: true, ..NOTHING }),
    ("RUN --mount=type=cache,target=/c,uid={n} x", Uses { run: true, ..NOTHING }),
    ("RUN --mount=type=secret,id=s{n} x", Uses { run: true, ..NOTHING }),
    ("RUN --mount=type=bind,source=d{d},target=/b{n} x", Uses { run: true, folder: true, ..NOTHING }),
    ("RUN --network=none x {n}", Uses { run: true, ..NOTHING }),
    ("COPY d{d} /e{n}", Uses { folder: true, ..NOTHING }),
    ("COPY --chmod={n} d{d} /e", Uses { folder: true, ..NOTHING }),
    ("COPY --chown={n} d{d}/* /e/", Uses { folder: true, ..NOTHING }),
    ("COPY --exclude=*.{n} d{d} /e", Uses { folder: true, ..NOTHING }),
    ("ADD d{d} /e{n}", Uses { folder: true, ..NOTHING }),
    ("COPY --link d{d} /l{n}", Uses { folder: true, alone: true, ..NOTHING }),
    ("COPY <<E /h\n{n}\nE", NOTHING),
    ("WORKDIR /w{n}", Uses { user: true, ..NOTHING }),
    ("COPY --from=first /made /e{n}", Uses { from_first: true, ..NOTHING }),
];

/// What a step is a function of, beside its words.
#[derive(Clone, Copy, Debug)]
struct Uses {
    run: bool,
    folder: bool,
    user: bool,
    from_first: bool,
    /// And not of what is below it.
    alone: bool,
}

const NOTHING: Uses = Uses { run: false, folder: false, user: false, from_first: false, alone: false };

/// One instruction: its kind, its number and its folder.
#[derive(Clone, Debug)]
struct Line {
    kind: usize,
    number: u32,
    folder: u32,
}

/// All that a build is made of.
#[derive(Clone, Debug)]
struct Inputs {
    stages: [Vec<Line>; 2],
    /// What stands before a stage's first step.
    configuration: [String; 2],
    base: String,
    build_args: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    platform: &'static str,
    packing: Packing,
    epochs: Epochs,
    hosts: Vec<(String, std::net::IpAddr)>,
    network: Network,
    shm_size: Option<u64>,
    secret: &'static str,
    /// By path: content, mode and time.
    files: BTreeMap<String, (String, u32, u64)>,
    comments: bool,
    /// A file that has another name too.
    twin: Option<String>,
}

impl Line {
    fn uses(&self) -> Uses {
        KINDS[self.kind].1
    }
}

impl Inputs {
    fn of(stages: [Vec<Line>; 2]) -> Self {
        let mut files = BTreeMap::from([(".dockerignore".to_owned(), ("ignored\n**/*.pyc\n".to_owned(), 0o644, 1))]);
        for folder in 0..3 {
            for name in ["a", "sub/b"] {
                files.insert(format!("d{folder}/{name}"), (name.to_owned(), 0o644, 1));
            }
        }
        let configuration = || "ENV E=1\nARG A=0\nUSER 1\n".to_owned();
        Self {
            stages,
            configuration: [configuration(), configuration()],
            base: "base".to_owned(),
            build_args: BTreeMap::from([("A".to_owned(), "1".to_owned())]),
            labels: BTreeMap::new(),
            platform: "linux/amd64",
            packing: Packing::default(),
            epochs: Epochs::default(),
            hosts: Vec::new(),
            network: Network::Default,
            shm_size: None,
            secret: "one",
            files,
            comments: false,
            twin: None,
        }
    }

    fn file(&mut self, spot: Spot, name: &str) -> &mut (String, u32, u64) {
        self.files.get_mut(&spot.file(name)).expect("each folder has it")
    }

    fn dockerfile(&self) -> String {
        let mut text = String::new();
        for (stage, lines) in self.stages.iter().enumerate() {
            text += ["FROM base AS first\n", "FROM base\n"][stage];
            text += &self.configuration[stage];
            for Line { kind, number, folder } in lines {
                let line = KINDS[*kind].0.replace("{n}", &format!("{number:o}")).replace("{d}", &folder.to_string());
                text += &format!("{}{line}\n", if self.comments { "# words\n\n" } else { "" });
            }
        }
        text
    }

    fn write(&self, folder: &Path, backwards: bool) {
        let mut files: Vec<_> = self.files.iter().collect();
        if backwards {
            files.reverse();
        }
        for (path, (content, mode, time)) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().expect("it is in the folder")).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(*time)).unwrap();
        }
        if let Some(twin) = &self.twin {
            fs::hard_link(folder.join(twin), folder.join("twin")).unwrap();
        }
    }

    /// The key of each step, in the order of the file.
    fn keys(&self, store: &Store, backwards: bool) -> Vec<Digest> {
        let directory = tempfile::tempdir().unwrap();
        self.write(directory.path(), backwards);
        in_turn(keys(&self.plan(directory.path()), self.workshop(store)))
    }

    fn plan(&self, directory: &Path) -> Plan {
        let platform: Platform = self.platform.parse().unwrap();
        let options = Options {
            platform: platform.clone(),
            build_platform: Platform::linux_amd64(),
            build_args: self.build_args.clone(),
            target: None,
            labels: self.labels.clone(),
            contexts: Contexts::default(),
        };
        let graph = graph::plan(&dockerfile::parse(&self.dockerfile()).unwrap(), &options).unwrap();
        let run = RunOptions {
            hosts: self.hosts.clone(),
            network: self.network,
            shm_size: self.shm_size,
            secrets: [("s1".to_owned(), Arc::new(Secret::new(self.secret)))].into(),
            ..RunOptions::default()
        };
        Plan {
            graph,
            shown: "Dockerfile".to_owned(),
            context: Context::Folder(Folder::named(directory.to_owned(), false)),
            epochs: self.epochs,
            no_cache: NoCache::None,
            explain: false,
            run,
            pinning: Pinning::default(),
            annotations: BTreeMap::new(),
            imports: Imports::default(),
            inline: false,
            all_travel: false,
        }
    }

    fn workshop(&self, store: &Store) -> Workshop<Bases> {
        let base = layer(store, &self.base);
        let mut workshop = Workshop::new(store.clone(), Bases { base }, Events::silent(), Stopper::new());
        workshop.packing = self.packing;
        workshop
    }
}

fn in_turn<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

#[test]
fn the_files_of_a_copy_are_read_before_its_turn_once_a_step_has_to_be_done() {
    let (home, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Store::open(home.path()).unwrap();
    let kind = KINDS.iter().position(|(text, _)| text.starts_with("COPY d")).unwrap();
    let copy = |folder| Line { kind, number: 1, folder };
    let inputs = Inputs::of([Vec::new(), vec![copy(0), copy(1)]]);
    inputs.write(directory.path(), false);
    let plan = inputs.plan(directory.path());
    let work = async {
        let run = Run::of(&plan, Arc::new(inputs.workshop(&store)), &None::<Nowhere>).await.unwrap();
        let stage = run.graph.needed()[0];
        let (_, ground) = run.stands_on(stage).await.unwrap();
        let steps = run.graph.steps(stage, ground).unwrap().steps;
        let copies: Vec<usize> = (0..steps.len()).filter(|&at| matches!(steps[at].action, Action::Copy(_))).collect();
        let foreseen = Foreseen::of(&steps);
        let none = run.looking_ahead(&steps, &foreseen, async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(foreseen.take(copies[0]).await.is_none())
        });
        assert!(none.await.unwrap(), "nothing may have to be read yet");
        let all = run.looking_ahead(&steps, &foreseen, async {
            foreseen.missed();
            while !foreseen.has_seen(copies[1]).await {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok((foreseen.take(copies[0]).await.is_none(), foreseen.take(copies[1]).await.is_some()))
        });
        assert_eq!(all.await.unwrap(), (true, true), "the first one's turn was over");
        assert!(foreseen.take(copies[1]).await.is_none(), "it is taken once");
    };
    in_turn(async { tokio::time::timeout(Duration::from_secs(20), work).await.unwrap() });
}

/// The keys of all steps that have a layer.
async fn keys(plan: &Plan, workshop: Workshop<Bases>) -> Vec<Digest> {
    let run = Run::of(plan, Arc::new(workshop), &None::<Nowhere>).await.unwrap();
    let mut keys = Vec::new();
    for stage in run.graph.needed() {
        let (mut snapshot, ground) = run.stands_on(stage).await.unwrap();
        let graph::StagePlan { steps, ground } = run.graph.steps(stage, ground).unwrap();
        for step in steps.iter().filter(|step| step.has_layer()) {
            let key = run.keyed(step, run.key(step, &snapshot), async { None }).await.unwrap().key.finish();
            snapshot = snapshot.with(layer(&run.workshop.store, &key.hex()));
            keys.push(key);
        }
        assert!(run.stages[stage.number].set(Done { snapshot, ground }).is_ok());
    }
    keys
}

/// A layer with one file, whose paths the store knows.
fn layer(store: &Store, text: &str) -> Layer {
    let bytes: Arc<[u8]> = text.as_bytes().into();
    let file = Entry::new(Kind::File { size: bytes.len() as u64, content: Content::Bytes(bytes) }, 0o644);
    let tree = Tree { entries: [(LayerPath::parse(b"made").unwrap(), file)].into(), ..Tree::default() };
    let open = |_: &Digest| Err(std::io::ErrorKind::NotFound.into());
    let packed = pack(&tree, Times::Keep, Packing::None, 1, &open, std::io::sink()).unwrap();
    store.keep_tree(&packed.index.diff_id, &packed.index).unwrap();
    let blob = Descriptor::new(MediaType::new(MediaType::OCI_LAYER), packed.index.diff_id, 1);
    Layer { diff_id: packed.index.diff_id, blob, from: None, tar_size: None }
}

/// Has one image.
struct Bases {
    base: Layer,
}

impl Source for Bases {
    async fn image(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, FetchError> {
        let mut config = ImageConfig { os: platform.os.clone(), ..ImageConfig::default() };
        config.architecture = platform.architecture.clone();
        config.rootfs.diff_ids = vec![self.base.diff_id];
        let image = Image::new(config, vec![self.base.blob.clone()], BTreeMap::new());
        Ok(BaseImage { reference: reference.clone(), digest: image.digest(), image })
    }

    async fn fetch(&self, _: &Reference, _: &Descriptor, _: Option<Tap>) -> Result<(), FetchError> {
        unreachable!("its paths are known")
    }

    async fn download(&self, _: &str) -> Result<Download, FetchError> {
        unreachable!("nothing is asked for")
    }
}

struct Nowhere;

impl Sink for Nowhere {
    fn growing(&self, _: Growing) {}

    fn layer(&self, _: &Descriptor) {}
}

/// What is changed of the inputs, where there is a choice.
#[derive(Clone, Copy, Debug)]
struct Spot {
    stage: usize,
    at: usize,
    folder: u32,
}

impl Spot {
    fn file(self, name: &str) -> String {
        format!("d{}/{name}", self.folder)
    }
}

/// A change that matters, and to which steps by themselves.
type Change = (&'static str, fn(&mut Inputs, Spot), fn(Spot, (usize, usize), &Line) -> bool);

const CHANGES: [Change; 20] = [
    ("the instruction", |i, s| i.stages[s.stage][s.at].number += 1, |s, place, _| place == (s.stage, s.at)),
    (
        "ENV",
        |i, s| i.configuration[s.stage] = i.configuration[s.stage].replace("E=1", "E=2"),
        |s, (stage, _), line| stage == s.stage && line.uses().run,
    ),
    (
        "another ENV",
        |i, s| i.configuration[s.stage] += "ENV F=1\n",
        |s, (stage, _), line| stage == s.stage && line.uses().run,
    ),
    (
        "USER",
        |i, s| i.configuration[s.stage] += "USER 2\n",
        |s, (stage, _), line| stage == s.stage && (line.uses().run || line.uses().user),
    ),
    ("a build argument", |i, _| *i.build_args.get_mut("A").expect("it is there") = "2".into(), |_, _, l| l.uses().run),
    ("no build argument", |i, _| i.build_args.clear(), |_, _, line| line.uses().run),
    ("the content of a file", |i, s| i.file(s, "a").0.push('x'), of_folder),
    ("the mode of a file", |i, s| i.file(s, "sub/b").1 = 0o755, of_folder),
    ("a new file", |i, s| drop(i.files.insert(s.file("sub/c"), (String::new(), 0o644, 1))), of_folder),
    ("a file that is gone", |i, s| drop(i.files.remove(&s.file("a"))), of_folder),
    (
        "the name of a file",
        |i, s| {
            let file = i.files.remove(&s.file("a")).expect("it is there");
            i.files.insert(s.file("aa"), file);
        },
        of_folder,
    ),
    ("what is ignored", |i, s| i.files.get_mut(".dockerignore").expect("it is there").0 = s.file("a"), of_folder),
    ("the base", |i, _| i.base.push('x'), |_, _, line| !line.uses().alone),
    ("--platform", |i, _| i.platform = "linux/arm64", |_, _, _| true),
    ("the compression", |i, _| i.packing = Packing::new(Compression::Gzip, Some(9)).expect("a level"), |_, _, _| true),
    ("SOURCE_DATE_EPOCH", |i, _| i.epochs.source_date = Some(1), |_, _, _| true),
    ("--preserve-times", |i, _| i.epochs.preserve = true, |_, _, _| true),
    ("--add-host", |i, _| i.hosts.push(("db".into(), [10, 0, 0, 1].into())), |_, _, line| line.uses().run),
    ("--network", |i, _| i.network = Network::None, |_, _, line| line.uses().run),
    ("--shm-size", |i, _| i.shm_size = Some(1), |_, _, line| line.uses().run),
];

/// A change that no step can see.
type Indifference = (&'static str, fn(&mut Inputs, Spot));

const INDIFFERENT: [Indifference; 9] = [
    ("another place and checkout", |_, _| {}),
    ("the time of a file", |i, s| i.file(s, "a").2 = 99),
    ("the bits that umask 002 leaves", |i, s| i.file(s, "a").1 = 0o664),
    ("a file that is left out", |i, s| drop(i.files.insert(s.file("x.pyc"), (String::new(), 0o644, 1)))),
    ("another name of a file, which nothing takes", |i, s| i.twin = Some(s.file("a"))),
    ("comments and empty lines", |i, _| i.comments = true),
    ("a label", |i, _| drop(i.labels.insert("a".into(), "b".into()))),
    ("a proxy, and an argument that no ARG takes", |i, _| {
        i.build_args.extend([("HTTP_PROXY".into(), "http://p".into()), ("OTHER".into(), "1".into())]);
    }),
    ("the value of a secret", |i, _| i.secret = "two"),
];

fn of_folder(spot: Spot, _: (usize, usize), line: &Line) -> bool {
    line.uses().folder && line.folder == spot.folder
}

/// Which keys change, where those do that are hit themselves: those above them too, and those that take files of them.
fn changed(inputs: &Inputs, hit: impl Fn((usize, usize), &Line) -> bool) -> Vec<bool> {
    let (mut all, mut top_of_first) = (Vec::new(), false);
    for (stage, lines) in inputs.stages.iter().enumerate() {
        let (mut below, mut top) = (false, false);
        for (at, line) in lines.iter().enumerate() {
            let Uses { alone, from_first, .. } = line.uses();
            top = hit((stage, at), line) || below && !alone || top_of_first && from_first;
            below |= top;
            all.push(top);
        }
        top_of_first = top;
    }
    all
}

/// Two stages, the second of which takes a file of the first.
fn inputs() -> impl Strategy<Value = (Inputs, Spot)> {
    let line = |kinds: usize| {
        (0..kinds, 0o100..0o700_u32, 0..3_u32).prop_map(|(kind, number, folder)| Line { kind, number, folder })
    };
    let lines = |kinds| proptest::collection::vec(line(kinds), 0..4);
    let (all, last) = (KINDS.len(), KINDS.len() - 1);
    (lines(last), lines(all), line(1), 0..2_usize, any::<prop::sample::Index>(), 0..3_u32).prop_map(
        move |(mut first, mut second, end, stage, at, folder)| {
            first.push(end.clone());
            second.push(Line { kind: last, ..end });
            let stages = [first, second];
            let at = at.index(stages[stage].len());
            (Inputs::of(stages), Spot { stage, at, folder })
        },
    )
}

#[test]
fn a_key_changes_with_whatever_its_step_is_a_function_of_and_with_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let config = Config {
        cases: 8,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(9),
        failure_persistence: None,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&inputs(), |(inputs, spot)| {
        let before = inputs.keys(&store, false);
        for (name, change, hit) in CHANGES {
            let mut other = inputs.clone();
            change(&mut other, spot);
            let after = other.keys(&store, false);
            let differs: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
            let wanted = changed(&inputs, |place, line| hit(spot, place, line));
            prop_assert_eq!(differs, wanted, "{} of\n{}", name, inputs.dockerfile());
        }
        for (name, change) in INDIFFERENT {
            let mut other = inputs.clone();
            change(&mut other, spot);
            prop_assert_eq!(&other.keys(&store, true), &before, "{} of\n{}", name, inputs.dockerfile());
        }
        Ok(())
    });
    tried.unwrap();
}

#[test]
fn a_time_is_in_the_key_where_it_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let copies = Line { kind: 9, number: 0o100, folder: 0 };
    let mut inputs = Inputs::of([vec![], vec![copies]]);
    inputs.epochs.preserve = true;
    let before = inputs.keys(&store, false);
    assert_eq!(inputs.keys(&store, true), before);
    inputs.files.get_mut("d0/a").unwrap().2 = 99;
    assert_ne!(inputs.keys(&store, false), before);
}

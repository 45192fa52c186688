//! One build as each kind of screen shows it, kept word for word in `testdata/screens`. With `LOCUS_WRITE_SCREENS=1` they
//! are written anew, for a person to look at.

use std::cell::Cell;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::columns::{self, Size};
use super::{Face, Paint, bars::Bars, facts::Facts, plain::Plain};
use crate::event::{BlobOutcome, Direction, Event, LayerSize, Why};
use crate::image::Digest;

/// A terminal as people have them: lines that are too long go on in the next row, and are broken anew when it is resized.
pub(super) struct Terminal {
    rows: Vec<Row>,
    /// Counted from the first row of all, those included that have scrolled away.
    row: usize,
    column: usize,
    /// What is written now is painted so: the code of the last `m`.
    colour: Colour,
}

/// As a terminal is told: 32 is green. 0 is none.
pub(super) type Colour = u8;

#[derive(Clone, Default)]
struct Row {
    cells: Vec<(char, Colour)>,
    /// It goes on in the next.
    broken: bool,
}

/// The second column of a letter that takes two.
const BEHIND_WIDE: char = '\0';

thread_local! {
    static SIZE: Cell<Size> = const { Cell::new(Size { columns: 80, rows: 24 }) };
}

impl Terminal {
    pub(super) fn new(size: Size) -> Self {
        SIZE.set(size);
        Self { rows: vec![Row::default()], row: 0, column: 0, colour: 0 }
    }

    pub(super) fn take(&mut self, text: &str) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            match c {
                '\r' => self.column = 0,
                '\n' => self.down(),
                '\x1b' => {
                    let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("a sequence ends");
                    let number = rest[1..end].parse().unwrap_or(1);
                    match &rest[end..=end] {
                        "m" => {
                            self.colour =
                                rest[1..end].rsplit(';').next().and_then(|code| code.parse().ok()).unwrap_or(0)
                        }
                        "A" => self.row = self.row.checked_sub(number).expect("nobody goes above the first row"),
                        "J" => {
                            self.rows.truncate(self.row + 1);
                            self.rows[self.row].cells.truncate(self.column);
                        }
                        other => panic!("nobody asked for {other}"),
                    }
                    rest = &rest[end + 1..];
                }
                c => self.put(c),
            }
        }
    }

    fn put(&mut self, c: char) {
        let wide = columns::width(c.encode_utf8(&mut [0; 4]));
        if self.column + wide > SIZE.get().columns {
            self.rows[self.row].broken = true;
            self.down();
        }
        self.rows[self.row].broken = false;
        self.rows[self.row].cells.truncate(self.column);
        self.rows[self.row].cells.push((c, self.colour));
        self.rows[self.row].cells.resize(self.column + wide, (BEHIND_WIDE, self.colour));
        self.column += wide;
    }

    fn down(&mut self) {
        (self.row, self.column) = (self.row + 1, 0);
        if self.row == self.rows.len() {
            self.rows.push(Row::default());
        }
    }

    fn resize(&mut self, size: Size) {
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            text.extend(row.letters().map(|(c, _)| c));
            if !row.broken && at + 1 < self.rows.len() {
                text.push('\n');
            }
        }
        *self = Self::new(size);
        self.take(&text);
    }

    /// Each row as runs of one colour.
    pub(super) fn painted(&self) -> Vec<Vec<(String, Colour)>> {
        let painted = |row: &Row| {
            let mut runs: Vec<(String, Colour)> = Vec::new();
            for (c, colour) in row.letters() {
                match runs.last_mut() {
                    Some((text, last)) if *last == colour => text.push(c),
                    _ => runs.push((c.to_string(), colour)),
                }
            }
            runs
        };
        self.rows.iter().map(painted).collect()
    }

    fn shown(&self) -> String {
        let shown = |row: &Row| row.letters().map(|(c, _)| c).collect::<String>();
        self.rows.iter().map(|row| shown(row).trim_end().to_owned() + "\n").collect()
    }
}

impl Row {
    fn letters(&self) -> impl Iterator<Item = (char, Colour)> {
        self.cells.iter().copied().filter(|(c, _)| *c != BEHIND_WIDE)
    }
}

#[derive(Clone)]
pub(super) struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    pub(super) fn new() -> Self {
        Self(Arc::default())
    }

    pub(super) fn since(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().expect("no test panics while it holds this"));
        String::from_utf8(bytes).expect("words are UTF-8")
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics while it holds this").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What happened, and when, in milliseconds from the beginning.
pub(super) fn story() -> Vec<(u64, Event)> {
    let (base, tools, own) = (Digest::of(b"base"), Digest::of(b"tools"), Digest::of(b"own"));
    let stage = || "tools".to_owned();
    let none = String::new;
    let output = |stage: &str, line: &str| Event::Output { stage: stage.into(), line: line.as_bytes().to_vec() };
    let transfer = |direction, digest, done, total| Event::Transfer { direction, digest, done, total };
    let blob = |direction, digest, bytes, outcome| Event::Blob { direction, digest, bytes, outcome };
    let layer = |digest, bytes, unpacked| LayerSize { digest, bytes, unpacked };
    let (pull, push) = (Direction::Pull, Direction::Push);
    let apt = "RUN apt-get update && apt-get install -y --no-install-recommends gdal-bin postgresql-client";
    vec![
        (0, Event::Read { dockerfile: "loaders/os_opendata.Dockerfile".into(), instructions: 6, stages: 2 }),
        (200, Event::Base { reference: "docker.io/library/debian:12".into(), digest: base }),
        (300, transfer(pull, base, 1 << 20, 48 << 20)),
        (
            400,
            Event::Cached {
                stage: none(),
                number: 1,
                of: 3,
                text: "WORKDIR /app".into(),
                layer: layer(own, 113, None),
            },
        ),
        (500, Event::Rung { name: "namespaces", why: "user namespaces are allowed".into() }),
        (1_500, transfer(pull, base, 20 << 20, 48 << 20)),
        (2_400, transfer(pull, base, 48 << 20, 48 << 20)),
        (2_500, blob(pull, base, 48 << 20, BlobOutcome::Fetched)),
        (2_600, Event::Step { stage: stage(), number: 1, of: 2, text: apt.into() }),
        (2_600, Event::Explained { stage: stage(), number: 1, of: 2, why: Why::NeverBuilt, asked: false }),
        (2_700, Event::Step { stage: none(), number: 2, of: 3, text: "RUN npm ci".into() }),
        (
            2_700,
            Event::Explained {
                stage: none(),
                number: 2,
                of: 3,
                why: Why::Changed(vec!["package.json changed".into()]),
                asked: false,
            },
        ),
        (3_000, output("tools", "Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]")),
        (3_100, output("tools", "Get:2 http://deb.debian.org/debian bookworm/main amd64 Packages [8,792 kB]")),
        (3_200, output("tools", "Reading package lists...\x1b[2J")),
        (
            3_300,
            output("", "npm warn deprecated 日本語のパッケージ@1.0.0: no longer supported, and nobody else reads it"),
        ),
        (3_400, output("", "added 112 packages in 3s")),
        (
            9_000,
            Event::StepDone { stage: none(), number: 2, millis: 6_300, layer: layer(own, 9 << 20, Some(31 << 20)) },
        ),
        (
            9_500,
            Event::Warning {
                message: "the private key /etc/ssh/key is in the image".into(),
                hint: Some("remove it".into()),
            },
        ),
        (9_900, Event::Packing { work: 7, done: 4 << 20 }),
        (11_900, Event::Packing { work: 7, done: 44 << 20 }),
        (12_500, Event::PackingEnded { work: 7 }),
        (
            12_600,
            Event::StepDone {
                stage: stage(),
                number: 1,
                millis: 10_000,
                layer: layer(tools, 45 << 20, Some(130 << 20)),
            },
        ),
        (12_700, Event::Step { stage: none(), number: 3, of: 3, text: "COPY <<EOF /etc/motd\nx\nEOF".into() }),
        (12_710, Event::StepDone { stage: none(), number: 3, millis: 10, layer: layer(own, 150, Some(2_048)) }),
        (12_720, transfer(push, own, 1 << 20, 9 << 20)),
        (12_800, Event::Built { digest: own, layers: 4, bytes: 100 << 20 }),
        (14_900, transfer(push, own, 7 << 20, 9 << 20)),
        (15_800, blob(push, own, 9 << 20, BlobOutcome::Sent)),
        (15_900, blob(push, base, 48 << 20, BlobOutcome::AlreadyThere)),
        (16_000, Event::Pushed { reference: format!("127.0.0.1:5000/os_opendata@{own}"), already_there: false }),
        (16_100, Event::Task { id: "4f2a".into(), status: "RUNNING".into() }),
        (16_200, Event::TaskLog { task: "4f2a".into(), alone: true, line: b"120 rows\r".to_vec() }),
    ]
}

#[track_caller]
fn check(name: &str, seen: &str) {
    is_kept(&Path::new("testdata/screens").join(name), seen);
}

/// Compares with a file of the repository.
#[track_caller]
pub(super) fn is_kept(file: &Path, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("LOCUS_WRITE_SCREENS").is_some() {
        std::fs::write(&path, seen).expect("the repository can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == seen, "{} shows something else:\n{seen}", path.display());
}

/// Several loaders, each with a part of the story, one a moment behind the other.
fn story_of_several() -> Vec<(u64, Event)> {
    let loaders = ["os_opendata", "places", "a_loader_with_a_long_name"];
    let mut story: Vec<(u64, Event)> =
        vec![(0, Event::Several { loaders: loaders.map(str::to_owned).to_vec(), at_once: 3 })];
    for (number, loader) in loaders.into_iter().enumerate() {
        let of = |event| Event::Of { loader: loader.to_owned(), event: Box::new(event) };
        let later = number as u64 * 700;
        story.extend(self::story().into_iter().map(|(at, event)| (at + later, of(event))));
    }
    let row = |cells: [&str; 6]| cells.map(str::to_owned).to_vec();
    let rows = vec![
        row(["os_opendata", "built", "yes", "4f2a", "0", "17s"]),
        row(["places", "built", "yes", "77b1", "0", "18s"]),
        row(["a_loader_with_a_long_name", "built", "yes", "90cc", "3", "19s"]),
    ];
    story.sort_by_key(|(at, _)| *at);
    let columns = &["loader", "image", "pushed", "task", "exit code", "time"];
    story.push((19_000, Event::Summary { columns, rows }));
    story
}

/// Plays the story on a terminal; `looks` are the moments at which it is looked at, `sizes` when it is resized.
fn on_terminal(size: Size, looks: &[u64], sizes: &[(u64, Size)]) -> String {
    played(story(), size, looks, sizes)
}

fn played(story: Vec<(u64, Event)>, mut size: Size, looks: &[u64], sizes: &[(u64, Size)]) -> String {
    let (written, mut terminal) = (Written::new(), Terminal::new(size));
    let mut bars = Bars::new(written.clone(), || SIZE.get(), Paint::off(), false);
    let start = Instant::now();
    let end = story.last().map_or(0, |(at, _)| *at);
    let mut story = story.into_iter().peekable();
    let mut seen = String::new();
    let mut look = |terminal: &Terminal, size: Size, when: &str| {
        seen += &format!("==== {when}, {} columns, {} rows\n{}", size.columns, size.rows, terminal.shown());
    };
    for at in (0..=end).step_by(100) {
        if let Some((_, other)) = sizes.iter().find(|(when, _)| *when == at) {
            size = *other;
            terminal.resize(size);
        }
        while let Some((when, event)) = story.next_if(|(when, _)| *when <= at) {
            bars.take(&event, start + Duration::from_millis(when));
        }
        bars.look_at(start + Duration::from_millis(at));
        terminal.take(&written.since());
        if looks.contains(&at) {
            look(&terminal, size, &format!("after {}.{} s", at / 1000, at % 1000 / 100));
        }
    }
    bars.finish();
    bars.close();
    terminal.take(&written.since());
    look(&terminal, size, "at the end");
    seen
}

#[test]
fn a_terminal_shows_what_goes_on_below_what_is_done() {
    let size = Size { columns: 100, rows: 24 };
    check("terminal.txt", &on_terminal(size, &[1_600, 3_500, 12_000, 15_000], &[]));
}

#[test]
fn a_small_terminal_shows_as_much_as_fits() {
    check("small.txt", &on_terminal(Size { columns: 40, rows: 7 }, &[1_600, 3_500, 12_000, 15_000], &[]));
}

#[test]
fn a_terminal_that_is_resized_keeps_nothing_of_what_moved() {
    let (narrow, wide) = (Size { columns: 46, rows: 12 }, Size { columns: 120, rows: 12 });
    let seen = on_terminal(Size { columns: 100, rows: 24 }, &[3_500, 4_000], &[(3_600, narrow), (12_000, wide)]);
    let end = seen.split("==== ").last().expect("there is an end");
    assert_eq!(end.matches("RUN apt-get").count(), 2, "once as done, once in the summary:\n{end}");
    assert!(!end.contains("Pulling") && !end.contains("Get:1"), "{end}");
    check("resized.txt", &seen);
}

#[test]
fn several_loaders_share_a_terminal_each_behind_its_name() {
    let size = Size { columns: 80, rows: 24 };
    check("several.txt", &played(story_of_several(), size, &[2_000, 4_300, 12_000, 15_500], &[]));
}

#[test]
fn several_loaders_on_a_small_terminal_that_is_resized_keep_nothing_of_what_moved() {
    let (small, wide) = (Size { columns: 40, rows: 15 }, Size { columns: 100, rows: 15 });
    let looks = [2_000, 4_300, 12_000, 15_500];
    check("several_small.txt", &played(story_of_several(), small, &looks, &[(3_000, wide), (12_000, small)]));
}

#[test]
fn several_loaders_in_a_file_get_a_line_for_each_fact() {
    let written = Written::new();
    let mut plain = Plain::new(written.clone(), Paint::off());
    let start = Instant::now();
    for (at, event) in story_of_several() {
        plain.show_at(&event, start + Duration::from_millis(at));
    }
    plain.finish();
    check("several_piped.txt", &written.since());
}

#[test]
fn a_file_gets_a_line_for_each_fact() {
    let written = Written::new();
    let mut plain = Plain::new(written.clone(), Paint::off());
    let start = Instant::now();
    for (at, event) in story() {
        plain.show_at(&event, start + Duration::from_millis(at));
    }
    plain.finish();
    check("piped.txt", &written.since());
}

#[test]
fn a_program_gets_an_object_for_each_fact() {
    let written = Written::new();
    let mut facts = Facts::new(written.clone());
    story().iter().for_each(|(_, event)| facts.show(event));
    check("events.txt", &written.since());
}

#[test]
fn where_nothing_changes_nothing_is_written() {
    let written = Written::new();
    SIZE.set(Size { columns: 80, rows: 24 });
    let mut bars = Bars::new(written.clone(), || SIZE.get(), Paint::off(), false);
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    bars.take(&Event::Step { stage: String::new(), number: 1, of: 1, text: "RUN sleep 60".into() }, at(0));
    bars.look_at(at(100));
    assert!(written.since().contains("Building [1/1] RUN sleep 60"));
    for millis in [200, 500, 900] {
        bars.look_at(at(millis));
    }
    assert_eq!(written.since(), "");
    bars.look_at(at(1_100));
    assert!(written.since().contains(" 1s\n"), "a second has passed");
}

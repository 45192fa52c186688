//! The README's picture: a terminal in the midst of a road, drawn from what the screen writes there. It is kept in `.github`,
//! and written anew with `LOCUS_WRITE_SCREENS=1`.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::columns::Size;
use super::snapshots::{Colour, Terminal, Written, is_kept};
use super::{Paint, bars::Bars};
use crate::event::{Direction, Event, LayerSize};
use crate::image::Digest;

const SIZE: Size = Size { columns: 96, rows: 24 };

/// One letter, in pixels.
const LETTER: (f64, f64) = (8.4, 19.0);
const MARGIN: f64 = 16.0;

/// What somebody sees who builds a loader for the second time, with another package in it.
fn story() -> Vec<(u64, Event)> {
    let (base, own, tools) = (Digest::of(b"base"), Digest::of(b"own"), Digest::of(b"tools"));
    let none = String::new;
    let tools_stage = || "tools".to_owned();
    let cached = |number, text: &str| Event::Cached {
        stage: none(),
        number,
        of: 5,
        text: text.to_owned(),
        layer: LayerSize { digest: own, bytes: 4_300, unpacked: None },
    };
    let step = |number, text: &str| Event::Step { stage: none(), number, of: 5, text: text.to_owned() };
    let done = |number, millis| Event::StepDone {
        stage: none(),
        number,
        millis,
        layer: LayerSize { digest: own, bytes: 18 << 20, unpacked: None },
    };
    let output = |stage: &str, line: &str| Event::Output { stage: stage.into(), line: line.as_bytes().to_vec() };
    let pull = |done| Event::Transfer { direction: Direction::Pull, digest: tools, done, total: 62 << 20 };
    let push = |done| Event::Transfer { direction: Direction::Push, digest: own, done, total: 18 << 20 };
    vec![
        (0, Event::Read { dockerfile: "loaders/os_opendata.Dockerfile".into(), instructions: 11, stages: 2 }),
        (100, Event::Base { reference: "docker.io/library/node:22-bookworm-slim".into(), digest: base }),
        (200, Event::Base { reference: "docker.io/library/gcc:14".into(), digest: tools }),
        (500, cached(1, "WORKDIR /app")),
        (500, cached(2, "COPY package.json package-lock.json ./")),
        (600, step(3, "RUN npm ci")),
        (600, pull(4 << 20)),
        (900, output("", "added 112 packages, and audited 113 packages in 6s")),
        (7_100, done(3, 6_500)),
        (7_200, push(2 << 20)),
        (7_200, step(4, "RUN apt-get update && apt-get install -y gdal-bin")),
        (7_300, Event::Step { stage: tools_stage(), number: 1, of: 2, text: "RUN make -C importer".into() }),
        (7_400, output("", "Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]")),
        (7_500, output("", "Get:2 http://deb.debian.org/debian bookworm/main amd64 Packages [8,792 kB]")),
        (8_000, output("tools", "cc -O2 -c read.c -o read.o")),
        (8_500, output("tools", "cc -O2 -c places.c -o places.o")),
        (9_000, output("", "Selecting previously unselected package libgdal32.")),
        (9_800, pull(41 << 20)),
        (9_800, push(11 << 20)),
    ]
}

fn svg(rows: &[Vec<(String, Colour)>]) -> String {
    let (width, height) = LETTER;
    let (wide, high) = (SIZE.columns as f64 * width + 2.0 * MARGIN, (rows.len() + 1) as f64 * height + 2.0 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide:.0} {high:.0}\" role=\"img\" aria-label=\"locus-push at \
         work: two steps run with their last lines below them, a base is pulled and a layer pushed meanwhile\">\n\
         <style>text{{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#d8dee4;\
         white-space:pre}}.c32{{fill:#57c785;font-weight:700}}.c36{{fill:#5cc8d7;font-weight:700}}\
         .c33{{fill:#e0b252;font-weight:700}}.c34{{fill:#7aa7f0;font-weight:700}}.c31{{fill:#f0746c;font-weight:700}}\
         .p{{fill:#8b949e}}</style>\n<rect width=\"{wide:.0}\" height=\"{high:.0}\" rx=\"10\" fill=\"#161b22\"/>\n"
    );
    let typed = vec![("$ ".to_owned(), 1), ("locus-push loaders/os_opendata.Dockerfile".to_owned(), 0)];
    for (number, row) in [&typed].into_iter().chain(rows).enumerate() {
        let y = MARGIN + (number + 1) as f64 * height - 4.0;
        let mut column = 0;
        for (text, colour) in row {
            let letters = text.trim().chars().count();
            // Blanks at a line's ends are nobody's: SVG drops them.
            let x = MARGIN + (column + text.chars().take_while(|c| *c == ' ').count()) as f64 * width;
            column += text.chars().count();
            if letters == 0 {
                continue;
            }
            // A font that is not there may be as wide as it likes: each run says how long it is.
            let long = letters as f64 * width;
            let class = match colour {
                0 => String::new(),
                1 => " class=\"p\"".to_owned(),
                colour => format!(" class=\"c{colour}\""),
            };
            let text =
                text.trim().replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(' ', "\u{a0}");
            let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" textLength=\"{long:.1}\"{class}>{text}</text>");
        }
    }
    out + "</svg>\n"
}

#[test]
fn the_readme_shows_what_a_terminal_shows() {
    let written = Written::new();
    let mut terminal = Terminal::new(SIZE);
    let mut bars = Bars::new(written.clone(), || SIZE, Paint::on(), false);
    let start = Instant::now();
    for (at, event) in story() {
        bars.take(&event, start + Duration::from_millis(at));
    }
    bars.look_at(start + Duration::from_millis(10_000));
    terminal.take(&written.since());
    let rows: Vec<_> = terminal.painted().into_iter().filter(|row| !row.is_empty()).collect();
    is_kept(Path::new(".github/terminal.svg"), &svg(&rows));
}

//! The moving picture on a terminal: what is done scrolls up, what goes on stays below, and where nothing changes nothing
//! is written.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Instant;

use super::columns::{Size, width};
use super::names::{self, Names};
use super::picture::Picture;
use super::summary::Summaries;
use super::{Face, Paint, words};
use crate::event::Event;

/// More lines than this do not wait for the next look.
const PATIENCE: usize = 64;

pub(super) struct Bars<W> {
    out: W,
    size: fn() -> Size,
    paint: Paint,
    /// What RUNs write scrolls up, too.
    verbose: bool,
    /// Of each loader, where there are several.
    pictures: BTreeMap<String, Picture>,
    summaries: Summaries,
    names: Names,
    /// What is to scroll up when the picture is drawn next.
    waiting: Vec<String>,
    changed: bool,
    /// The widths of the rows that stand there, and when and for what size they were drawn.
    drawn: Vec<usize>,
    last: Option<(Instant, Size)>,
    /// The terminal is gone.
    gone: bool,
}

impl<W: Write> Bars<W> {
    pub(super) fn new(out: W, size: fn() -> Size, paint: Paint, verbose: bool) -> Self {
        Self {
            out,
            size,
            paint,
            verbose,
            pictures: BTreeMap::new(),
            summaries: Summaries::default(),
            names: Names::default(),
            waiting: Vec::new(),
            changed: false,
            drawn: Vec::new(),
            last: None,
            gone: false,
        }
    }

    pub(super) fn take(&mut self, event: &Event, now: Instant) {
        self.names.learn(event);
        let columns = (self.size)().columns.saturating_sub(1);
        self.names.within(columns);
        self.waiting.extend(self.summaries.take(event, now, &self.names, self.paint, Some(columns)));
        let (whose, event) = names::whose(event);
        let words = self.scrolls(whose, event, columns.saturating_sub(self.names.columns(whose)));
        self.waiting.extend(words.map(|words| self.names.before(whose, &words)));
        self.changed |= self.pictures.entry(whose.to_owned()).or_default().take(event, now);
        // Where nothing moves nothing has to be drawn around a line.
        if self.waiting.len() > PATIENCE || (self.is_still() && self.drawn.is_empty()) {
            self.draw(now);
        }
    }

    /// The words that stay when the picture has moved on.
    fn scrolls(&self, whose: &str, event: &Event, columns: usize) -> Option<String> {
        match event {
            // They move, until they are done.
            Event::Step { .. } | Event::Blob { .. } => None,
            Event::Output { .. } if !self.verbose => None,
            Event::StepDone { stage, number, millis, .. } => {
                match self.pictures.get(whose).and_then(|picture| picture.running(stage, *number)) {
                    Some(text) => Some(words::done(text, *millis, columns, self.paint)),
                    None => words::lines(event, self.paint),
                }
            }
            // The whole digest is in the lock, and in what a program reads.
            Event::Base { .. } => words::lines(event, self.paint).map(|line| match width(&words::undressed(&line)) {
                wide if wide > columns => words::base_in_short(event, self.paint).unwrap_or(line),
                _ => line,
            }),
            event => words::lines(event, self.paint),
        }
    }

    fn is_still(&self) -> bool {
        self.pictures.values().all(Picture::is_empty)
    }

    /// Each loader's, which has its share of the height.
    fn rows(&self, now: Instant, size: Size) -> Vec<String> {
        let moving = self.pictures.iter().filter(|(_, picture)| !picture.is_empty());
        let share = size.rows.checked_div(moving.clone().count()).unwrap_or(size.rows);
        let of_one = |(whose, picture): (&String, &Picture)| {
            let columns = size.columns.saturating_sub(self.names.columns(whose));
            let rows = picture.rows(now, Size { columns, rows: share }, self.paint);
            rows.iter().map(|row| self.names.before(whose, row)).collect::<Vec<_>>()
        };
        moving.flat_map(of_one).collect()
    }

    fn draw(&mut self, now: Instant) {
        let size = (self.size)();
        self.names.within(size.columns.saturating_sub(1));
        let rows = self.rows(now, size);
        if rows.is_empty() && self.drawn.is_empty() && self.waiting.is_empty() {
            return;
        }
        let mut text = self.erased(size.columns);
        for line in self.waiting.drain(..).chain(rows.iter().cloned()) {
            text += &line;
            text.push('\n');
        }
        self.drawn = rows.iter().map(|row| width(&words::undressed(row))).collect();
        self.last = Some((now, size));
        self.changed = false;
        if !self.gone {
            // One write a picture. A terminal that is gone has nobody before it; the work goes on.
            self.gone = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).is_err();
        }
    }

    /// What takes the last picture away. A terminal that has become narrower has broken its rows.
    fn erased(&self, columns: usize) -> String {
        let up: usize = self.drawn.iter().map(|width| width.div_ceil(columns.max(1)).max(1)).sum();
        match up {
            0 => String::new(),
            up => format!("\r\x1b[{up}A\x1b[J"),
        }
    }

    /// Draws what has changed since, or a second that has passed.
    pub(super) fn look_at(&mut self, now: Instant) {
        let Some((then, size)) = self.last else { return self.draw(now) };
        let moved = !self.is_still() && (now.duration_since(then).as_secs() >= 1 || size != (self.size)());
        if self.changed || moved || !self.waiting.is_empty() {
            self.draw(now);
        }
    }
}

impl<W: Write + Send> Face for Bars<W> {
    fn show(&mut self, event: &Event) {
        self.take(event, Instant::now());
    }

    fn tick(&mut self) {
        self.look_at(Instant::now());
    }

    fn finish(&mut self) {
        let columns = (self.size)().columns.saturating_sub(1);
        let rows = self.summaries.rest(&self.names, self.paint, Some(columns));
        self.waiting.extend(rows);
    }

    fn close(&mut self) {
        self.pictures.clear();
        self.draw(Instant::now());
    }
}

//! Words for what is kept between builds, and for what went of it.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::screen::bytes;
use super::{Done, Kind, escape};
use crate::road::Usage;
use crate::store::{Item, Prune, Shelf};

/// A table: a line a kind, or one a thing; and the sum.
pub(super) fn usage(usage: &Usage, each: bool, home: &Path) -> Done {
    let Usage { items, damaged } = usage;
    let mut rows: Vec<[String; 4]> = vec![["KIND", "COUNT", "SIZE", "WHAT"].map(str::to_owned)];
    for shelf in Shelf::ALL {
        let on_it: Vec<&Item> = items.iter().filter(|item| item.shelf == shelf).collect();
        if on_it.is_empty() {
            continue;
        }
        let count = on_it.len().to_string();
        rows.push([kind(shelf).to_owned(), count, bytes(sum(&on_it)), what(shelf).to_owned()]);
        let mut on_it = on_it;
        on_it.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
        for item in on_it.into_iter().filter(|_| each) {
            let path = item.path.strip_prefix(home).unwrap_or(&item.path).display().to_string();
            rows.push(["".to_owned(), ago(item.used), bytes(item.bytes), escape::text(&path)]);
        }
    }
    let mut words = table(&rows);
    words += &format!("Total: {} in {}", bytes(sum(items)), escape::text(&home.display().to_string()));
    for (_, path) in damaged.iter().flatten() {
        words += &format!("\ndamaged: {}", escape::text(&path.display().to_string()));
    }
    match damaged.as_deref() {
        None => {}
        Some([]) => words += "\nNothing is damaged",
        Some(_) => words += "\nThe next build that needs one of them fetches it, or makes it, again",
    }
    let json: Vec<Value> = items.iter().map(fact).collect();
    let paths: Option<Vec<_>> =
        damaged.as_ref().map(|all| all.iter().map(|(_, path)| path.display().to_string()).collect());
    let mut done = Done::new(words, json!({ "items": json, "bytes": sum(items), "damaged": paths }));
    if damaged.as_ref().is_some_and(|damaged| !damaged.is_empty()) {
        done.exit_code = Kind::Difference.exit_code();
    }
    done
}

/// What went, or would.
pub(super) fn pruned(gone: &[Item], prune: Prune, dry_run: bool) -> Done {
    let verb = if dry_run { "Would remove" } else { "Removed" };
    let mut words: String = Shelf::ALL
        .into_iter()
        .filter_map(|shelf| {
            let on_it: Vec<&Item> = gone.iter().filter(|item| item.shelf == shelf).collect();
            let size = (!on_it.is_empty()).then(|| bytes(sum(&on_it)))?;
            Some(format!("{verb} {} {}, {size}\n", on_it.len(), kind(shelf)))
        })
        .collect();
    words += &format!("Total: {}", bytes(sum(gone)));
    if prune.is_for_leftovers() && !dry_run {
        words += "; --older-than, --keep-storage or --all removes what builds use too";
    }
    let json: Vec<Value> = gone.iter().map(fact).collect();
    Done::new(words, json!({ "removed": json, "bytes": sum(gone), "dry_run": dry_run }))
}

fn sum<'a>(items: impl IntoIterator<Item = &'a (impl std::borrow::Borrow<Item> + 'a)>) -> u64 {
    items.into_iter().map(|item| item.borrow().bytes).sum()
}

fn fact(item: &Item) -> Value {
    let used = item.used.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({ "kind": kind(item.shelf), "path": item.path.display().to_string(), "bytes": item.bytes, "last_used": used })
}

fn kind(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Blobs => "blobs",
        Shelf::Tars => "tars",
        Shelf::Layers => "layers",
        Shelf::Trees => "trees",
        Shelf::Steps => "steps",
        Shelf::Parts => "parts",
        Shelf::Hashes => "hashes",
        Shelf::Repositories => "repositories",
        Shelf::Caches => "caches",
        Shelf::Leftovers => "leftovers",
    }
}

fn what(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Blobs => "compressed layers, configs and manifests",
        Shelf::Tars => "uncompressed layers that files were read from",
        Shelf::Layers => "layers unpacked for RUN",
        Shelf::Trees => "the paths of layers",
        Shelf::Steps => "what steps gave: the build cache",
        Shelf::Parts => "what steps' keys were made of, for --explain",
        Shelf::Hashes => "the digests of the context's files",
        Shelf::Repositories => "git repositories",
        Shelf::Caches => "RUN --mount=type=cache",
        Shelf::Leftovers => "what killed processes left",
    }
}

fn ago(used: SystemTime) -> String {
    let seconds = SystemTime::now().duration_since(used).unwrap_or_default().as_secs();
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        3600..86_400 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// Columns as wide as what stands in them; numbers and sizes to the right.
fn table(rows: &[[String; 4]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (first, second, third) = (width(0), width(1), width(2));
    rows.iter().map(|[a, b, c, d]| format!("{a:first$}  {b:>second$}  {c:>third$}  {d}\n")).collect()
}

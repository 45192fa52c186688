//! Words for what is not the same in two images.

use serde_json::{Value, json};

use super::{Done, Kind, escape};
use crate::image::{DocumentChange, Field, LayerChange};
use crate::layer::compare::{Aspect, Difference, Excerpt, Line, Mark, Name, Raw, Side};
use crate::road::{Compared, Differences, Verified};

/// The longest value of a document that is shown whole, in characters.
const VALUE: usize = 300;

/// The differences as the answer; with exit code 1 when there are some.
pub(super) fn answer(differences: &Differences) -> Done {
    let mut done = Done::new(words(differences), json(differences));
    if !differences.is_empty() {
        done.exit_code = Kind::Difference.exit_code();
    }
    done
}

/// The same for two builds of one thing.
pub(super) fn verified(verified: &Verified) -> Done {
    let mut done = answer(&verified.differences);
    let varied = verified.varied.join(", ");
    done.text.push_str(&format!("varied {varied}\n"));
    if let Value::Object(fields) = &mut done.json {
        fields.insert("varied".to_owned(), json!(verified.varied));
    }
    done
}

/// Everything that differs, a line or a few for each.
pub(super) fn words(differences: &Differences) -> String {
    let Differences { images, changes, paths } = differences;
    let mut out = Text::default();
    let digest = |of: &Compared| format!("{}  {}", of.digest, escape::text(&of.name));
    if differences.is_empty() {
        out.line(0, &format!("same   {}", digest(&images[0])));
        out.line(0, &format!("       {}", digest(&images[1])));
        return out.0;
    }
    out.line(0, &format!("left   {}", digest(&images[0])));
    out.line(0, &format!("right  {}", digest(&images[1])));
    out.document("manifest", &changes.manifest);
    out.document("config", &changes.config);
    for (change, paths) in changes.layers.iter().zip(paths) {
        out.layer(change, images);
        paths.iter().for_each(|difference| out.difference(difference));
    }
    out.0
}

pub(super) fn json(differences: &Differences) -> Value {
    let Differences { images, changes, paths } = differences;
    let image = |of: &Compared| json!({ "image": of.name, "digest": of.digest, "layers": of.layers });
    let layers = changes.layers.iter().zip(paths).map(|(layer, paths)| {
        let LayerChange { numbers, instructions, diff_ids, fields } = layer;
        json!({
            "numbers": numbers.map(|number| number.map(|number| number + 1)),
            "instructions": instructions,
            "diff_ids": diff_ids,
            "fields": fields,
            "paths": paths,
        })
    });
    json!({
        "same": differences.is_empty(),
        "left": image(&images[0]),
        "right": image(&images[1]),
        "manifest": changes.manifest,
        "config": changes.config,
        "layers": layers.collect::<Vec<_>>(),
    })
}

/// Lines, indented; everything that comes from an image is escaped before it gets here.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, indent: usize, words: &str) {
        self.0.push_str(&" ".repeat(indent));
        self.0.push_str(words.trim_end());
        self.0.push('\n');
    }

    fn document(&mut self, name: &str, change: &DocumentChange) {
        match change {
            DocumentChange::Same => {}
            DocumentChange::Writing => self.line(0, &format!("{name}: the same, written in other bytes")),
            DocumentChange::Fields(fields) => {
                self.line(0, name);
                fields.iter().for_each(|field| self.field(field));
            }
        }
    }

    fn field(&mut self, Field { field, values }: &Field) {
        let value = |value: &Option<Value>| match value {
            None => "nothing".to_owned(),
            Some(value) => shortened(&escape::text(&value.to_string())),
        };
        let [left, right] = values;
        self.line(2, &format!("{}: {} → {}", escape::text(field), value(left), value(right)));
    }

    fn layer(&mut self, change: &LayerChange, images: &[Compared; 2]) {
        let LayerChange { numbers, instructions, diff_ids, fields } = change;
        let of = |side: usize| numbers[side].map(|number| format!("{} of {}", number + 1, images[side].layers));
        let said = |side: usize| instructions[side].as_ref().map(|line| escape::first_line(line)).unwrap_or_default();
        let title = match (of(0), of(1)) {
            (Some(left), Some(right)) if left == right && said(0) == said(1) => format!("layer {left}  {}", said(0)),
            (Some(left), Some(right)) if said(0) == said(1) => format!("layer {left} → {right}  {}", said(0)),
            (Some(left), Some(right)) => format!("layer {left}  {} → layer {right}  {}", said(0), said(1)),
            (Some(left), None) => format!("layer {left}  {}: only left", said(0)),
            (None, Some(right)) => format!("layer {right}  {}: only right", said(1)),
            (None, None) => String::new(),
        };
        self.line(0, &title);
        if let [Some(left), Some(right)] = diff_ids {
            match left == right {
                true => self.line(2, &format!("the same tar, {}, in another blob", left.short())),
                false => self.line(2, &format!("{} → {}", left.short(), right.short())),
            }
        }
        fields.iter().for_each(|field| self.field(field));
    }

    fn difference(&mut self, difference: &Difference) {
        match difference {
            Difference::Only { side, name, what } => {
                let side = match side {
                    Side::Left => "left",
                    Side::Right => "right",
                };
                let what = if name.mark == Mark::Entry { format!(" ({what})") } else { String::new() };
                self.line(2, &format!("{}: only {side}{what}", shown(name)));
            }
            Difference::Changed { name, aspects } => {
                self.line(2, &shown(name));
                aspects.iter().for_each(|aspect| self.aspect(aspect));
            }
            Difference::Order([left, right]) => {
                self.line(2, &format!("order: {} on the left is where {} is on the right", shown(left), shown(right)));
            }
            Difference::Framing { at, excerpt } => {
                self.line(2, &format!("all entries are the same, and the tars differ from byte {at} on"));
                self.excerpt(excerpt);
            }
        }
    }

    fn aspect(&mut self, aspect: &Aspect) {
        let words = match aspect {
            Aspect::Kind([left, right]) => format!("kind: {left} → {right}"),
            Aspect::Mode([left, right]) => format!("mode: {left:04o} → {right:04o}"),
            Aspect::Owner([left, right]) => format!("owner: {}:{} → {}:{}", left.0, left.1, right.0, right.1),
            Aspect::Time([left, right]) => format!("time: {left} → {right}"),
            Aspect::Device([left, right]) => format!("device: {},{} → {},{}", left.0, left.1, right.0, right.1),
            Aspect::Link([left, right]) => format!("link: {} → {}", value(Some(left)), value(Some(right))),
            Aspect::Content { sizes: [left, right], at, excerpt } => {
                let sizes = if left == right { format!("{left}") } else { format!("{left} → {right}") };
                self.line(4, &format!("content: {sizes} bytes, different from byte {at} on"));
                return self.excerpt(excerpt);
            }
            Aspect::Xattr { name, values: [left, right] } => {
                let name = escape::text(name);
                format!("attribute {name}: {} → {}", value(left.as_ref()), value(right.as_ref()))
            }
            Aspect::Times([left, right]) => format!("in the tar: {left} → {right} times"),
            Aspect::Header { field, values: [left, right] } => {
                let field = escape::text(field);
                format!("header, {field}: {} → {}", value(left.as_ref()), value(right.as_ref()))
            }
        };
        self.line(4, &words);
    }

    fn excerpt(&mut self, excerpt: &Excerpt) {
        match excerpt {
            Excerpt::None => {}
            Excerpt::Lines(lines) => {
                for line in lines {
                    let text = |Raw(bytes): &Raw| match bytes.strip_suffix(b"\n") {
                        Some(line) => escape::line(line),
                        None => format!("{} (no line feed)", escape::line(bytes)),
                    };
                    let words = match line {
                        Line::At([left, right]) if left == right => format!("@@ line {left} @@"),
                        Line::At([left, right]) => format!("@@ line {left}, right {right} @@"),
                        Line::Both(line) => format!(" {}", text(line)),
                        Line::Left(line) => format!("-{}", text(line)),
                        Line::Right(line) => format!("+{}", text(line)),
                        Line::More => "…".to_owned(),
                    };
                    self.line(6, &words);
                }
            }
            Excerpt::Bytes { from, bytes: [Raw(left), Raw(right)] } => {
                let rows = left.len().max(right.len()).div_ceil(ROW);
                let row = |bytes: &[u8], at: usize| bytes.get(at..(at + ROW).min(bytes.len())).map(<[u8]>::to_vec);
                for at in (0..rows).map(|row| row * ROW) {
                    let [left, right] = [row(left, at), row(right, at)];
                    let offset = from + at as u64;
                    if left == right {
                        self.line(6, &format!(" {}", dump(offset, &left.unwrap_or_default())));
                        continue;
                    }
                    left.filter(|row| !row.is_empty())
                        .into_iter()
                        .for_each(|row| self.line(6, &format!("-{}", dump(offset, &row))));
                    right
                        .filter(|row| !row.is_empty())
                        .into_iter()
                        .for_each(|row| self.line(6, &format!("+{}", dump(offset, &row))));
                }
            }
        }
    }
}

/// The bytes in one line of a dump.
const ROW: usize = 16;

/// `00000040  2f 62 69 6e  |/bin|`
fn dump(offset: u64, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let shown = |byte: &u8| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' };
    format!("{offset:08x}  {:<48} |{}|", hex.join(" "), bytes.iter().map(shown).collect::<String>())
}

fn shown(Name { path, mark }: &Name) -> String {
    let path = escape::text(&path.to_string());
    match mark {
        Mark::Entry => path,
        Mark::Whiteout => format!("{path} (whiteout)"),
        Mark::Opaque => format!("{path} (opaque)"),
    }
}

fn value(raw: Option<&Raw>) -> String {
    // A field of a header ends with NULs.
    let text = |Raw(bytes): &Raw| {
        let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |at| at + 1);
        format!("`{}`", shortened(&escape::line(&bytes[..end])))
    };
    raw.map_or("nothing".to_owned(), text)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} more bytes)", &text[..end], text.len() - end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(difference: &Difference) -> String {
        let mut out = Text::default();
        out.difference(difference);
        out.0
    }

    fn changed(aspects: Vec<Aspect>) -> String {
        let name: Name = name(b"app/f\x1b[2J");
        told(&Difference::Changed { name, aspects })
    }

    fn name(path: &[u8]) -> Name {
        Name { path: crate::layer::LayerPath::parse(path).expect("a path"), mark: Mark::Entry }
    }

    fn raw(bytes: &[u8]) -> Raw {
        Raw(bytes.to_vec())
    }

    #[test]
    fn a_changed_path_is_told_with_each_aspect_and_cannot_steer_the_terminal() {
        let lines = Excerpt::Lines(vec![
            Line::At([8, 8]),
            Line::Both(raw(b"same\n")),
            Line::Left(raw(b"old\x07\n")),
            Line::Right(raw(b"new")),
        ]);
        let content = Aspect::Content { sizes: [9, 8], at: 5, excerpt: lines };
        let xattr = Aspect::Xattr { name: "user.a".into(), values: [None, Some(raw(b"\xff"))] };
        assert_eq!(
            changed(vec![content, Aspect::Mode([0o644, 0o4755]), Aspect::Owner([(0, 0), (33, 33)]), xattr]),
            "\x20 /app/f\\u{1b}[2J\n\
             \x20   content: 9 → 8 bytes, different from byte 5 on\n\
             \x20     @@ line 8 @@\n\
             \x20      same\n\
             \x20     -old\\x07\n\
             \x20     +new (no line feed)\n\
             \x20   mode: 0644 → 4755\n\
             \x20   owner: 0:0 → 33:33\n\
             \x20   attribute user.a: nothing → `\\xff`\n"
        );
    }

    #[test]
    fn bytes_are_dumped_where_they_differ() {
        let bytes = [raw(b"\x7fELF............same"), raw(b"\x7fELF...........!same")];
        let content = Aspect::Content { sizes: [20, 20], at: 15, excerpt: Excerpt::Bytes { from: 32, bytes } };
        let words = changed(vec![content]);
        let expected = [
            "      -00000020  7f 45 4c 46 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e  |.ELF............|",
            "      +00000020  7f 45 4c 46 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 21  |.ELF...........!|",
            "       00000030  73 61 6d 65                                      |same|",
        ];
        assert_eq!(words.lines().skip(2).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_one_side_has_alone_and_another_order_are_a_line_each() {
        let whiteout = Name { mark: Mark::Whiteout, ..name(b"etc/shadow") };
        let only = Difference::Only { side: Side::Right, name: whiteout, what: "marker" };
        assert_eq!(told(&only), "  /etc/shadow (whiteout): only right\n");
        let only = Difference::Only { side: Side::Left, name: name(b"a"), what: "file" };
        assert_eq!(told(&only), "  /a: only left (file)\n");
        let order = Difference::Order([name(b"a"), name(b"b")]);
        assert_eq!(told(&order), "  order: /a on the left is where /b is on the right\n");
    }
}

//! How two images differ in what their documents say: manifest, config, and which layers stand for which.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use similar::{Algorithm, DiffOp, capture_diff_slices};

use super::{Descriptor, Digest, Image, ImageConfig, Manifest};

/// The longest list whose values are looked for at other places of the other list: the time that takes grows with the
/// square of it.
const LIST: usize = 4000;

/// The documents of an image.
#[derive(Clone, Debug)]
pub struct ImageFacts {
    /// An archive of Docker's has none.
    pub manifest: Option<ManifestFacts>,
    pub config: ImageConfig,
    pub config_json: Vec<u8>,
}

/// A manifest, and the very bytes of it.
#[derive(Clone, Debug)]
pub struct ManifestFacts {
    pub manifest: Manifest,
    /// As it came: its digest is the image's.
    pub json: Vec<u8>,
}

/// What is not the same in two images, but for the paths in their layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageChanges {
    /// Without what the config and the layers explain.
    pub manifest: DocumentChange,
    /// Without its list of layers.
    pub config: DocumentChange,
    /// Every layer of either image that is not the same in the other, the lowest first.
    pub layers: Vec<LayerChange>,
}

/// How two documents of the same kind differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentChange {
    Same,
    Fields(Vec<Field>),
    /// It says the same in other bytes: keys in another order, or white space.
    Writing,
}

/// A value of a document: `config.Env[2]`, on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    pub field: String,
    pub values: [Option<Value>; 2],
}

/// A layer that is not the same in two images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerChange {
    /// Counted from 0; a layer that only one side has has no number on the other.
    pub numbers: [Option<usize>; 2],
    /// The history's line for it.
    pub instructions: [Option<String>; 2],
    pub diff_ids: [Option<Digest>; 2],
    /// Of its descriptor in the manifest. The digests of blobs are there only where the tars in them are the same.
    pub fields: Vec<Field>,
}

impl ImageFacts {
    pub fn of(image: Image, manifest_json: Vec<u8>) -> Self {
        let Image { manifest, config, config_json } = image;
        Self { manifest: Some(ManifestFacts { manifest, json: manifest_json }), config, config_json }
    }

    /// The manifest's digest; where there is none, the config's.
    pub fn digest(&self) -> Digest {
        Digest::of(self.manifest.as_ref().map_or(&self.config_json, |manifest| &manifest.json))
    }

    /// The descriptor of a layer, counted from the lowest.
    pub fn layer(&self, number: usize) -> Option<&Descriptor> {
        self.manifest.as_ref()?.manifest.layers.get(number)
    }

    /// The lines of the history that made a layer, one a layer as far as there are.
    fn instructions(&self) -> Vec<Option<&str>> {
        let made = self.config.history.iter().filter(|line| !line.empty_layer);
        let lines = made.map(|line| line.created_by.as_deref()).chain(std::iter::repeat(None));
        lines.take(self.config.rootfs.diff_ids.len()).collect()
    }
}

impl ImageChanges {
    pub fn between(left: &ImageFacts, right: &ImageFacts) -> Self {
        let sides = [left, right];
        let descriptors = manifests(sides).map(|manifests| manifests.map(|value| value["layers"].clone()));
        Self { manifest: manifest(sides), config: config(sides), layers: layers(sides, descriptors.as_ref()) }
    }

    pub fn is_empty(&self) -> bool {
        let Self { manifest, config, layers } = self;
        *manifest == DocumentChange::Same && *config == DocumentChange::Same && layers.is_empty()
    }
}

/// Both manifests; none where one side has none, and so there is nothing to compare.
fn manifests(sides: [&ImageFacts; 2]) -> Option<[Value; 2]> {
    let [Some(left), Some(right)] = sides.map(|side| side.manifest.as_ref()) else { return None };
    Some([left, right].map(|manifest| parsed(&manifest.json)))
}

/// Whoever made the facts has read it as JSON.
fn parsed(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_default()
}

fn manifest(sides: [&ImageFacts; 2]) -> DocumentChange {
    let [Some(left), Some(right)] = sides.map(|side| side.manifest.as_ref()) else { return DocumentChange::Same };
    let same_config = sides[0].config_json == sides[1].config_json;
    document([&left.json, &right.json], |value| {
        let Value::Object(fields) = value else { return };
        fields.remove("layers");
        if let Some(Value::Object(config)) = fields.get_mut("config").filter(|_| !same_config) {
            config.remove("digest");
            config.remove("size");
        }
    })
}

fn config(sides: [&ImageFacts; 2]) -> DocumentChange {
    document(sides.map(|side| &side.config_json[..]), |value| {
        if let Some(Value::Object(rootfs)) = value.get_mut("rootfs") {
            rootfs.remove("diff_ids");
        }
    })
}

/// `leave_out` takes away what is told elsewhere.
fn document(sides: [&[u8]; 2], leave_out: impl Fn(&mut Value)) -> DocumentChange {
    if sides[0] == sides[1] {
        return DocumentChange::Same;
    }
    let whole = sides.map(parsed);
    let told = whole.clone().map(|mut value| {
        leave_out(&mut value);
        value
    });
    let mut fields = Vec::new();
    compare(String::new(), [Some(&told[0]), Some(&told[1])], &mut fields);
    match fields.is_empty() {
        false => DocumentChange::Fields(fields),
        true if whole[0] == whole[1] => DocumentChange::Writing,
        true => DocumentChange::Same,
    }
}

fn compare(field: String, values: [Option<&Value>; 2], into: &mut Vec<Field>) {
    match values {
        [left, right] if left == right => {}
        [Some(Value::Object(left)), Some(Value::Object(right))] => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                let name = if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                compare(name, [left.get(key), right.get(key)], into);
            }
        }
        [Some(Value::Array(left)), Some(Value::Array(right))] => {
            for [at_left, at_right] in aligned(left, right) {
                let number = at_left.or(at_right).unwrap_or_default();
                let values = [at_left.and_then(|at| left.get(at)), at_right.and_then(|at| right.get(at))];
                compare(format!("{field}[{number}]"), values, into);
            }
        }
        values => into.push(Field { field, values: values.map(Option::<&Value>::cloned) }),
    }
}

/// Which value of one list stands for which of the other, without those that are the same.
fn aligned(left: &[Value], right: &[Value]) -> Vec<[Option<usize>; 2]> {
    if left.len() == right.len() || left.len().max(right.len()) > LIST {
        let longest = left.len().max(right.len());
        return (0..longest).map(|at| [Some(at), Some(at)]).collect();
    }
    let texts = [left, right].map(|list| list.iter().map(Value::to_string).collect::<Vec<_>>());
    pairs(&texts[0], &texts[1])
}

fn pairs<T: Eq + std::hash::Hash>(left: &[T], right: &[T]) -> Vec<[Option<usize>; 2]> {
    let mut pairs = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, left, right) {
        if let DiffOp::Equal { .. } = op {
            continue;
        }
        let (old, new) = (op.old_range(), op.new_range());
        let within = |range: &std::ops::Range<usize>, at: usize| Some(range.start + at).filter(|at| range.contains(at));
        pairs.extend((0..old.len().max(new.len())).map(|at| [within(&old, at), within(&new, at)]));
    }
    pairs
}

fn layers(sides: [&ImageFacts; 2], descriptors: Option<&[Value; 2]>) -> Vec<LayerChange> {
    let diff_ids = sides.map(|side| &side.config.rootfs.diff_ids);
    let instructions = sides.map(ImageFacts::instructions);
    let mut changes = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, diff_ids[0], diff_ids[1]) {
        let (old, new) = (op.old_range(), op.new_range());
        let by_place = || old.clone().zip(new.clone()).map(|(left, right)| [Some(left), Some(right)]).collect();
        let pairs: Vec<[Option<usize>; 2]> = match op {
            DiffOp::Equal { .. } => by_place(),
            _ if old.len() == new.len() => by_place(),
            _ => by_instruction(&instructions, old, new),
        };
        for numbers in pairs {
            let of = |side: usize| numbers[side].and_then(|number| diff_ids[side].get(number).copied());
            let diff_ids = [of(0), of(1)];
            let said = |side: usize| numbers[side].and_then(|number| instructions[side][number].map(str::to_owned));
            let fields = match (descriptors, numbers) {
                (Some(layers), [Some(left), Some(right)]) => {
                    descriptor([&layers[0][left], &layers[1][right]], diff_ids[0] == diff_ids[1])
                }
                _ => Vec::new(),
            };
            if diff_ids[0] != diff_ids[1] || !fields.is_empty() {
                changes.push(LayerChange { numbers, instructions: [said(0), said(1)], diff_ids, fields });
            }
        }
    }
    changes
}

/// Where an instruction was added or taken away, the layers of the others stand for each other.
fn by_instruction(
    instructions: &[Vec<Option<&str>>; 2],
    left: std::ops::Range<usize>,
    right: std::ops::Range<usize>,
) -> Vec<[Option<usize>; 2]> {
    let said = [&instructions[0][left.clone()], &instructions[1][right.clone()]];
    let at = |range: &std::ops::Range<usize>, number: usize| range.start + number;
    let mut pairs = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, said[0], said[1]) {
        let (old, new) = (op.old_range(), op.new_range());
        if old.len() == new.len() {
            pairs.extend(old.zip(new).map(|(l, r)| [Some(at(&left, l)), Some(at(&right, r))]));
        } else {
            pairs.extend(old.map(|l| [Some(at(&left, l)), None]));
            pairs.extend(new.map(|r| [None, Some(at(&right, r))]));
        }
    }
    pairs
}

fn descriptor(sides: [&Value; 2], same_tar: bool) -> Vec<Field> {
    let mut fields = Vec::new();
    compare(String::new(), [Some(sides[0]), Some(sides[1])], &mut fields);
    // With another tar, another blob goes without saying.
    fields.retain(|field| same_tar || !matches!(field.field.as_str(), "digest" | "size"));
    fields
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{History, MediaType};
    use super::*;

    /// An image of these layers: what is in each, and the instruction that made it.
    fn image(layers: &[(&str, &str)], change: impl FnOnce(&mut ImageConfig)) -> ImageFacts {
        let mut config = ImageConfig::default();
        let mut blobs = Vec::new();
        for (tar, instruction) in layers {
            config.rootfs.diff_ids.push(Digest::of(tar.as_bytes()));
            config.history.push(History { created_by: Some((*instruction).to_owned()), ..History::default() });
            let blob = Digest::of(format!("gzip of {tar}").as_bytes());
            blobs.push(Descriptor::new(MediaType::new(MediaType::OCI_LAYER_GZIP), blob, 9));
        }
        change(&mut config);
        let image = Image::new(config, blobs, Default::default());
        let json = image.manifest.to_json();
        ImageFacts::of(image, json)
    }

    fn fields(change: &DocumentChange) -> Vec<String> {
        let DocumentChange::Fields(fields) = change else { return Vec::new() };
        let value = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        let line = |f: &Field| format!("{} {} {}", f.field, value(&f.values[0]), value(&f.values[1]));
        fields.iter().map(line).collect()
    }

    fn numbers(changes: &ImageChanges) -> Vec<[Option<usize>; 2]> {
        changes.layers.iter().map(|layer| layer.numbers).collect()
    }

    #[test]
    fn an_image_differs_from_itself_in_nothing() {
        let one = image(&[("a", "A"), ("b", "B")], |_| {});
        assert!(ImageChanges::between(&one, &one).is_empty());
    }

    #[test]
    fn a_field_of_the_config_is_told_by_its_name_and_the_manifest_says_no_more() {
        let env = |env: &[&str]| image(&[], |c| c.config.env = env.iter().map(|e| (*e).to_owned()).collect());
        let changes = ImageChanges::between(&env(&["A=1", "B=2"]), &env(&["A=1", "B=3"]));
        assert_eq!(fields(&changes.config), [r#"config.Env[1] "B=2" "B=3""#]);
        assert_eq!((&changes.manifest, changes.layers.len()), (&DocumentChange::Same, 0));
        let added = ImageChanges::between(&env(&["A=1", "B=2"]), &env(&["A=1", "X=0", "B=2"]));
        assert_eq!(fields(&added.config), [r#"config.Env[1] - "X=0""#]);
    }

    #[test]
    fn layers_stand_for_each_other_by_place_or_by_instruction() {
        let one = image(&[("base", ""), ("a", "COPY a"), ("b", "COPY b")], |_| {});
        let changed = image(&[("base", ""), ("a", "COPY a"), ("b2", "COPY b")], |_| {});
        let changes = ImageChanges::between(&one, &changed);
        assert_eq!(numbers(&changes), [[Some(2), Some(2)]]);
        assert_eq!(changes.layers[0].instructions, [Some("COPY b".to_owned()), Some("COPY b".to_owned())]);
        assert_eq!(changes.config, DocumentChange::Same, "the layers say it");

        let more = image(&[("base", ""), ("new", "RUN x"), ("a2", "COPY a"), ("b2", "COPY b")], |_| {});
        let changes = ImageChanges::between(&one, &more);
        assert_eq!(numbers(&changes), [[None, Some(1)], [Some(1), Some(2)], [Some(2), Some(3)]]);
    }

    #[test]
    fn the_same_tar_in_another_blob_is_told() {
        let one = image(&[("a", "A")], |_| {});
        let mut other = one.clone();
        let manifest = other.manifest.as_mut().unwrap();
        manifest.manifest.layers[0].digest = Digest::of(b"packed otherwise");
        manifest.json = manifest.manifest.to_json();
        let changes = ImageChanges::between(&one, &other);
        assert_eq!(changes.layers[0].fields.iter().map(|f| f.field.as_str()).collect::<Vec<_>>(), ["digest"]);
        assert_eq!(changes.manifest, DocumentChange::Same);
    }

    #[test]
    fn documents_that_say_the_same_in_other_bytes_are_not_the_same() {
        let one = image(&[], |_| {});
        let written = |json: Vec<u8>| {
            let mut other = one.clone();
            other.manifest.as_mut().unwrap().json = json;
            ImageChanges::between(&one, &other).manifest
        };
        let json = one.manifest.as_ref().unwrap().json.clone();
        assert_eq!(written([b" ", &json[..]].concat()), DocumentChange::Writing);
        let mut value = parsed(&json);
        value["subject"] = json!({"size": 1});
        assert_eq!(fields(&written(value.to_string().into_bytes())), [r#"subject - {"size":1}"#]);
    }

    #[test]
    fn an_archive_without_a_manifest_is_compared_by_its_config_and_layers() {
        let one = image(&[("a", "A")], |_| {});
        let saved = ImageFacts { manifest: None, ..one.clone() };
        assert!(ImageChanges::between(&one, &saved).is_empty());
        let other = ImageFacts { manifest: None, ..image(&[("b", "A")], |_| {}) };
        assert_eq!(numbers(&ImageChanges::between(&one, &other)), [[Some(0), Some(0)]]);
    }
}

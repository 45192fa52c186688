//! The everyday Dockerfile: `testdata/cases/*.txt` are Dockerfiles, the context of each, and what must come of them.
//!
//! A case is parts under headings `-- NAME --`:
//! `Dockerfile`; `context/PATH [MODE]` with the file's text, where PATH may end in `-> TARGET` for a symlink and a part of
//! PATH in `.tar.gz` or `.tar` for a file within an archive; `flags` of the build; `files` that the image has above its
//! busybox, one a line as `PATH META ["CONTENT"]`; `config`, keys of the image's config with their values as JSON.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::image::Image;
use crate::place::Place;

#[test]
fn each_case_gives_the_files_and_the_config_that_it_names() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/cases");
    let mut cases: Vec<_> =
        fs::read_dir(&folder).expect("it is there").map(|entry| entry.expect("ours").path()).collect();
    cases.sort();
    assert!(cases.len() > 10, "{}", folder.display());
    let place = Place::new();
    place.write("base/Dockerfile", "FROM busybox\n");
    place.run_in("base", &["build", "-o", "type=oci,dest=layout,tar=false", "."]).ok();
    let base = Image::of_folder(&place.path("base/layout"));
    let failures: Vec<String> = cases.iter().filter_map(|case| check(&place, &base, case).err()).collect();
    assert!(failures.is_empty(), "{} of {} cases failed\n\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(place: &Place, base: &Image, case: &Path) -> Result<(), String> {
    let text = fs::read_to_string(case).expect("it is text");
    let name = case.file_stem().expect("a name").to_string_lossy().into_owned();
    let parts = parts(&text);
    let part = |name: &str| parts.iter().find(|(heading, _)| *heading == name).map(|(_, text)| text.as_str());
    place.write(&format!("{name}/Dockerfile"), part("Dockerfile").expect("a case has a Dockerfile"));
    lay_out(place, &name, &parts);
    let dest = format!("type=oci,dest={},tar=false", place.path(&format!("out/{name}")).display());
    let mut args = vec!["build", "-f", "Dockerfile", "-o", &dest];
    args.extend(part("flags").unwrap_or_default().split_whitespace());
    args.push("context");
    fs::create_dir_all(place.path(&format!("{name}/context"))).expect("ours");
    fs::create_dir_all(place.path("out")).expect("ours");
    let ran = place.run_in(&name, &args);
    if ran.code != Some(0) {
        return Err(format!("{name}: {ran}\n"));
    }
    let image = Image::of_folder(&place.path(&format!("out/{name}")));
    if let Some(wanted) = part("files") {
        let on_busybox = image.layers.first() == base.layers.first();
        let files = image.files(usize::from(on_busybox));
        let lines: Vec<String> = files.iter().map(|(path, entry)| format!("{path} {entry}")).collect();
        let wanted: Vec<&str> = wanted.lines().collect();
        if lines != wanted {
            return Err(format!("{name}: the files are\n{}\nand should be\n{}\n", lines.join("\n"), wanted.join("\n")));
        }
    }
    if let Some(wanted) = part("config") {
        let wanted: BTreeMap<String, Value> = serde_json::from_str(wanted).expect("the case's config is JSON");
        for (key, value) in wanted {
            let found = &image.config["config"][&key];
            if *found != value {
                return Err(format!("{name}: the config's {key} is {found} and should be {value}\n"));
            }
        }
    }
    Ok(())
}

/// Heading and text, in their order.
fn parts(text: &str) -> Vec<(&str, String)> {
    let mut parts: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("-- ").and_then(|line| line.strip_suffix(" --")) {
            Some(heading) => parts.push((heading, String::new())),
            // What stands before the first heading says what the case is about.
            None => {
                if let Some((_, text)) = parts.last_mut() {
                    *text += line;
                    text.push('\n');
                }
            }
        }
    }
    parts
}

fn lay_out(place: &Place, name: &str, parts: &[(&str, String)]) {
    let mut archives: BTreeMap<String, Vec<(String, &str)>> = BTreeMap::new();
    for (heading, text) in parts.iter().filter(|(heading, _)| heading.starts_with("context/")) {
        let at = format!("{name}/{heading}");
        if let Some((path, target)) = at.split_once(" -> ") {
            place.link(path, target);
        } else if let Some((archive, path)) = at.split_once(".tar.gz/").map(|(a, p)| (format!("{a}.tar.gz"), p)) {
            archives.entry(archive).or_default().push((path.to_owned(), text));
        } else {
            let (path, mode) = at.split_once(' ').unwrap_or((&at, "0644"));
            place.write_mode(path, text, u32::from_str_radix(mode, 8).expect("an octal mode"));
        }
    }
    for (archive, files) in archives {
        place.write(&archive, gzipped(&files));
    }
}

/// A gzipped tar of these files, of the owner 7:8.
fn gzipped(files: &[(String, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_600_000_000);
        tar.append_data(&mut header, path, text.as_bytes()).expect("in memory");
    }
    let mut gzip = tar.into_inner().expect("in memory");
    gzip.flush().expect("in memory");
    gzip.finish().expect("in memory")
}

//! What RUNs download, in `locus.lock`: one line a download, so that what moved can be read in a diff.
//!
//! ```toml
//! [[dockerfiles."os_opendata.Dockerfile".runs]]
//! command = "RUN apt-get update"
//! platform = "linux/amd64"
//! step = "sha256:…"
//! downloads = [
//!   { url = "http://deb.debian.org/debian/dists/trixie/InRelease", size = 138737, sha256 = "sha256:…" },
//! ]
//! ```

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use toml::Spanned;
use toml::de::DeValue;

use crate::image::Platform;
use crate::replay::{Download, Downloads, Method, RunDownloads};

use super::Moved;
use super::lock_file::quoted;

/// Reads the list of RUNs; what is wrong comes with its place in the text, where that is known.
pub(super) fn read(value: Spanned<DeValue<'_>>) -> Result<Downloads, (Option<usize>, String)> {
    let downloads = Downloads::deserialize(value.into_deserializer());
    let downloads = downloads.map_err(|error| (error.span().map(|span| span.start), error.message().to_owned()))?;
    downloads.check().map_err(|error| (None, error.to_string()))?;
    Ok(downloads)
}

pub(super) fn write(f: &mut fmt::Formatter<'_>, head: &str, Downloads { runs }: &Downloads) -> fmt::Result {
    for RunDownloads { command, step, platform, downloads } in runs {
        writeln!(f, "\n[[{head}.runs]]\ncommand = {}", quoted(command))?;
        writeln!(f, "platform = {}\nstep = {}", quoted(platform), quoted(&step.to_string()))?;
        writeln!(f, "downloads = [")?;
        downloads.iter().try_for_each(|download| writeln!(f, "  {{ {} }},", row(download)))?;
        writeln!(f, "]")?;
    }
    Ok(())
}

fn row(download: &Download) -> String {
    let Download { url, method, varies, status, size, sha256, headers, signed } = download;
    let mut fields = vec![format!("url = {}", quoted(url.as_str()))];
    if *method == Method::Head {
        fields.push("method = \"HEAD\"".to_owned());
    }
    if *status != 200 {
        fields.push(format!("status = {status}"));
    }
    if *size != 0 {
        fields.push(format!("size = {size}"));
    }
    fields.extend(sha256.map(|digest| format!("sha256 = {}", quoted(&digest.to_string()))));
    let table = |name: &str, values: &BTreeMap<String, String>| {
        let pairs = values.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value)));
        let pairs = pairs.collect::<Vec<_>>().join(", ");
        (!values.is_empty()).then(|| format!("{name} = {{ {pairs} }}"))
    };
    fields.extend(table("varies", varies));
    fields.extend(table("headers", headers));
    if *signed {
        fields.push("signed = true".to_owned());
    }
    fields.join(", ")
}

/// Keeps what older pins say of RUNs for other platforms.
pub(super) fn with_other_runs(mut now: Downloads, older: &Downloads, of: &Platform) -> Downloads {
    let of = of.to_string();
    now.runs.extend(older.runs.iter().filter(|run| run.platform != of).cloned());
    now
}

/// Where two recordings differ: a RUN that is new or gone in one line, one that is in both download by download.
pub(super) fn moved_downloads(was: Option<&Downloads>, now: Option<&Downloads>) -> Vec<Moved> {
    let of = |all: Option<&Downloads>| all.map(|all| all.runs.clone()).unwrap_or_default();
    let (was, now) = (of(was), of(now));
    let mut moved = Vec::new();
    for run in &was {
        match now.iter().find(|other| other.step == run.step) {
            Some(other) => moved.extend(between(run, other)),
            None => moved.push(Moved { what: run.command.clone(), was: Some(count(run)), is: None }),
        }
    }
    let new = now.iter().filter(|run| !was.iter().any(|other| other.step == run.step));
    moved.extend(new.map(|run| Moved { what: run.command.clone(), was: None, is: Some(count(run)) }));
    moved
}

fn between(was: &RunDownloads, now: &RunDownloads) -> Vec<Moved> {
    let told = |run: &RunDownloads| -> BTreeMap<String, String> {
        let name = |download: &Download| {
            let head = if download.method == Method::Head { "HEAD " } else { "" };
            let chosen: Vec<_> = download.varies.iter().map(|(name, value)| format!(" {name}: {value}")).collect();
            format!("{head}{}{}", download.url, chosen.join(","))
        };
        let content = |Download { status, sha256, headers, .. }: &Download| match sha256 {
            Some(digest) => digest.to_string(),
            None => format!("{status} {}", headers.get("location").cloned().unwrap_or_default()).trim_end().to_owned(),
        };
        run.downloads.iter().map(|download| (name(download), content(download))).collect()
    };
    let (was, now) = (told(was), told(now));
    let names = was.keys().chain(now.keys().filter(|name| !was.contains_key(*name)));
    names
        .filter(|name| was.get(*name) != now.get(*name))
        .map(|name| Moved { what: name.clone(), was: was.get(name).cloned(), is: now.get(name).cloned() })
        .collect()
}

fn count(run: &RunDownloads) -> String {
    let many = run.downloads.len();
    let bytes: u64 =
        run.downloads.iter().filter(|download| download.sha256.is_some()).map(|download| download.size).sum();
    format!("{many} download{}, {bytes} bytes, for {}", if many == 1 { "" } else { "s" }, run.platform)
}

#[cfg(test)]
mod tests {
    use super::super::LockFile;
    use super::*;

    const LOCK: &str = r#"# What builds take from outside, pinned. Written by `locus-push lock`, and obeyed when it is there; it belongs into
# version control.
version = 1

[dockerfiles."none"]
runs = []

[[dockerfiles."x".runs]]
command = "RUN wget \"http://h/a\""
platform = "linux/amd64"
step = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
downloads = [
  { url = "http://h/a", size = 3, sha256 = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", varies = { "accept" = "a/b" }, headers = { "etag" = "\"x\"", "vary" = "Accept" } },
  { url = "http://h/b", method = "HEAD", status = 404 },
  { url = "http://h/c", status = 302, headers = { "location" = "http://h/d" }, signed = true },
]
"#;

    fn runs(text: &str) -> Downloads {
        LockFile::parse(text).expect("a lock").dockerfiles["x"].runs.clone().expect("it was recorded")
    }

    #[test]
    fn downloads_are_written_as_they_are_read() {
        assert_eq!(LockFile::parse(LOCK).expect("a lock").to_string(), LOCK);
    }

    #[test]
    fn what_is_wrong_with_a_download_is_told_with_its_line() {
        for (from, to, line, why) in [
            (
                "status = 404",
                "status = 503",
                8,
                "what RUN downloads: http://h/b: the status 503 is not one that is recorded",
            ),
            (
                "method = \"HEAD\"",
                "method = \"PUT\"",
                14,
                "what RUN downloads: unknown variant `PUT`, expected `GET` or `HEAD`",
            ),
            (
                "http://h/c",
                "http://u:p@h/c",
                15,
                "what RUN downloads: `http://h/c` is not the URL of a download: it was written with a credential, or in another form",
            ),
        ] {
            let bad = LockFile::parse(&LOCK.replace(from, to)).expect_err(from);
            assert_eq!((bad.line, bad.to_string().as_str()), (line, why));
        }
    }

    #[test]
    fn what_moved_is_told_download_by_download() {
        let was = runs(LOCK);
        let now = runs(&LOCK.replacen("status = 404", "status = 410", 1).replacen("http://h/d", "http://h/e", 1));
        let told = |was, now| {
            let lines = moved_downloads(was, now).into_iter();
            lines.map(|Moved { what, was, is }| format!("{what}: {was:?} {is:?}")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            told(Some(&was), Some(&now)),
            "HEAD http://h/b: Some(\"404\") Some(\"410\")\nhttp://h/c: Some(\"302 http://h/d\") Some(\"302 http://h/e\")"
        );
        assert_eq!(
            told(None, Some(&now)),
            "RUN wget \"http://h/a\": None Some(\"3 downloads, 3 bytes, for linux/amd64\")"
        );
        assert_eq!(told(Some(&was), Some(&was)), "");
    }

    #[test]
    fn runs_for_other_platforms_stay() {
        let now = runs(LOCK);
        let other = runs(&LOCK.replace("linux/amd64", "linux/arm64"));
        let of = "linux/amd64".parse().expect("a platform");
        assert_eq!(with_other_runs(now.clone(), &other, &of).runs.len(), 2);
        assert_eq!(with_other_runs(Downloads::default(), &now, &of), Downloads::default());
    }
}

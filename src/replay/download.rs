//! What was downloaded, as `locus.lock` holds it.
//!
//! In one recording a URL means one thing: what was answered first with success is what every later step is given,
//! so that `apt-get update` in two steps is one state of the mirror, and no order has to be kept. Of a URL that was
//! not there and then was (a loop that waits for it), the last answer is the one that counts.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::address::Address;
use crate::image::{Digest, Hasher};

/// The most downloads of a step, and the longest value of a header. `npm ci` of a large project makes some thousands.
const DOWNLOADS: usize = 100_000;
const VALUE: usize = 4 << 10;

/// The headers of an answer that are recorded: what clients decide by. No cookies, no dates, nothing of the server.
pub(super) const HEADERS: [&str; 8] = [
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "etag",
    "last-modified",
    "location",
    "vary",
];

/// The headers of a request that an answer may be chosen by (`Vary`), and that are no credential.
pub(super) const CHOOSING: [&str; 3] = ["accept", "accept-encoding", "accept-language"];

/// What the RUNs of a build downloaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Downloads {
    pub runs: Vec<RunDownloads>,
}

/// What one RUN downloaded, in the order of the addresses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunDownloads {
    /// For people.
    pub command: String,
    /// What the RUN is: see `build`.
    pub step: Digest,
    /// What it was built for.
    pub platform: String,
    pub downloads: Vec<Download>,
}

/// A RUN of this build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it is: the same for the same command, whatever it stands on.
    pub step: Digest,
    /// For people.
    pub text: String,
    pub platform: String,
    /// The stage's number, and its own there: the order in which the lock has it.
    pub place: (usize, usize),
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    pub url: Address,
    #[serde(default)]
    pub method: Method,
    /// What the answer was chosen by, of the request's headers.
    #[serde(default)]
    pub varies: BTreeMap<String, String>,
    #[serde(default = "ok")]
    pub status: u16,
    /// Of the body; for HEAD, of the body that there would be.
    #[serde(default)]
    pub size: u64,
    /// Of the body as it came, in whatever encoding. None where there is none: HEAD, redirects, refusals.
    #[serde(default)]
    pub sha256: Option<Digest>,
    /// Those of `HEADERS`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The redirect leads to an address with a signature, which is not recorded.
    #[serde(default)]
    pub signed: bool,
}

/// The two methods of HTTP whose answers can be held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    #[default]
    Get,
    Head,
}

/// Why what a lock file says of downloads cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDownloads {
    #[error("a RUN has {0} downloads, more than {DOWNLOADS}")]
    Many(usize),
    #[error("{url}: {why}")]
    Download { url: Address, why: String },
}

impl Downloads {
    /// Holds what was read to what we would have written.
    pub fn check(&self) -> Result<(), BadDownloads> {
        for run in &self.runs {
            if run.downloads.len() > DOWNLOADS {
                return Err(BadDownloads::Many(run.downloads.len()));
            }
            for download in &run.downloads {
                let wrong = download.wrong();
                wrong.map_err(|why| BadDownloads::Download { url: download.url.clone(), why })?;
            }
        }
        Ok(())
    }

    /// The downloads of a step, if it is held.
    pub fn of(&self, step: &Digest) -> Option<&RunDownloads> {
        self.runs.iter().find(|run| run.step == *step)
    }
}

impl RunDownloads {
    /// Everything that a step which downloads these is a function of.
    pub fn digest(&self) -> Digest {
        let mut all = Hasher::default();
        for Download { url, method, varies, status, size: _, sha256, headers, signed: _ } in &self.downloads {
            all.field(url.as_str().as_bytes());
            all.field(format!("{method:?} {varies:?} {status} {headers:?}").as_bytes());
            all.field(sha256.as_ref().map_or(&[][..], |digest| digest.as_bytes()));
        }
        all.finish()
    }
}

impl Download {
    pub(super) fn key(&self) -> Key {
        (self.url.clone(), self.method, self.varies.clone())
    }

    /// Whether a later answer to the same question may take its place in the same recording.
    pub(super) fn is_final(&self) -> bool {
        self.status < 400
    }

    fn wrong(&self) -> Result<(), String> {
        let names = |wanted: &[&str], headers: &BTreeMap<String, String>| {
            let other = headers.keys().find(|name| !wanted.contains(&name.as_str()));
            other
                .map_or(Ok(()), |name| Err(format!("the header `{}` is not one that is recorded", name.escape_debug())))
        };
        names(&HEADERS, &self.headers)?;
        names(&CHOOSING, &self.varies)?;
        let values = self.headers.values().chain(self.varies.values());
        if values.into_iter().any(|value| !may_be_kept(value)) {
            return Err("the value of a header is too long or no text".to_owned());
        }
        if !is_kept(self.status) {
            return Err(format!("the status {} is not one that is recorded", self.status));
        }
        match (self.method, self.status < 300, self.sha256.is_some()) {
            (Method::Get, true, true) | (Method::Get, false, false) | (Method::Head, _, false) => Ok(()),
            _ => Err("there is a sha256 exactly where there is a body".to_owned()),
        }
    }
}

/// What a download is found by.
pub(super) type Key = (Address, Method, BTreeMap<String, String>);

/// The statuses that are facts about an address. Who may ask (401, 407), what will be otherwise in a moment (408, 425, 429,
/// 5xx) and what is no answer to what we ask (1xx, 206, 304) are none.
pub(super) fn is_kept(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300..=303 | 307 | 308 | 400 | 403..=406 | 410 | 414 | 451)
}

/// Whether the value of a header is text that is worth keeping.
pub(super) fn may_be_kept(value: &str) -> bool {
    value.len() <= VALUE && value.bytes().all(|byte| (b' '..0x7f).contains(&byte))
}

impl Method {
    pub fn is_get(&self) -> bool {
        *self == Self::Get
    }
}

fn ok() -> u16 {
    200
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
[[runs]]
command = "RUN wget http://h/a"
platform = "linux/amd64"
step = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
downloads = [
  { url = "http://h/a", size = 3, sha256 = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae", headers = { etag = '"x"' } },
  { url = "http://h/b", method = "HEAD", status = 404 },
]
"#;

    fn read(text: &str) -> Result<Downloads, String> {
        #[derive(Deserialize)]
        struct Lock {
            runs: Downloads,
        }
        let Lock { runs } = toml::from_str(text).map_err(|error| error.to_string())?;
        runs.check().map_err(|error| error.to_string())?;
        Ok(runs)
    }

    #[test]
    fn what_we_would_not_have_written_is_refused() {
        for (from, to, why) in [
            ("etag =", "set-cookie =", "set-cookie"),
            ("size = 3", "size = 3, status = 503", "503"),
            (
                "status = 404",
                "status = 200, sha256 = 'sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae'",
                "sha256",
            ),
            ("http://h/a\", size", "http://h/a?token=x\", size", "credential"),
            ("size = 3", "length = 3", "length"),
            ("'\"x\"'", r#""a\u000ab""#, "no text"),
        ] {
            let error = read(&LOCK.replacen(from, to, 1)).expect_err(from);
            assert!(error.contains(why), "{from}: {error}");
        }
    }

    #[test]
    fn a_steps_digest_is_of_all_that_it_is_given() {
        let run = read(LOCK).unwrap().runs.remove(0);
        let mut other = run.clone();
        other.command = "RUN other".to_owned();
        assert_eq!(run.digest(), other.digest());
        other.downloads[1].status = 410;
        assert_ne!(run.digest(), other.digest());
    }
}

//! `--run-ca-file`: certificates that a RUN trusts beside the image's own, and that are in no image.
//!
//! In a company's network whoever speaks TLS meets its proxy's certificate. The certificates are appended to the
//! bundles where distributions have them, in a layer that is laid on the image for the command alone. A bundle must be
//! a file that can be replaced: over one that is a mount, `update-ca-certificates` fails (rename(2), EBUSY). What
//! comes into the command's changes none the less, because a bundle was copied or its owner changed, is taken out again
//! before they become a layer.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::layer::{Content, Entry, Kind, LayerPath, Times, Tree};

use super::draft::{Draft, Parents};
use super::snapshot::Snapshot;
use super::workshop::Workshop;
use super::{BuildError, Source};

/// Where the bundles of distributions are (Go, crypto/x509/root_linux.go): Debian and Alpine, Fedora and RHEL,
/// OpenSUSE, OpenELEC, RHEL 7, Alpine.
pub const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A bundle that stays as it is when the image's own are written anew by the same command.
pub(super) const FILE: &str = "/dev/locus-push/ca-certificates.crt";

/// Where OpenSSL, curl, Python's requests, pip, Node and git look.
const VARIABLES: [&str; 6] =
    ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO"];

/// A bundle is some hundred KiB; no copy of one is looked for in what is larger.
const LIMIT: u64 = 8 << 20;

const BEGIN: &str = "\n# locus-push --run-ca-file: for one RUN, in no image\n";
const END: &str = "# locus-push --run-ca-file: end\n";

/// Certificates in PEM, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates(String);

/// Why a file is not one of authorities that a RUN may trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificates {
    #[error("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)")]
    None,
    #[error("it holds a private key, which no RUN may see")]
    PrivateKey,
}

impl Certificates {
    pub fn parse(text: &str) -> Result<Self, BadCertificates> {
        if text.contains("PRIVATE KEY-----") {
            return Err(BadCertificates::PrivateKey);
        }
        // OpenSSL's older name for the same is `BEGIN TRUSTED CERTIFICATE`, which others do not read.
        match text.contains("-----BEGIN CERTIFICATE-----") && text.contains("-----END CERTIFICATE-----") {
            true => Ok(Self(format!("{BEGIN}{}\n{END}", text.trim()))),
            false => Err(BadCertificates::None),
        }
    }

    /// These, and one of ours.
    pub(super) fn with(own: Option<&Self>, pem: &str) -> Self {
        let own = own.map(Self::pem).unwrap_or_default();
        Self(format!("{BEGIN}{own}{}\n{END}", pem.trim()))
    }

    /// Without the marks.
    pub fn pem(&self) -> &str {
        self.0.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).unwrap_or_default()
    }
}

/// What a command gets to trust more.
pub(super) struct Trust {
    /// What it runs over: the image, and over it bundles with our certificates in them.
    pub over: Snapshot,
    /// The content of [`FILE`].
    pub bundle: Vec<u8>,
    /// What is to be taken out of its changes.
    pub added: Added,
}

/// What was added to bundles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Added(String);

impl<S: Source> Workshop<S> {
    /// Adds the certificates to the bundles of an image; where it has none, Debian's is made.
    pub(super) async fn trust(
        &self,
        Certificates(block): &Certificates,
        below: &Snapshot,
        epoch: crate::layer::Epoch,
    ) -> Result<Trust, BuildError> {
        self.index_all(below).await?;
        let view = self.view(below)?;
        let mut first = None;
        let mut draft = Draft::over(view.clone());
        for bundle in BUNDLES {
            let found = view.resolve(bundle.as_bytes(), true).ok();
            let Some((path, node)) = found.and_then(|found| Some((found.path, found.node?))) else { continue };
            // Two of the names may be one file.
            if !matches!(node.kind, Kind::File { .. }) || draft.has(&path) {
                continue;
            }
            let own = self.small_file(below, &view, bundle).await?;
            let bytes = [&own, block.as_bytes()].concat();
            first.get_or_insert_with(|| bytes.clone());
            draft.put(path, Entry { kind: file(bytes), ..node.clone().map(Content::InTar) });
        }
        let bundle = match first {
            Some(bundle) => bundle,
            None => {
                let path = draft.follow(BUNDLES[0].as_bytes())?;
                if let Some(folder) = path.parent() {
                    draft.make_directories(&folder, Parents { mode: 0o755, owner: (0, 0) })?;
                }
                draft.put(path, Entry::new(file(block.clone().into_bytes()), 0o644));
                block.clone().into_bytes()
            }
        };
        let layer = self.pack(draft.finish(), Times::Constant(epoch), self.unwrapped()?).await?;
        Ok(Trust { over: below.with(layer), bundle, added: Added(block.clone()) })
    }
}

/// Names the file to whoever looks there, unless the Dockerfile names one itself.
pub(super) fn name_in(env: &mut Vec<(OsString, OsString)>) {
    for variable in VARIABLES {
        if !env.iter().any(|(name, _)| name == variable) {
            env.push((variable.into(), FILE.into()));
        }
    }
}

impl Added {
    /// Takes it out of the bundles and their copies, whatever they are called, in the upper directory `upper`, whose
    /// changes are `tree`. What is nothing but what we added is removed. To be called when nobody else works there.
    pub fn take_out(&self, upper: &Path, tree: &mut Tree<Content>) -> io::Result<()> {
        let mut empty = Vec::new();
        for (path, entry) in &mut tree.entries {
            let Kind::File { size, content: Content::Host(host) } = &mut entry.kind else { continue };
            if *size < self.0.len() as u64 || *size > LIMIT {
                continue;
            }
            let mut bytes = Vec::new();
            host.open()?.take(LIMIT + 1).read_to_end(&mut bytes)?;
            let Some(own) = self.without(&bytes) else { continue };
            if find(&own, BEGIN.trim().as_bytes()).is_some() {
                let why = format!(
                    "{path} holds what --run-ca-file added to a bundle, in another form: it cannot be taken out"
                );
                return Err(io::Error::other(why));
            }
            let mut file = host.edit()?;
            file.set_len(0)?;
            file.write_all(&own)?;
            *size = own.len() as u64;
            if own.is_empty() {
                empty.push(path.clone());
            }
        }
        // A second name that the command gave it keeps the empty file.
        let linked = |path: &LayerPath| {
            tree.entries.values().any(|entry| matches!(&entry.kind, Kind::HardLink { to } if to == path))
        };
        empty.retain(|path| !linked(path));
        for path in empty {
            std::fs::remove_file(upper.join(path_of(&path)))?;
            tree.entries.remove(&path);
        }
        Ok(())
    }

    /// The bytes without what was added; `None` where there is no sign of it.
    fn without(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        find(bytes, BEGIN.trim().as_bytes())?;
        let mut own = bytes.to_vec();
        while let Some(at) = find(&own, self.0.as_bytes()) {
            own.drain(at..at + self.0.len());
        }
        Some(own)
    }
}

/// Horspool's search: whole lengths of `what` are skipped, as every file that the command wrote is looked through.
fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let last = what.len().checked_sub(1)?;
    let mut skips = [what.len(); 256];
    what[..last].iter().enumerate().for_each(|(at, byte)| skips[usize::from(*byte)] = last - at);
    let mut at = 0;
    while let Some(window) = bytes.get(at..at + what.len()) {
        if window == what {
            return Some(at);
        }
        at += skips[usize::from(window[last])];
    }
    None
}

fn path_of(path: &LayerPath) -> &Path {
    use std::os::unix::ffi::OsStrExt;
    Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

fn file(bytes: Vec<u8>) -> Kind<Content> {
    Kind::File { size: bytes.len() as u64, content: Content::Bytes(bytes.into()) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::layer::HostFile;

    const PEM: &str = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n";

    #[test]
    fn certificates_are_certificates_and_no_keys() {
        assert!(Certificates::parse(PEM).is_ok());
        assert_eq!(Certificates::parse("QQ=="), Err(BadCertificates::None));
        let both = format!("{PEM}-----BEGIN PRIVATE KEY-----\n");
        assert_eq!(Certificates::parse(&both), Err(BadCertificates::PrivateKey));
    }

    /// What is left of these bytes in `a.crt` of an upper directory.
    fn left(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Certificates(block) = Certificates::parse(PEM).expect("one");
        let upper = tempfile::tempdir().expect("a folder");
        std::fs::write(upper.path().join("a.crt"), bytes).expect("written");
        let root = Arc::new(File::open(upper.path()).expect("it is there").into());
        let path = LayerPath::parse(b"a.crt").expect("a path");
        let host = Content::Host(HostFile { root, path: path.clone(), seen: None });
        let entry = Entry::new(Kind::File { size: bytes.len() as u64, content: host }, 0o644);
        let mut tree = Tree { entries: [(path.clone(), entry)].into(), ..Tree::default() };
        Added(block).take_out(upper.path(), &mut tree)?;
        let left = std::fs::read(upper.path().join("a.crt")).ok();
        let told = tree.entries.get(&path).map(|entry| match entry.kind {
            Kind::File { size, .. } => size,
            _ => panic!("a file"),
        });
        assert_eq!(told, left.as_ref().map(|left| left.len() as u64));
        Ok(left)
    }

    #[test]
    fn a_search_finds_what_a_plain_one_finds() {
        for text in ["", "ab", "aab", "abab", "xxabcabab", "ababcab", "aaaaaaab", "b"] {
            for what in ["a", "ab", "aab", "abab", "bcab"] {
                assert_eq!(find(text.as_bytes(), what.as_bytes()), text.find(what), "{what} in {text}");
            }
        }
    }

    #[test]
    fn what_was_added_is_taken_out_and_nothing_else() {
        let Certificates(block) = Certificates::parse(PEM).expect("one");
        let own = format!("own\n{PEM}");
        assert_eq!(left(own.as_bytes()).expect("it can be"), Some(own.clone().into_bytes()));
        assert_eq!(left(format!("{own}{block}").as_bytes()).expect("it can be"), Some(own.clone().into_bytes()));
        assert_eq!(
            left(format!("{own}{block}{block}{PEM}").as_bytes()).expect("it can be"),
            Some([own, PEM.into()].concat().into_bytes())
        );
        assert_eq!(left(block.as_bytes()).expect("it can be"), None);
        let torn = block.replace("QQ==", "QUE=");
        assert!(left(torn.as_bytes()).is_err(), "it was rewritten");
    }
}

//! `--run-ca-file`: a file, or what this machine itself trusts.

use std::path::Path;

use super::super::settings::Given;
use super::super::{Failure, files};
use crate::build::{BUNDLES, Certificates};

/// The word for this machine's own bundle.
const HOST: &str = "host";

pub(super) fn certificates(text: Option<&str>, given: Given<'_>) -> Result<Option<Certificates>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let path = match text {
        HOST => host_bundle(given)?,
        file => given.cwd.join(file),
    };
    let pem = files::read_text(&path, "file of --run-ca-file")?;
    let refused = |why| Failure::usage(format!("--run-ca-file {}: {why}", path.display()));
    Certificates::parse(&pem).map(Some).map_err(refused)
}

fn host_bundle(given: Given<'_>) -> Result<std::path::PathBuf, Failure> {
    if let Some(file) = given.env.get("SSL_CERT_FILE").filter(|file| !file.is_empty()) {
        return Ok(given.cwd.join(file));
    }
    let found = BUNDLES.into_iter().find(|bundle| Path::new(bundle).is_file());
    found.map(Into::into).ok_or_else(|| {
        Failure::configuration("--run-ca-file host: this machine has no bundle of certificates in the usual places")
            .hint("its package is ca-certificates; SSL_CERT_FILE names another file")
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Environment;
    use super::*;

    #[test]
    fn the_hosts_certificates_are_those_that_its_programs_trust() {
        let folder = tempfile::tempdir().expect("a folder");
        let pem = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n";
        std::fs::write(folder.path().join("ca.pem"), pem).expect("written");
        let env = Environment::of(&[("SSL_CERT_FILE", "ca.pem")]);
        let given = Given { env: &env, file: None, cwd: folder.path() };
        let read = |text| certificates(text, given).map_err(|failure| failure.message);
        assert_eq!(read(None), Ok(None));
        assert_eq!(read(Some("host")), Ok(Some(Certificates::parse(pem).expect("one"))));
        assert_eq!(read(Some("ca.pem")), read(Some("host")));
        assert!(read(Some("missing")).is_err_and(|words| words.starts_with("there is no file of --run-ca-file")));
    }
}

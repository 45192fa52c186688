//! `serve`: where the embedded registry listens, for whom, and what of.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{RegistryArgs, ScreenArgs};

const EXAMPLES: &str = "\
Examples:
  locus-push serve --listen 127.0.0.1:5000 --data ./registry
  locus-push serve --listen 0.0.0.0:5000 --tls-cert cert.pem --tls-key key.pem --user team --password-file password
  locus-push serve --proxy docker.io        keeps what is pulled through it: pull 127.0.0.1:5000/library/debian
  locus-push build --registry-endpoint docker.io=http://127.0.0.1:5000 .        a build that does";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Where to listen; port 0 is any free one, and the answer says which
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000")]
    pub listen: SocketAddr,
    /// Folder for images and tags [default: registry, in the folder of layers and caches]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The name of the one user who may read and write
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// The file whose first line is that user's password
    #[arg(long, value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
    /// Speak TLS with this certificate in PEM form, its chain behind it
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM form
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listen beyond this machine without TLS or without a login: whoever reaches it overhears, or reads and writes
    #[arg(long)]
    pub insecure: bool,
    /// Let tags, manifests and blobs be deleted
    #[arg(long)]
    pub allow_delete: bool,
    /// Keep what another registry has: a host or a URL. What is asked for is fetched and kept; nothing is pushed
    #[arg(long, value_name = "REGISTRY")]
    pub proxy: Option<String>,
    #[command(flatten)]
    pub registry: RegistryArgs,
    #[command(flatten)]
    pub screen: ScreenArgs,
}

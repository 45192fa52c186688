//! SSH agents that a RUN may ask: `--ssh` gives them, `RUN --mount=type=ssh` asks for them.
//!
//! A command never speaks to the agent itself. It finds a socket of ours, and what it says there goes on only where it
//! asks for the list of keys or for a signature, as in BuildKit (session/sshforward/sshprovider, readOnlyAgent).

mod keys;
mod proxy;

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io};

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use crate::secret::Secret;
use crate::store::WorkFolder;

use keys::KeyAgent;

/// The name of a socket in its folder.
const SOCKET: &str = "socket";

/// What `--ssh` names.
#[derive(Debug)]
pub enum Agent {
    /// The socket of an agent that runs already.
    Socket(PathBuf),
    /// Private keys, which an agent of our own holds while a command runs.
    Keys(Vec<Key>),
}

/// A private key as its file holds it, without a passphrase.
#[derive(Debug)]
pub struct Key {
    /// The file, for people.
    pub shown: String,
    pub content: Secret,
}

/// Why no SSH agent can be lent to a RUN.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("`{tool}` cannot be started: {source}")]
    Tool { tool: &'static str, source: io::Error },
    #[error("ssh-agent did not start: {0}")]
    NotStarted(String),
    #[error("ssh-add does not take the key {key}: {said}")]
    Key { key: String, said: String },
    #[error("making the agent's socket: {0}")]
    Socket(#[from] io::Error),
}

/// An agent within a command's reach, until this is dropped.
pub(super) struct Forwarded {
    /// The socket for the command. Its owner and mode are still ours.
    pub socket: PathBuf,
    proxy: JoinHandle<()>,
    _keys: Option<KeyAgent>,
}

impl Agent {
    /// Makes a socket in a new folder `name` of `folder`, and passes on what is allowed.
    pub(super) async fn forward(&self, folder: &WorkFolder, name: &str) -> Result<Forwarded, AgentError> {
        let make = |name: &str| folder.make(name, 0o700).map_err(io::Error::other);
        let place = make(name)?;
        let (door, keys) = match self {
            Self::Socket(path) => (Door::at(path)?, None),
            Self::Keys(keys) => {
                let home = make(&format!("{name}-keys"))?;
                let keys = KeyAgent::start(&home, keys).await?;
                (Door::at(&home.join(SOCKET))?, Some(keys))
            }
        };
        let own = Door::at(&place.join(SOCKET))?;
        let listener = UnixListener::bind(own.path())?;
        let proxy = tokio::spawn(proxy::serve(listener, door));
        Ok(Forwarded { socket: place.join(SOCKET), proxy, _keys: keys })
    }
}

impl Drop for Forwarded {
    fn drop(&mut self) {
        self.proxy.abort();
    }
}

/// A socket by its folder's descriptor: the kernel takes no more than 107 bytes for the name of one (unix(7)), and
/// folders may lie deeper.
struct Door {
    folder: OwnedFd,
    name: OsString,
}

impl Door {
    fn at(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(Self { folder: fs::File::open(folder)?.into(), name: name.to_owned() })
    }

    fn path(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(&self.name)
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.path()).await
    }
}

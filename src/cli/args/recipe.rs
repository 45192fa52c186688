//! The flags of `build` and of the road that say what is built.

use std::path::PathBuf;

use clap::Args;

#[derive(Clone, Debug, Default, Args)]
pub struct RecipeArgs {
    /// Set a build argument; without a value, the environment's
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub build_arg: Vec<String>,
    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    pub target: Option<String>,
    /// What the image runs on [default: linux/amd64, whatever this machine is]
    #[arg(long, value_name = "OS/ARCH")]
    pub platform: Vec<String>,
    /// Set a label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Use DIR, docker-image://IMAGE, oci-layout://PATH[:TAG|@DIGEST], a git repository or a URL in the place of a stage,
    /// an image or a --from
    #[arg(long, value_name = "NAME=ORIGIN")]
    pub build_context: Vec<String>,
    /// Keep the modes of the context's files [default: group and others lose the write bit, so that a checkout under
    /// umask 002 gives the same image as one under 022]
    #[arg(long)]
    pub preserve_modes: bool,
    /// Annotate the image's manifest
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// How the layers that are built are compressed: gzip, zstd or none [default: gzip; base layers stay as they are]
    #[arg(long, value_name = "KIND")]
    pub compression: Option<String>,
    /// How hard: 1 to 12 for gzip [default: 1], 1 to 19 for zstd [default: 3]
    #[arg(long, value_name = "LEVEL")]
    pub compression_level: Option<u32>,
    /// Keep the times of what COPY and ADD bring, up to SOURCE_DATE_EPOCH [default: SOURCE_DATE_EPOCH, else
    /// 1980-01-01T00:00:01Z, so that another checkout gives the same image]
    #[arg(long)]
    pub preserve_times: bool,
    /// Take nothing from the build cache
    #[arg(long)]
    pub no_cache: bool,
    /// Take nothing from the build cache in these stages
    #[arg(long, value_name = "STAGE")]
    pub no_cache_filter: Vec<String>,
    /// Say of each step that is done why it was not in the build cache: what differs from the last build of this
    /// Dockerfile
    #[arg(long)]
    pub explain: bool,
    /// Take the results of steps from a build cache elsewhere: type=registry,ref=REF, type=local,src=DIR, or REF alone,
    /// which may be an image with a cache of its own. Layers are fetched only if something reads them. It is trusted as
    /// far as whoever can write there; one that cannot be read is warned of. Where it holds cache mounts, those that are
    /// new here are filled, unless it has mounts=false
    #[arg(long, value_name = "CACHE")]
    pub cache_from: Vec<String>,
    /// Write a build cache for others after the build: type=registry,ref=REF or type=local,dest=DIR, with mode=max the
    /// layers of all stages [default: of the image], with mounts=true also what RUN --mount=type=cache holds, secrets that
    /// a RUN wrote there included (up to 4 GiB each), with ignore-error=true a failure is a warning; type=inline keeps it in
    /// the image's own config, which changes the image's digest
    #[arg(long, value_name = "CACHE")]
    pub cache_to: Vec<String>,
    /// Accepted: bases are always looked up anew
    #[arg(long)]
    pub pull: bool,
    /// Take images, ADD's files, repositories and what RUN downloads as this file pins them [default: locus.lock beside
    /// the Dockerfile, where it is]
    #[arg(long, value_name = "FILE")]
    pub lockfile: Option<PathBuf>,
    /// Refuse what is not pinned in the lock file
    #[arg(long)]
    pub locked: bool,
}

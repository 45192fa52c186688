//! `-o`: where an image goes.

use std::path::{Path, PathBuf};

use super::Failure;
use super::escape;
use crate::image::{Compression, Flavor};
use crate::layer::Packing;

/// Where a built image goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// An OCI layout in a tar.
    Archive { flavor: Flavor, dest: Dest },
    /// An OCI layout in a folder.
    Folder { flavor: Flavor, dest: PathBuf },
    /// What a container would see, in a tar.
    Files { dest: Dest },
    /// What a container would see, in a folder.
    Directory { dest: PathBuf },
    /// The registry that the image's tags name.
    Registry,
    /// Nowhere: the build cache is what is wanted.
    Nowhere,
}

/// What one flag, or one output, says of how layers are compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackingAsked {
    /// The flag, as it was written.
    pub by: String,
    pub kind: Option<String>,
    pub level: Option<u32>,
}

impl PackingAsked {
    /// What all of them together say: a build's layers are written once, for all outputs.
    pub fn agreed(all: &[Self]) -> Result<Packing, Failure> {
        let mut said = all.iter().filter(|asked| asked.kind.is_some() || asked.level.is_some());
        let Some(first) = said.next() else { return Ok(Packing::default()) };
        if let Some(other) = said.find(|other| (&other.kind, other.level) != (&first.kind, first.level)) {
            let words = format!("{} and {} ask for two compressions of the same layers", first.by, other.by);
            return Err(Failure::usage(words).hint("--compression once is enough for all outputs"));
        }
        first.packing()
    }

    fn packing(&self) -> Result<Packing, Failure> {
        let kind = match self.kind.as_deref() {
            None | Some("gzip") => Compression::Gzip,
            Some("zstd") => Compression::Zstd,
            Some("none" | "uncompressed") => Compression::None,
            Some(other) => {
                let words = format!("{}: there is no compression `{}`", self.by, escape::line(other.as_bytes()));
                return Err(Failure::usage(words).hint("the kinds are gzip, zstd and none"));
            }
        };
        Packing::new(kind, self.level).map_err(|error| Failure::usage(format!("{}: {error}", self.by)))
    }
}

/// Where a tar goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dest {
    File(PathBuf),
    Stdout,
}

impl Output {
    /// One `-o`, as buildx reads it: comma-separated `key=value`, or a path alone. With what it says of compression.
    pub fn parse(text: &str) -> Result<(Self, PackingAsked), Failure> {
        let mut asked = PackingAsked { by: format!("-o {text}"), ..PackingAsked::default() };
        Self::parse_with(text, &mut asked).map(|output| (output, asked))
    }

    fn parse_with(text: &str, asked: &mut PackingAsked) -> Result<Self, Failure> {
        let bad = |why: String| Failure::usage(format!("-o {text}: {why}"));
        let fields = fields(text).ok_or_else(|| bad("a quote is not closed, or stands inside a field".into()))?;
        // buildx: `-o PATH` is type=local, and `-o -` a tar on stdout.
        if let [path] = &fields[..]
            && !path.contains('=')
        {
            return match path.as_str() {
                "" => Err(bad("it names no place".into())),
                "-" => Ok(Self::Files { dest: Dest::Stdout }),
                path => Ok(Self::Directory { dest: path.into() }),
            };
        }
        let mut kind = None;
        let mut dest = None;
        let mut tar = None;
        let mut pushed = None;
        for field in &fields {
            let (key, value) =
                field.split_once('=').ok_or_else(|| bad(format!("`{field}` is not written key=value")))?;
            let flag = || match value {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(bad(format!("`{key}` is true or false, not `{value}`"))),
            };
            // buildx takes keys in any case.
            match key.to_lowercase().as_str() {
                "type" => kind = Some(value),
                "dest" if value.is_empty() => return Err(bad("`dest` is empty".into())),
                "dest" => dest = Some(value),
                "tar" => tar = Some(flag()?),
                "push" => pushed = Some(flag()?),
                "oci-mediatypes" if flag()? => {}
                "compression" => asked.kind = Some(value.to_owned()),
                "compression-level" => {
                    let level = value.parse().map_err(|_| bad(format!("`{value}` is not a compression level")))?;
                    asked.level = Some(level);
                }
                "force-compression" if flag()? => {
                    return Err(bad("force-compression=true: layers of a base image stay as they are".into())
                        .hint("what this build writes is compressed as `compression` says, whatever the cache holds"));
                }
                "force-compression" => {}
                key => {
                    return Err(
                        bad(format!("`{key}` is not supported yet")).hint("`type`, `dest`, `tar`, `compression` are")
                    );
                }
            }
        }
        let Some(kind) = kind else {
            return Err(bad("`type` is missing".into()).hint("write type=oci,dest=image.tar or type=registry"));
        };
        let is_layout = matches!(kind, "oci" | "docker");
        if tar.is_some() && !is_layout {
            return Err(bad("`tar` is for type=oci and type=docker".into()));
        }
        if pushed.is_some() && !matches!(kind, "image" | "registry") {
            return Err(bad("`push` does not go with this type".into()));
        }
        if dest.is_some() && matches!(kind, "image" | "registry" | "cacheonly") {
            return Err(bad("`dest` is for what is written to this machine".into()));
        }
        let missing = || bad("`dest` is missing".into()).hint(format!("write type={kind},dest=image.tar"));
        let file = || match dest {
            // As in buildx: what is one file goes to stdout by itself.
            None | Some("-") => Dest::Stdout,
            Some(path) => Dest::File(path.into()),
        };
        let folder = || match dest {
            None => Err(missing()),
            Some("-") => Err(bad("a folder does not go to stdout".into())),
            Some(path) => Ok(PathBuf::from(path)),
        };
        let flavor = if kind == "docker" { Flavor::Docker } else { Flavor::Oci };
        match (kind, pushed) {
            ("oci" | "docker", _) if tar == Some(false) => Ok(Self::Folder { flavor, dest: folder()? }),
            ("docker", _) if dest.is_none() => {
                Err(missing().hint("without `dest` buildx hands the image to a Docker daemon, and there is none here"))
            }
            ("oci" | "docker", _) => Ok(Self::Archive { flavor, dest: file() }),
            ("tar", _) => Ok(Self::Files { dest: file() }),
            ("local", _) => Ok(Self::Directory { dest: folder()? }),
            ("cacheonly", _) => Ok(Self::Nowhere),
            ("registry", None | Some(true)) | ("image", Some(true)) => Ok(Self::Registry),
            ("image" | "registry", _) => Err(bad("without push=true the image would go nowhere".into())),
            (kind, _) => Err(bad(format!("there is no type `{kind}`"))
                .hint("the types are oci, docker, tar, local, registry, image and cacheonly")),
        }
    }

    /// Whether it is written to stdout, which then holds no answer.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Archive { dest: Dest::Stdout, .. } | Self::Files { dest: Dest::Stdout })
    }

    /// The path that is written, of those that are.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Archive { dest: Dest::File(dest), .. } | Self::Files { dest: Dest::File(dest) } => Some(dest),
            Self::Folder { dest, .. } | Self::Directory { dest } => Some(dest),
            Self::Archive { .. } | Self::Files { .. } | Self::Registry | Self::Nowhere => None,
        }
    }
}

/// The fields of one CSV line, as buildx splits it: a field in double quotes may hold commas, `""` in it is a quote.
pub(super) fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, tail) = rest.split_once(',').map_or((rest, None), |(field, tail)| (field, Some(tail)));
            if field.contains('"') {
                return None;
            }
            fields.push(field.to_owned());
            match tail {
                Some(tail) => rest = tail,
                None => return Some(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut chars = quoted.char_indices().peekable();
        let after = loop {
            match chars.next()? {
                (_, '"') if chars.next_if(|&(_, c)| c == '"').is_some() => field.push('"'),
                (at, '"') => break &quoted[at + 1..],
                (_, c) => field.push(c),
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(tail) => rest = tail,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_goes_where_buildx_would_put_it() {
        let tar = |flavor, dest: &str| Output::Archive { flavor, dest: Dest::File(dest.into()) };
        for (text, output) in [
            ("type=oci,dest=x.tar", tar(Flavor::Oci, "x.tar")),
            ("dest=x.tar,TYPE=oci", tar(Flavor::Oci, "x.tar")),
            ("type=oci,tar=true,dest=x.tar", tar(Flavor::Oci, "x.tar")),
            ("type=oci,\"dest=a,b \"\"c\"\".tar\"", tar(Flavor::Oci, "a,b \"c\".tar")),
            ("type=oci,dest=dir,tar=false", Output::Folder { flavor: Flavor::Oci, dest: "dir".into() }),
            ("type=oci,dest=x.tar,oci-mediatypes=true", tar(Flavor::Oci, "x.tar")),
            ("type=oci", Output::Archive { flavor: Flavor::Oci, dest: Dest::Stdout }),
            ("type=docker,dest=x.tar", tar(Flavor::Docker, "x.tar")),
            ("type=docker,dest=-", Output::Archive { flavor: Flavor::Docker, dest: Dest::Stdout }),
            ("type=docker,dest=dir,tar=false", Output::Folder { flavor: Flavor::Docker, dest: "dir".into() }),
            ("type=tar,dest=x.tar", Output::Files { dest: Dest::File("x.tar".into()) }),
            ("type=tar", Output::Files { dest: Dest::Stdout }),
            ("-", Output::Files { dest: Dest::Stdout }),
            ("type=local,dest=out", Output::Directory { dest: "out".into() }),
            ("out", Output::Directory { dest: "out".into() }),
            ("type=cacheonly", Output::Nowhere),
            ("type=registry", Output::Registry),
            ("type=image,push=true", Output::Registry),
        ] {
            let unsaid = PackingAsked { by: format!("-o {text}"), ..PackingAsked::default() };
            assert_eq!(Output::parse(text), Ok((output, unsaid)), "{text}");
        }
    }

    #[test]
    fn what_outputs_and_flags_say_of_compression_must_agree() {
        let agreed = |texts: &[&str]| {
            let asked: Vec<_> = texts.iter().map(|text| Output::parse(text).expect("it is right").1).collect();
            PackingAsked::agreed(&asked).map_err(|failure| failure.message)
        };
        let zstd = |level| Packing::new(Compression::Zstd, level).map_err(|_| String::new());
        assert_eq!(agreed(&["type=oci,dest=x"]), Ok(Packing::default()));
        assert_eq!(agreed(&["type=oci,dest=x", "type=registry,compression=zstd"]), zstd(None));
        assert_eq!(
            agreed(&["type=registry,compression=zstd,compression-level=9,force-compression=false"]),
            zstd(Some(9))
        );
        assert_eq!(agreed(&["type=registry,compression=uncompressed"]), Ok(Packing::None));
        assert_eq!(
            agreed(&["type=oci,dest=x,compression=gzip", "type=registry,compression=zstd"]),
            Err("-o type=oci,dest=x,compression=gzip and -o type=registry,compression=zstd ask for two compressions of the \
                 same layers"
                .to_owned())
        );
        assert_eq!(
            agreed(&["type=registry,compression=estargz"]),
            Err("-o type=registry,compression=estargz: there is no compression `estargz`".to_owned())
        );
        assert_eq!(
            agreed(&["type=registry,compression=zstd,compression-level=20"]),
            Err("-o type=registry,compression=zstd,compression-level=20: zstd level 20 is not offered; the levels are 1 to 19"
                .to_owned())
        );
    }

    #[test]
    fn the_rest_is_refused_with_its_reason() {
        for (text, words) in [
            ("type=docker", "`dest` is missing"),
            ("type=local", "`dest` is missing"),
            ("type=local,dest=-", "a folder does not go to stdout"),
            ("type=oci,tar=false,dest=-", "a folder does not go to stdout"),
            ("type=oci,dest=", "`dest` is empty"),
            ("type=oci,dest=x,tar=maybe", "`tar` is true or false, not `maybe`"),
            ("type=local,dest=x,tar=true", "`tar` is for type=oci and type=docker"),
            ("type=oci,dest=x,push=true", "`push` does not go with this type"),
            ("type=oci,dest=x,compression-level=much", "`much` is not a compression level"),
            (
                "type=oci,dest=x,force-compression=true",
                "force-compression=true: layers of a base image stay as they are",
            ),
            ("type=oci,dest=x,oci-mediatypes=false", "`oci-mediatypes` is not supported yet"),
            ("type=registry,dest=x", "`dest` is for what is written to this machine"),
            ("type=image", "without push=true the image would go nowhere"),
            ("type=registry,push=false", "without push=true the image would go nowhere"),
            ("type=moon", "there is no type `moon`"),
            ("dest=x", "`type` is missing"),
            ("type=oci,\"dest=x", "a quote is not closed, or stands inside a field"),
            ("", "it names no place"),
        ] {
            assert_eq!(Output::parse(text).map_err(|f| f.message), Err(format!("-o {text}: {words}")), "{text}");
        }
    }
}

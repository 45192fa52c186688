//! `-o`: where an image goes.

use std::path::PathBuf;

use super::Failure;

/// Where a built image goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Output {
    /// An OCI layout in a tar.
    OciTar { dest: PathBuf },
    /// An OCI layout in a folder.
    OciFolder { dest: PathBuf },
    /// The registry that the image's tags name.
    Registry,
}

impl Output {
    /// One `-o`, as buildx reads it: comma-separated `key=value`, or a path alone.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let bad = |why: String| Failure::usage(format!("-o {text}: {why}"));
        let fields = fields(text).ok_or_else(|| bad("a quote is not closed, or stands inside a field".into()))?;
        // buildx: `-o PATH` is type=local, and `-o -` a tar on stdout.
        if let [path] = &fields[..]
            && !path.contains('=')
        {
            let kind = if path == "-" { "type=tar" } else { "type=local" };
            return Err(not_yet(text, kind));
        }
        let mut kind = None;
        let mut dest = None;
        let mut tar = true;
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
                "dest" => dest = Some(PathBuf::from(value)),
                "tar" => tar = flag()?,
                "push" => pushed = Some(flag()?),
                "oci-mediatypes" if flag()? => {}
                key => return Err(bad(format!("`{key}` is not supported yet")).hint("`type`, `dest`, `tar` are")),
            }
        }
        let without_dest = |output| match &dest {
            Some(_) => Err(bad("`dest` is for what is written to this machine".into())),
            None => Ok(output),
        };
        match (kind, pushed) {
            (Some("oci"), None) => match dest {
                Some(dest) if dest.as_os_str() == "-" => Err(bad("an image on stdout is not supported yet".into())),
                Some(dest) if dest.as_os_str().is_empty() => Err(bad("`dest` is empty".into())),
                Some(dest) if tar => Ok(Self::OciTar { dest }),
                Some(dest) => Ok(Self::OciFolder { dest }),
                None => Err(bad("`dest` is missing".into()).hint("write type=oci,dest=image.tar")),
            },
            (Some("registry"), None | Some(true)) | (Some("image"), Some(true)) => without_dest(Self::Registry),
            (Some("image"), _) => Err(bad("without push=true the image would go nowhere".into())),
            (Some("docker" | "tar" | "local" | "cacheonly"), _) => {
                Err(not_yet(text, &format!("type={}", kind.unwrap_or_default())))
            }
            (Some("oci" | "registry"), Some(_)) => Err(bad("`push` does not go with this type".into())),
            (Some(kind), _) => Err(bad(format!("there is no type `{kind}`")).hint("write type=oci or type=registry")),
            (None, _) => Err(bad("`type` is missing".into()).hint("write type=oci,dest=image.tar or type=registry")),
        }
    }
}

fn not_yet(text: &str, kind: &str) -> Failure {
    Failure::usage(format!("-o {text}: {kind} is not supported yet"))
        .hint("type=oci,dest=image.tar, type=oci,dest=folder,tar=false and type=registry are")
}

/// The fields of one CSV line, as buildx splits it: a field in double quotes may hold commas, `""` in it is a quote.
fn fields(line: &str) -> Option<Vec<String>> {
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
    fn layouts_and_registries_are_taken() {
        let tar = |dest: &str| Output::OciTar { dest: dest.into() };
        for (text, output) in [
            ("type=oci,dest=x.tar", tar("x.tar")),
            ("dest=x.tar,TYPE=oci", tar("x.tar")),
            ("type=oci,tar=true,dest=x.tar", tar("x.tar")),
            ("type=oci,\"dest=a,b \"\"c\"\".tar\"", tar("a,b \"c\".tar")),
            ("type=oci,dest=dir,tar=false", Output::OciFolder { dest: "dir".into() }),
            ("type=oci,dest=x.tar,oci-mediatypes=true", tar("x.tar")),
            ("type=registry", Output::Registry),
            ("type=image,push=true", Output::Registry),
        ] {
            assert_eq!(Output::parse(text), Ok(output), "{text}");
        }
    }

    #[test]
    fn the_rest_is_refused_with_its_reason() {
        for (text, words) in [
            ("out", "-o out: type=local is not supported yet"),
            ("-", "-o -: type=tar is not supported yet"),
            ("type=local,dest=out", "-o type=local,dest=out: type=local is not supported yet"),
            ("type=docker,dest=x", "-o type=docker,dest=x: type=docker is not supported yet"),
            ("type=oci", "-o type=oci: `dest` is missing"),
            ("type=oci,dest=-", "-o type=oci,dest=-: an image on stdout is not supported yet"),
            ("type=oci,dest=x,tar=maybe", "-o type=oci,dest=x,tar=maybe: `tar` is true or false, not `maybe`"),
            (
                "type=oci,dest=x,compression=zstd",
                "-o type=oci,dest=x,compression=zstd: `compression` is not supported yet",
            ),
            (
                "type=oci,dest=x,oci-mediatypes=false",
                "-o type=oci,dest=x,oci-mediatypes=false: `oci-mediatypes` is not supported yet",
            ),
            ("type=registry,dest=x", "-o type=registry,dest=x: `dest` is for what is written to this machine"),
            ("type=image", "-o type=image: without push=true the image would go nowhere"),
            ("type=moon", "-o type=moon: there is no type `moon`"),
            ("dest=x", "-o dest=x: `type` is missing"),
            ("type=oci,\"dest=x", "-o type=oci,\"dest=x: a quote is not closed, or stands inside a field"),
            ("", "-o : type=local is not supported yet"),
        ] {
            assert_eq!(Output::parse(text).map_err(|f| f.message), Err(words.to_owned()), "{text}");
        }
    }
}

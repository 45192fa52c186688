//! The order of `diff`.

use std::path::Path;

use super::super::args::DiffArgs;
use super::super::settings::{RegistrySettings, platform};
use super::super::{Failure, home};
use super::{DiffOrder, World};
use crate::image::{Digest, Which};
use crate::road::ImageAt;

pub(super) fn order(args: &DiffArgs, registry: RegistrySettings, world: &World) -> Result<DiffOrder, Failure> {
    Ok(DiffOrder {
        images: [image(&args.left, &world.cwd)?, image(&args.right, &world.cwd)?],
        platform: platform(&args.platform, None)?,
        registry,
        home: home::folder(&world.env)?,
    })
}

/// What is on disk wins over a reference that reads the same.
fn image(text: &str, cwd: &Path) -> Result<ImageAt, Failure> {
    let on_disk = |path: &str, which| {
        let found = cwd.join(path);
        (!path.is_empty() && found.exists()).then_some(ImageAt::Disk { path: found, which })
    };
    let tagged = || text.rsplit_once(':').and_then(|(path, tag)| on_disk(path, Which::Tag(tag.to_owned())));
    let by_digest = || {
        let (path, digest) = text.rsplit_once('@')?;
        on_disk(path, Which::Digest(digest.parse::<Digest>().ok()?))
    };
    if let Some(at) = on_disk(text, Which::First).or_else(by_digest).or_else(tagged) {
        return Ok(at);
    }
    if text.starts_with(['/', '.']) {
        return Err(Failure::usage(format!("there is no image {text}")));
    }
    match text.parse() {
        Ok(reference) => Ok(ImageAt::Registry(reference)),
        Err(error) => Err(Failure::usage(format!("{text} is neither a file or folder here nor a reference: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_on_disk_by_tag_and_by_digest_before_it_is_looked_for_elsewhere() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["node", "odd:name"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        let disk = |path: &str, which| Ok(ImageAt::Disk { path: folder.path().join(path), which });
        let digest = Digest::of(b"x");
        for (text, expected) in [
            ("node".to_owned(), disk("node", Which::First)),
            ("./node".to_owned(), disk("./node", Which::First)),
            ("node:12".to_owned(), disk("node", Which::Tag("12".to_owned()))),
            (format!("node@{digest}"), disk("node", Which::Digest(digest))),
            ("odd:name".to_owned(), disk("odd:name", Which::First)),
            ("busybox:1".to_owned(), Ok(ImageAt::Registry("docker.io/library/busybox:1".parse().expect("one")))),
        ] {
            assert_eq!(image(&text, folder.path()), expected, "{text}");
        }
        for text in ["./missing", "/missing.tar", "", "No Image"] {
            assert_eq!(image(text, folder.path()).expect_err(text).exit_code(), 2);
        }
    }
}

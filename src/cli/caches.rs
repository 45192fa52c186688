//! `--cache-from` and `--cache-to`: build caches that are elsewhere, as buildx writes them.

use std::path::{Path, PathBuf};

use super::Failure;
use super::output::fields;
use crate::dockerfile::nearest::nearest;
use crate::image::Reference;
use crate::road::{CacheFrom, CacheFromPlace, CacheTo, CacheToPlace, Caches, Mode};

/// What a build takes and gives. Paths are those of the current folder.
pub fn caches(from: &[String], to: &[String], cwd: &Path) -> Result<Caches, Failure> {
    Ok(Caches {
        from: from.iter().map(|text| parse_from(text, cwd)).collect::<Result<_, _>>()?,
        to: to.iter().map(|text| parse_to(text, cwd)).collect::<Result<_, _>>()?,
    })
}

fn parse_from(text: &str, cwd: &Path) -> Result<CacheFrom, Failure> {
    let mut entry = Entry::parse("--cache-from", text)?;
    let place = match entry.kind.as_str() {
        "registry" => CacheFromPlace::Registry(entry.reference()?),
        "local" => CacheFromPlace::Folder(cwd.join(entry.path("src")?)),
        "inline" => return Err(entry.bad("an image's own cache is read with type=registry,ref=IMAGE")),
        _ => return Err(entry.no_such_type()),
    };
    let mounts = entry.flag("mounts")?.unwrap_or(true);
    entry.finish(CacheFrom { place, mounts })
}

fn parse_to(text: &str, cwd: &Path) -> Result<CacheTo, Failure> {
    let mut entry = Entry::parse("--cache-to", text)?;
    let place = match entry.kind.as_str() {
        "registry" => CacheToPlace::Registry(entry.place()?),
        "local" => CacheToPlace::Folder(cwd.join(entry.path("dest")?)),
        "inline" => {
            let place = CacheToPlace::Inline;
            return entry.finish(CacheTo { place, mode: Mode::Min, mounts: false, ignore_error: false });
        }
        _ => return Err(entry.no_such_type()),
    };
    let mode = match entry.take("mode").as_deref() {
        None | Some("min") => Mode::Min,
        Some("max") => Mode::Max,
        Some(mode) => return Err(entry.bad(format!("`mode` is min or max, not `{mode}`"))),
    };
    let ignore_error = entry.flag("ignore-error")?.unwrap_or(false);
    for key in ["image-manifest", "oci-mediatypes"] {
        if entry.flag(key)? == Some(false) {
            return Err(
                entry.bad(format!("{key}=false: a cache is written as one OCI image manifest, which ECR takes"))
            );
        }
    }
    let mounts = entry.flag("mounts")?.unwrap_or(false);
    entry.finish(CacheTo { place, mode, mounts, ignore_error })
}

/// One value of such a flag, taken apart.
struct Entry {
    flag: &'static str,
    text: String,
    kind: String,
    /// What was not asked for yet.
    pairs: Vec<(String, String)>,
    /// What was asked for.
    known: Vec<&'static str>,
}

impl Entry {
    fn parse(flag: &'static str, text: &str) -> Result<Self, Failure> {
        let (kind, pairs, known) = (String::new(), Vec::new(), Vec::new());
        let mut entry = Self { flag, text: text.to_owned(), kind, pairs, known };
        let fields = fields(text).ok_or_else(|| entry.bad("a quote is not closed, or stands inside a field"))?;
        // buildx: a reference alone is type=registry.
        if fields.iter().all(|field| !field.contains('=')) {
            let [reference] = &fields[..] else { return Err(entry.bad("one reference is meant, or key=value")) };
            entry.kind = "registry".to_owned();
            entry.pairs.push(("ref".to_owned(), reference.clone()));
            return Ok(entry);
        }
        for field in &fields {
            let Some((key, value)) = field.split_once('=') else {
                return Err(entry.bad(format!("`{field}` is not written key=value")));
            };
            let key = key.to_lowercase();
            if entry.pairs.iter().any(|(known, _)| *known == key) {
                return Err(entry.bad(format!("`{key}` comes twice")));
            }
            entry.pairs.push((key, value.to_owned()));
        }
        entry.kind = entry.take("type").ok_or_else(|| entry.bad("`type` is missing: registry or local"))?;
        Ok(entry)
    }

    fn bad(&self, why: impl std::fmt::Display) -> Failure {
        Failure::usage(format!("{} {}: {why}", self.flag, self.text))
    }

    fn no_such_type(&self) -> Failure {
        let own = "a registry (type=registry,ref=…) or a folder that the CI keeps (type=local) does the same";
        match self.kind.as_str() {
            "gha" => {
                self.bad("GitHub's cache service has no protocol that is written down or can be tried here").hint(own)
            }
            "s3" | "azblob" => {
                self.bad(format!("`{}` is no registry, and no other store is spoken to", self.kind)).hint(own)
            }
            kind => self.bad(format!("there is no type `{kind}`")).hint("the types are registry, local and inline"),
        }
    }

    fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        let at = self.pairs.iter().position(|(known, _)| known == key)?;
        Some(self.pairs.remove(at).1)
    }

    fn flag(&mut self, key: &'static str) -> Result<Option<bool>, Failure> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(value) => Err(self.bad(format!("`{key}` is true or false, not `{value}`"))),
        }
    }

    fn path(&mut self, key: &'static str) -> Result<PathBuf, Failure> {
        match self.take(key) {
            Some(path) if !path.is_empty() => Ok(path.into()),
            _ => Err(self.bad(format!("`{key}` is missing: the cache's folder"))),
        }
    }

    fn reference(&mut self) -> Result<Reference, Failure> {
        let text = self.take("ref").ok_or_else(|| self.bad("`ref` is missing: HOST/REPOSITORY:TAG"))?;
        text.parse().map_err(|error| self.bad(error))
    }

    /// A reference that can be written to.
    fn place(&mut self) -> Result<Reference, Failure> {
        let reference = self.reference()?;
        match reference.digest() {
            Some(_) => Err(self.bad("what is written has a digest of its own: write a tag")),
            None => Ok(reference),
        }
    }

    /// Nothing is accepted and ignored.
    fn finish<T>(self, value: T) -> Result<T, Failure> {
        let Some((key, _)) = self.pairs.first() else { return Ok(value) };
        let failure = self.bad(format!("`{key}` does not go with type={}", self.kind));
        let near = nearest(key, self.known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
        Err(near.into_iter().fold(failure, |failure, near| failure.hint(near)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(from: &[&str], to: &[&str]) -> Result<Caches, String> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        caches(&owned(from), &owned(to), Path::new("/here")).map_err(|failure| failure.message)
    }

    #[test]
    fn what_buildx_takes_is_taken() {
        let registry = |text: &str| CacheFromPlace::Registry(text.parse().unwrap());
        let from =
            said(&["r.test/a:c", "type=registry,ref=r.test/a", "type=local,src=c,mounts=false"], &[]).unwrap().from;
        let folder = CacheFrom { place: CacheFromPlace::Folder("/here/c".into()), mounts: false };
        let [first, second] =
            ["r.test/a:c", "r.test/a:latest"].map(|text| CacheFrom { place: registry(text), mounts: true });
        assert_eq!(from, [first, second, folder]);
        let to = |text| said(&[], &[text]).unwrap().to.remove(0);
        let place = CacheToPlace::Registry("r.test/a:c".parse().unwrap());
        let min = CacheTo { place, mode: Mode::Min, mounts: false, ignore_error: false };
        assert_eq!(to("r.test/a:c"), min);
        let all = "type=registry,ref=r.test/a:c,mode=max,image-manifest=true,oci-mediatypes=true,mounts=true,ignore-error=true";
        assert_eq!(to(all), CacheTo { mode: Mode::Max, mounts: true, ignore_error: true, ..min });
        assert_eq!(to("type=local,dest=/c").place, CacheToPlace::Folder("/c".into()));
        assert_eq!(to("type=inline").place, CacheToPlace::Inline);
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let refused = |from: &[&str], to: &[&str], why: &str| {
            let said = said(from, to).unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        for kind in ["gha", "s3", "azblob"] {
            let text = format!("type={kind},scope=x");
            refused(&[&text], &[], &format!("--cache-from {text}: "));
            refused(&[], &[&text], &format!("--cache-to {text}: "));
        }
        refused(&["type=inline"], &[], "type=registry,ref=IMAGE");
        refused(&["type=registry"], &[], "`ref` is missing");
        refused(&["ref=r.test/a"], &[], "`type` is missing");
        refused(&["type=local,src="], &[], "`src` is missing");
        refused(&["type=local,dest=c"], &[], "`src` is missing");
        refused(&["a,b"], &[], "one reference is meant");
        refused(&["type=registry,ref=UPPER/a b"], &[], "--cache-from type=registry,ref=UPPER/a b: ");
        refused(&[], &["type=registry,ref=r.test/a,mode=mid"], "`mode` is min or max, not `mid`");
        refused(&[], &["type=registry,ref=r.test/a,mode=min,mode=max"], "`mode` comes twice");
        refused(&[], &["type=registry,ref=r.test/a,image-manifest=false"], "one OCI image manifest");
        refused(&[], &["type=registry,ref=r.test/a,mounts=yes"], "`mounts` is true or false, not `yes`");
        refused(&[], &["type=inline,mounts=true"], "`mounts` does not go with type=inline");
        refused(&[], &["type=registry,ref=r.test/a,compression=zstd"], "`compression` does not go with type=registry");
        refused(&[], &["type=inline,mode=max"], "`mode` does not go with type=inline");
        refused(&[], &[&format!("r.test/a@{}", crate::image::Digest::of(b""))], "write a tag");
    }
}

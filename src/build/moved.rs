//! A hint where the Dockerfile is fine and the world has moved: the packages of an old release are no longer where its
//! image looks for them.

/// Releases of Debian that deb.debian.org has given up, or soon will (<https://www.debian.org/distrib/archive>).
const DEBIAN: [&str; 8] = ["etch", "lenny", "squeeze", "wheezy", "jessie", "stretch", "buster", "bullseye"];

/// Releases of Ubuntu whose support has ended for everybody (<https://old-releases.ubuntu.com/releases/>).
const UBUNTU: [&str; 22] = [
    "lucid", "maverick", "natty", "oneiric", "precise", "quantal", "raring", "saucy", "utopic", "vivid", "wily",
    "yakkety", "zesty", "artful", "cosmic", "disco", "eoan", "groovy", "hirsute", "impish", "kinetic", "lunar",
];

/// What apt said of the places that it asked.
#[derive(Debug, Default)]
pub(super) struct Moved {
    release: Option<Release>,
    /// A package of a release that is still there: the list that named it is old.
    stale: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Release {
    name: &'static str,
    /// The domain of the mirrors that had it.
    domain: &'static str,
    archive: &'static str,
}

impl Moved {
    /// Looks at one line that the command wrote.
    pub(super) fn see(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        if line.contains("does not have a Release file") || line.starts_with("Err:") && line.ends_with(" Release") {
            self.release = self.release.or_else(|| Release::named_in(&line));
        }
        self.stale |= line.starts_with("E: Failed to fetch ") && line.contains(".deb") && line.contains("404");
    }

    /// What to do about it; nothing where it was something else that failed.
    pub(super) fn hint(&self) -> Option<String> {
        match self.release {
            Some(Release { name, domain, archive }) => Some(format!(
                "{name} has reached its end of life, and its packages have moved to {archive}: take a newer base image, \
                 or write above this line\n\
                 RUN sed -i 's|//[a-z.]*{domain}|//{archive}|' $(grep -rl {domain} /etc/apt/sources.list*) && \
                 echo 'Acquire::Check-Valid-Until \"false\";' > /etc/apt/apt.conf.d/90archive"
            )),
            None if self.stale => Some(
                "the list of packages is older than the mirror: `apt-get update` belongs into the same RUN as \
                 `apt-get install`"
                    .to_owned(),
            ),
            None => None,
        }
    }
}

impl Release {
    /// The suites of a release are called `buster`, `buster-updates`, `buster/updates`.
    fn named_in(line: &str) -> Option<Self> {
        let mut words = line.split([' ', '/', '-', '\'']);
        words.find_map(|word| {
            let of = |names: &[&'static str]| names.iter().copied().find(|name| *name == word);
            let debian = of(&DEBIAN).map(|name| Self { name, domain: "debian.org", archive: "archive.debian.org" });
            debian.or_else(|| {
                of(&UBUNTU).map(|name| Self { name, domain: "ubuntu.com", archive: "old-releases.ubuntu.com" })
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(lines: &[&str]) -> Option<String> {
        let mut moved = Moved::default();
        lines.iter().for_each(|line| moved.see(line.as_bytes()));
        moved.hint()
    }

    #[test]
    fn a_release_at_its_end_of_life_is_named_with_its_archive_and_the_line_that_mends_it() {
        let buster = hint(&[
            "Err:5 http://deb.debian.org/debian buster Release",
            "  404  Not Found [IP: 192.0.2.1 80]",
            "E: The repository 'http://deb.debian.org/debian buster Release' does not have a Release file.",
        ]);
        assert_eq!(
            buster.unwrap(),
            "buster has reached its end of life, and its packages have moved to archive.debian.org: take a newer base \
             image, or write above this line\n\
             RUN sed -i 's|//[a-z.]*debian.org|//archive.debian.org|' $(grep -rl debian.org /etc/apt/sources.list*) && \
             echo 'Acquire::Check-Valid-Until \"false\";' > /etc/apt/apt.conf.d/90archive"
        );
        let line = "E: The repository 'http://security.ubuntu.com/ubuntu lunar-security Release' does not have a Release file.";
        assert!(hint(&[line]).unwrap().contains("s|//[a-z.]*ubuntu.com|//old-releases.ubuntu.com|"));
        let line =
            "E: The repository 'http://security.debian.org stretch/updates Release' does not have a Release file.";
        assert!(hint(&[line]).unwrap().starts_with("stretch has reached"));
    }

    #[test]
    fn a_list_that_is_older_than_its_mirror_is_told_from_a_release_that_is_gone() {
        let line =
            "E: Failed to fetch http://deb.debian.org/debian/pool/main/c/curl/curl_7.88_amd64.deb  404  Not Found";
        assert!(hint(&[line]).unwrap().contains("`apt-get update` belongs into the same RUN"));
    }

    #[test]
    fn other_failures_have_no_such_hint() {
        for line in [
            "E: The repository 'http://mirror.example/debian trixie Release' does not have a Release file.",
            "E: Unable to locate package gdal-bni",
            "404  Not Found",
            "installing buster",
        ] {
            assert_eq!(hint(&[line]), None, "{line}");
        }
    }
}

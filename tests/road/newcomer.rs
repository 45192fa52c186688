//! What somebody meets who has read the README, on a machine without settings or credentials. Each try is a transcript in
//! `testdata/transcripts`: what was typed, and what was said, where `{…}` stands for what is another each time. With
//! `LOCUS_WRITE_TRANSCRIPTS=1` they are written anew.

use std::path::Path;

use crate::place::{Place, Ran, world};

struct Try {
    place: Place,
    said: String,
}

impl Try {
    fn new() -> Self {
        Self { place: Place::new(), said: String::new() }
    }

    fn types(&mut self, line: &str, code: i32) -> Ran {
        let ran = self.place.run(line);
        assert_eq!(ran.code, Some(code), "{ran}");
        self.said += &format!("$ locus-push {line}\n{}{}[{code}]\n", ran.stderr, ran.stdout);
        ran
    }

    #[track_caller]
    fn is(self, name: &str) {
        let said = still(&self.said, &self.place);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/transcripts").join(name);
        if std::env::var_os("LOCUS_WRITE_TRANSCRIPTS").is_some() {
            std::fs::write(&path, &said).expect("the repository can be written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == said, "{} is another now:\n{said}", path.display());
    }
}

/// The words without what is another each time: digests, times, sizes, ids, and where this place is.
fn still(said: &str, place: &Place) -> String {
    let said =
        said.replace(&place.path("").display().to_string(), "{here}/").replace(&world("LOCUS_TEST_BASES"), "{bases}");
    let mut out = String::new();
    for line in said.lines() {
        // Who runs RUN is the machine's affair.
        if line.trim_start().starts_with("Sandbox ") || line.trim_start().starts_with("warning: RUN") {
            continue;
        }
        let words = line.split(' ').map(|word| {
            let bare = word.trim_matches(|c: char| "(),;".contains(c));
            let number = bare.trim_end_matches('s').parse::<f64>().is_ok();
            let digest =
                bare.split(['@', ':', '/']).any(|part| part.len() >= 12 && part.bytes().all(|b| b.is_ascii_hexdigit()));
            match () {
                () if digest && bare.contains("127.0.0.1") => "{reference}".to_owned(),
                () if digest => "{digest}".to_owned(),
                () if number && bare.contains('.') => word.replace(bare, "{n}"),
                () => word.to_owned(),
            }
        });
        out += &words.collect::<Vec<_>>().join(" ");
        out.push('\n');
    }
    out
}

#[test]
fn a_dockerfile_with_faults_is_met_with_all_of_them() {
    let mut tried = Try::new();
    tried.place.write("Dockerfile", "FROM busybox\nCPOY a.txt /\nWORKDIR\n");
    tried.types("build .", 3);
    tried.is("broken.txt");
}

#[test]
fn without_credentials_the_way_without_a_cloud_is_named() {
    let mut tried = Try::new();
    tried.place.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    tried.place.var("SUBNET1", "subnet-1").var("SECURITYGROUP", "sg-1").var("REGION", "eu-west-1");
    let ran = tried.types("Dockerfile", 4);
    assert!(ran.stderr.ends_with("\nhint: --local does all of it without an AWS account\n"), "{ran}");
}

#[test]
fn a_first_build_says_what_it_did_and_a_second_that_nothing_was_to_do() {
    let mut tried = Try::new();
    tried.place.write("Dockerfile", "FROM scratch\nCOPY hello.txt /\n").write("hello.txt", "hello\n");
    tried.types("build -o type=oci,dest=image.tar .", 0);
    tried.place.write(".dockerignore", "image.tar\n");
    tried.types("build -o type=oci,dest=image.tar .", 0);
    tried.is("build.txt");
}

//! Contexts that are no folder: a tar on stdin or at a URL, a Dockerfile in its place.

use std::io::Write;

use super::folder::Folder;
use super::urls::{serve, serve_bytes};

const DOCKERFILE: &str = "FROM scratch\nCOPY . /\n";

/// A tar of files that belong to somebody, in this order.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o664);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_700_000_000);
        tar.append_data(&mut header, name, text.as_bytes()).expect("a name that fits");
    }
    tar.into_inner().expect("in memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).expect("in memory");
    gzip.finish().expect("in memory")
}

fn answer(bytes: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", bytes.len());
    [head.as_bytes(), bytes].concat()
}

#[test]
fn a_tar_on_stdin_is_a_context_seen_through_its_dockerignore() {
    let files = [
        ("Dockerfile", DOCKERFILE),
        ("a", "A"),
        ("d/b", "B"),
        ("d/c", "C"),
        (".dockerignore", "Dockerfile\n.*\nd/c\n"),
    ];
    let wanted = "a 664 7:8 \"A\"\nd/ 755 0:0\nd/b 664 7:8 \"B\"\n";
    let folder = Folder::new();
    for context in [tar(&files), gzip(&tar(&files))] {
        assert_eq!(folder.build_from("-", &[], &context).unwrap().files(), wanted);
    }
}

#[test]
fn the_dockerfile_of_a_tar_is_named_and_has_an_ignore_file_of_its_own() {
    let files = [
        ("x/Other", DOCKERFILE),
        ("x/Other.dockerignore", "*\n!a\n"),
        (".dockerignore", "a\n"),
        ("a", "A"),
        ("b", "B"),
    ];
    let folder = Folder::new();
    assert_eq!(folder.build_from("-", &["-f", "x/Other"], &tar(&files)).unwrap().files(), "a 664 7:8 \"A\"\n");
    let said = folder.build_from("-", &[], &tar(&files)).err().expect("there is no Dockerfile");
    assert!(said.contains("there is no Dockerfile in stdin"), "{said}");
    folder.put("D", DOCKERFILE);
    let named = folder.beside("context/D").display().to_string();
    let built = folder.build_from("-", &["-f", &named], &tar(&[("dockerfile", "x")])).unwrap();
    assert_eq!(built.files(), "dockerfile 664 7:8 \"x\"\n");
    assert!(folder.build_from("-", &[], &tar(&[("dockerfile", DOCKERFILE)])).is_ok(), "in lower case it is one too");
}

#[test]
fn a_dockerfile_on_stdin_has_an_empty_context() {
    let folder = Folder::new();
    folder.put("a", "A");
    let lines = "FROM scratch\nCOPY <<f /f\nhello\nf\nCOPY . /\n";
    assert_eq!(folder.build_from("-", &[], lines.as_bytes()).unwrap().files(), "f 644 0:0 \"hello\\n\"\n");
    let with_folder = folder.build_from(".", &["-f", "-"], DOCKERFILE.as_bytes()).unwrap();
    assert_eq!(with_folder.files(), "a 644 0:0 \"A\"\n");
    for (args, stdin, words) in [
        (&[][..], &b"FROM scratch\nCOPY a /\n"[..], "/a not found"),
        (&["-f", "D"], lines.as_bytes(), "is no archive and so a Dockerfile, and -f names another"),
        (&[], b"FROM caf\xe9", "neither an archive nor UTF-8"),
        (&[], &gzip(b"text"), "there is no tar in it"),
    ] {
        let said = folder.build_from("-", args, stdin).err().expect(words);
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn a_tar_leads_out_of_nothing() {
    let folder = Folder::new();
    let outside = tar(&[("Dockerfile", DOCKERFILE), ("x", "")]);
    // The tar crate writes no such name, so it is put there by hand.
    let mut bytes = outside.clone();
    let at = bytes.windows(2).position(|two| two == b"x\0").expect("the name is there");
    let header = &mut bytes[at..at + 512];
    header[..5].copy_from_slice(b"../x\0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let said = folder.build_from("-", &[], &bytes).err().expect("it leads out");
    assert!(said.contains("leads out"), "{said}");
}

#[test]
fn what_a_url_holds_decides_what_it_is() {
    let url = serve_bytes(|path, _| match path {
        "/c.tar" => answer(&gzip(&tar(&[("Dockerfile", DOCKERFILE), ("a", "A")]))),
        "/Dockerfile" => answer(b"FROM scratch\nCOPY context /seen\n"),
        _ => b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
    });
    let folder = Folder::new();
    let built = folder.build_from(&format!("{url}/c.tar"), &[], b"").unwrap();
    assert!(built.files().contains("a 664 7:8 \"A\"\n"), "{}", built.files());
    let built = folder.build_from(&format!("{url}/Dockerfile"), &[], b"").unwrap();
    assert_eq!(built.files(), "seen 600 0:0 \"FROM scratch\\nCOPY context /seen\\n\"\n");
    let said = folder.build_from(&format!("{}/none", url.replace("//", "//u:hunter2@")), &[], b"").err().unwrap();
    assert!(said.contains("404") && said.contains("xxxxx@") && !said.contains("hunter2"), "{said}");
}

#[test]
fn a_dockerfile_may_be_at_a_url_and_its_files_here() {
    fn dockerfile(_: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{DOCKERFILE}", DOCKERFILE.len())
    }
    let folder = Folder::new();
    folder.put("a", "A");
    let url = serve(dockerfile);
    assert_eq!(folder.build(&["-f", &format!("{url}/D")]).unwrap().files(), "a 644 0:0 \"A\"\n");
}

#[test]
fn the_date_of_a_build_may_be_that_of_its_context() {
    let folder = Folder::new();
    let lines = "FROM scratch\nARG SOURCE_DATE_EPOCH\nWORKDIR /\n";
    let context = tar(&[("Dockerfile", lines)]);
    let config = folder.build_from("-", &["--build-arg", "SOURCE_DATE_EPOCH=context"], &context).unwrap().config();
    assert!(config.contains("did ARG SOURCE_DATE_EPOCH=1700000000"), "{config}");
}

#[test]
fn what_did_not_change_in_a_tar_is_not_copied_again() {
    let folder = Folder::new();
    let lines = "FROM scratch\nCOPY a /\nCOPY b /\n";
    let context = |b: &str| tar(&[("b", b), ("Dockerfile", lines), ("a", "A")]);
    folder.build_from("-", &[], &context("1")).unwrap();
    let said = folder.build_from("-", &[], &context("a longer b")).unwrap().said();
    assert!(said.contains("Cached [1/2] COPY a /") && !said.contains("Cached [2/2]"), "{said}");
}

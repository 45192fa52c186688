//! ADD of files from the network, against a server of our own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::folder::Folder;

/// A server on loopback that answers each path with what `answer` gives, until the test ends.
pub fn serve(answer: fn(&str) -> String) -> String {
    serve_bytes(move |path, _| answer(path).into_bytes())
}

/// The same with bytes; the second word is what was sent as `Authorization`.
pub fn serve_bytes(answer: impl Fn(&str, &str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("it has an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            let mut authorization = String::new();
            while let Some(line) = lines.next().and_then(Result::ok).filter(|line| !line.is_empty()) {
                if let Some(value) = line.to_lowercase().starts_with("authorization: ").then(|| &line[15..]) {
                    authorization = value.to_owned();
                }
            }
            let path = first.split(' ').nth(1).unwrap_or_default();
            // The client may have gone, which is its right.
            let _ = stream.write_all(&answer(path, &authorization));
        }
    });
    address
}

fn answer(path: &str) -> String {
    match path.split('?').next().unwrap_or_default() {
        "/hello.txt" | "/" | "/d/%C3%A9" => {
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello".to_owned()
        }
        "/cut" => "HTTP/1.1 200 OK\r\nContent-Length: 50\r\nConnection: close\r\n\r\nhello".to_owned(),
        "/moved" => {
            "HTTP/1.1 302 Found\r\nLocation: /hello.txt\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        }
        "/loop" => "HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        "/file" => {
            "HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                .to_owned()
        }
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
    }
}

/// The files of `FROM scratch` and these lines, `URL` filled in.
fn files(lines: &str) -> Result<String, String> {
    let folder = Folder::new();
    folder.put("Dockerfile", &format!("FROM scratch\n{}\n", lines.replace("URL", &serve(answer))));
    folder.build(&[]).map(|built| built.files())
}

#[test]
fn a_file_of_the_network_is_for_its_owner_and_has_the_name_of_its_url() {
    assert_eq!(files("ADD URL/hello.txt /d/").unwrap(), "d/ 755 0:0\nd/hello.txt 600 0:0 \"hello\"\n");
    assert_eq!(files("ADD URL/hello.txt?x=/y /").unwrap(), "hello.txt 600 0:0 \"hello\"\n");
    assert_eq!(files("ADD URL/ /").unwrap(), "__unnamed__ 600 0:0 \"hello\"\n");
    assert_eq!(files("ADD URL/d/%C3%A9 /").unwrap(), "é 600 0:0 \"hello\"\n");
    assert_eq!(files("ADD --chown=7:8 --chmod=644 URL/moved /f").unwrap(), "f 644 7:8 \"hello\"\n");
}

#[test]
fn a_checksum_is_held() {
    let right = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    assert!(files(&format!("ENV S={right}\nADD --checksum=$S URL/hello.txt /")).is_ok());
    let wrong = right.replace("2cf", "3cf");
    let said = files(&format!("ADD --checksum={wrong} URL/hello.txt /")).unwrap_err();
    assert!(said.contains(right) && said.contains(&wrong), "{said}");
    for (lines, words) in [
        ("ADD --checksum=sha256:1 URL/hello.txt /", "64 hex digits"),
        (&*format!("ADD --checksum={right} Dockerfile /"), "for a URL or a repository"),
        (&*format!("ADD --checksum={right} URL/hello.txt URL/ /"), "one source"),
    ] {
        let said = files(lines).unwrap_err();
        assert!(said.contains(words), "{lines}: {said}");
    }
}

#[test]
fn what_cannot_be_fetched_is_said() {
    for (path, words) in [("none", "404"), ("cut", "cannot get"), ("loop", "redirects 10 times"), ("file", "not TLS")] {
        let said = files(&format!("ADD URL/{path} /")).unwrap_err();
        assert!(said.contains(words), "{path}: {said}");
    }
}

#[test]
fn a_url_is_a_context_of_one_file() {
    let folder = Folder::new();
    folder.put("Dockerfile", "FROM scratch\nCOPY --from=page /context /p\n");
    let context = format!("page={}/hello.txt", serve(answer));
    let built = folder.build(&["--build-context", &context]).unwrap();
    assert_eq!(built.files(), "p 600 0:0 \"hello\"\n");
}

#[test]
fn the_date_of_a_build_is_that_of_the_file_that_it_names() {
    fn dated(_: &str) -> String {
        let date = "Last-Modified: Tue, 14 Nov 2023 22:13:20 GMT";
        format!("HTTP/1.1 200 OK\r\n{date}\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx")
    }
    let folder = Folder::new();
    let lines =
        "ARG SOURCE_DATE_EPOCH=src\nFROM scratch AS src\nADD URL/a /\nFROM scratch\nARG SOURCE_DATE_EPOCH\nWORKDIR /";
    folder.put("Dockerfile", &lines.replace("URL", &serve(dated)));
    let config = folder.build(&[]).unwrap().config();
    assert!(config.contains("did ARG SOURCE_DATE_EPOCH=1700000000"), "{config}");
}

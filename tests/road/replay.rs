//! `lock --run`: what RUN downloads is recorded, given again with the network gone, and nothing else with `--locked`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::container::Container;
use crate::image::Image;
use crate::place::Place;

/// A place on loopback that can be turned off, and then refuses as one where nobody ever was.
struct Listening {
    address: SocketAddr,
    on: Arc<AtomicBool>,
    accepted: Arc<AtomicUsize>,
}

impl Listening {
    fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let (on, accepted) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let (still, count, serve) = (Arc::clone(&on), Arc::clone(&accepted), Arc::new(serve));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !still.load(Ordering::SeqCst) {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, on, accepted }
    }

    fn off(&self) {
        self.on.store(false, Ordering::SeqCst);
        // It ends with the next one who comes, and is gone when nobody is let in any more.
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }
}

/// A server with one content for all paths, which can be changed.
struct Files {
    listening: Listening,
    content: Arc<Mutex<String>>,
}

impl Files {
    /// Over TLS where it has a certificate.
    fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let content = Arc::new(Mutex::new("one".to_owned()));
        let served = Arc::clone(&content);
        let listening = Listening::new(move |mut stream| {
            let body = served.lock().expect("nobody panicked").clone();
            // What a client does that goes away is its right.
            let _ = match &tls {
                None => answer(&mut stream, &body),
                Some(config) => rustls::ServerConnection::new(Arc::clone(config))
                    .map_err(std::io::Error::other)
                    .and_then(|connection| answer(&mut rustls::StreamOwned::new(connection, stream), &body)),
            };
        });
        Self { listening, content }
    }

    fn set(&self, content: &str) {
        content.clone_into(&mut self.content.lock().expect("nobody panicked"));
    }
}

fn answer(stream: &mut (impl Read + Write), body: &str) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        asked.extend(byte);
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all((head + body).as_bytes())?;
    stream.flush()
}

/// A server's end of TLS for this machine, and the authority to believe it by.
fn tls() -> (Arc<rustls::ServerConfig>, String) {
    let key = || KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    let own = key();
    let names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
    let certificate = names.signed_by(&own, &authority).expect("a certificate").der().clone();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], own.serialize_der().try_into().expect("a key"))
        .expect("they belong together");
    (Arc::new(config), authority.pem())
}

#[track_caller]
fn built(place: &Place, flags: &[&str]) -> (String, Image) {
    let (layout, output) = place.layout();
    let _ = std::fs::remove_dir_all(&layout);
    let ran = place.run_args(&[&["build", "--progress", "plain", "-o", &output], flags, &["."]].concat());
    ran.ok();
    (ran.stderr.clone(), Image::of_folder(&layout))
}

#[track_caller]
fn lines(place: &Place) -> Vec<String> {
    let text = std::fs::read_to_string(place.path("locus.lock")).expect("it was written");
    text.lines().filter(|line| line.trim_start().starts_with("{ url = ")).map(str::to_owned).collect()
}

mod sandbox {
    use super::*;

    #[test]
    fn what_was_recorded_is_given_again_and_nothing_else() {
        let place = Place::new();
        let (config, authority) = tls();
        let (clear, secure) = (Files::serve(None), Files::serve(Some(config)));
        place.write("ca.pem", authority);
        let urls = [
            format!("http://{}/a?token=hunter2", clear.listening.address),
            format!("https://{}/b", secure.listening.address),
        ];
        let dockerfile = |extra: &str| {
            let text = format!("FROM busybox\nRUN wget -qO /a {} && wget -qO /b {}{extra}\n", urls[0], urls[1]);
            place.write("Dockerfile", text);
        };
        dockerfile("");
        let trusting = ["--ca-file", "ca.pem"];
        let locked =
            place.run_args(&[&["lock", "--run", "--progress", "plain"], &trusting[..], &["Dockerfile"]].concat());
        assert!(locked.ok().contains("2 downloads, 6 bytes, for linux/amd64"), "{locked}");
        locked.said("Recorded 2 downloads, 6 B");
        let rows = lines(&place);
        assert!(rows.len() == 2 && rows[0].contains(&format!("\"http://{}/a\"", clear.listening.address)), "{rows:?}");
        assert!(!rows.concat().contains("hunter2"), "{rows:?}");

        // A change outside is not seen, nor that nobody is there; and what was built is not built again.
        clear.set("two");
        secure.listening.off();
        let (said, first) = built(&place, &["--locked"]);
        assert!(said.contains("Cached [1/1]"), "{said}");
        let (said, again) = built(&place, &["--locked", "--no-cache"]);
        assert!(said.contains("Building [1/1]"), "{said}");
        assert_eq!(first.digest, again.digest);
        assert_eq!(again.files(1)["/a"].content, b"one");
        let config = again.config["config"].to_string();
        assert!(!config.contains("proxy") && !config.contains("SSL_CERT_FILE"), "{config}");

        // One more is refused by name, whatever the command makes of it; without --locked it goes through.
        dockerfile(&format!("; wget -qO /c http://{}/c; true", clear.listening.address));
        let refused = place.run("build --locked .");
        assert_eq!(refused.ended(2), "");
        refused.said(&format!(
            "error: the lock file locus.lock needs to be updated but --locked was passed: \
             RUN downloads http://{}/c, which it does not hold",
            clear.listening.address
        ));
        refused.said("hint: `locus-push lock --run DOCKERFILE` records it");
        let (said, passed) = built(&place, &[]);
        assert!(said.contains(&format!("the lock does not hold http://{}/c", clear.listening.address)), "{said}");
        assert_eq!(passed.files(1)["/c"].content, b"two");
        assert_eq!(passed.files(1)["/a"].content, b"one");
        // That it is cached now is no reason to let it through.
        assert_eq!(place.run("build --locked .").ended(2), "");

        // The lock takes it up, and what it held before stays as it was.
        let more = place.run_args(&[&["lock", "--run"], &trusting[..], &["Dockerfile"]].concat());
        more.ok();
        assert_eq!(lines(&place).len(), 3);
        let (_, third) = built(&place, &["--locked"]);
        assert_eq!(third.files(1)["/a"].content, b"one");
        let updated = place.run_args(&[&["lock", "--run", "--update"], &trusting[..], &["Dockerfile"]].concat());
        assert!(updated.ok().contains("moved "), "{updated}");
        updated.said("warning: not downloaded: https://");
    }

    #[test]
    fn a_locked_run_reaches_nothing_but_the_proxy_and_what_it_serves_itself() {
        let (files, other) = (Files::serve(None), Files::serve(None));
        let (url, beside) = (files.listening.address, other.listening.address);
        let text = format!(
            "FROM busybox\nRUN wget -qO /a http://{url}/a && ! nc -w 2 {} {} < /dev/null\n\
             RUN mkdir /w && echo own > /w/i && httpd -p 127.0.0.1:8099 -h /w && \
             until wget -qO /b http://127.0.0.1:8099/i; do sleep .01; done\n",
            beside.ip(),
            beside.port()
        );
        let place = Place::new();
        place.write("Dockerfile", &text);
        place.run("lock --run Dockerfile").ok();
        let rows = lines(&place);
        assert!(rows.len() == 1 && rows[0].contains(&format!("http://{url}/a")), "{rows:?}");
        for (rung, other_place) in
            [("root", Place::new()), ("sub-ids", Place::of_user()), ("one id", Place::of_nobody())]
        {
            other_place.copy(&place.path("."), "");
            let (said, image) = built(&other_place, &["--locked"]);
            assert!(said.contains(&format!("Sandbox {rung}: ")), "{said}");
            assert_eq!(
                (&image.files(1)["/a"].content[..], &image.files(2)["/b"].content[..]),
                (&b"one"[..], &b"own\n"[..])
            );
        }
        assert_eq!(other.listening.accepted.load(Ordering::SeqCst), 0);

        // Where there are no namespaces this is said.
        let contained = Place::in_container(Container::Docker);
        contained.copy(&place.path("."), "");
        contained.write("Dockerfile", text.replace("! nc", "nc"));
        contained.run("lock --run Dockerfile").ok();
        contained.run("build --locked --no-cache .").said("warning: nothing keeps this RUN to what is locked");
        assert!(other.listening.accepted.load(Ordering::SeqCst) > 0);
    }

    #[test]
    fn a_run_that_goes_around_the_proxy_is_told_when_it_is_recorded_and_may_ask_for_the_hosts_network() {
        let place = Place::new();
        place.write("Dockerfile", "FROM busybox\nRUN nc -w 2 192.0.2.1 80 < /dev/null\n");
        let failed = place.run("lock --run Dockerfile");
        assert_eq!(failed.ended(3), "");
        failed.said("hint: something in this RUN tried to reach the network without its proxy variables");
        let files = Files::serve(None);
        let (ip, port) = (files.listening.address.ip(), files.listening.address.port());
        place.write("Dockerfile", format!("FROM busybox\nRUN --network=host nc -w 2 {ip} {port} < /dev/null\n"));
        place.run("lock --run --allow network.host Dockerfile").ok();
        assert_eq!(files.listening.accepted.load(Ordering::SeqCst), 1);
        place.run("build --allow network.host .").ok();
        let refused = place.run("build --allow network.host --locked .");
        assert_eq!(refused.ended(2), "");
        refused.said("error: --locked was passed, and this RUN has the host's network");
        refused.said("--> Dockerfile:2");
    }

    #[test]
    fn a_body_that_was_lost_and_is_another_now_is_told_with_both_digests() {
        let place = Place::new();
        let files = Files::serve(None);
        place.write("Dockerfile", format!("FROM busybox\nRUN wget -qO /a http://{}/a\n", files.listening.address));
        place.run("lock --run Dockerfile").ok();
        // Another machine, with nothing in its store.
        let elsewhere = Place::new();
        elsewhere.copy(&place.path("."), "");
        let (_, image) = built(&elsewhere, &["--locked"]);
        assert_eq!(image.files(1)["/a"].content, b"one");
        let third = Place::new();
        third.copy(&place.path("."), "");
        files.set("two");
        let ran = third.run("build .");
        assert_eq!(ran.ended(3), "");
        let [one, two] = [
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
            "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3",
        ];
        let address = files.listening.address;
        ran.said(&format!("error: http://{address}/a was sha256:{one} when it was locked, and is sha256:{two} now"));
        ran.said("hint: `locus-push lock --run --update DOCKERFILE` takes what is there now");
        let updated = third.run("lock --run --update Dockerfile");
        assert_eq!(updated.ok(), format!("moved      http://{address}/a  sha256:{one} → sha256:{two}"));
    }

    /// Locked with the packages there, built again from nothing where nobody can be reached: not the packages, not the
    /// registry of the base.
    #[track_caller]
    fn comes_again(text: &str, files: &[(&str, &str)]) -> Image {
        let mut place = Place::new();
        for (name, content) in files {
            place.write(name, content);
        }
        place.write("Dockerfile", text);
        place.run("lock --run Dockerfile").ok();
        assert!(lines(&place).len() > 1, "it was asked for the packages");
        let (_, first) = built(&place, &["--locked"]);
        place.cut_off();
        let (said, again) = built(&place, &["--locked", "--no-cache"]);
        assert!(!said.contains("Cached"), "{said}");
        assert_eq!(first.digest, again.digest);
        again
    }

    #[test]
    fn debian_packages_are_installed_without_the_mirror() {
        let image = comes_again(
            "FROM debian\nRUN apt-get update && apt-get install -y --no-install-recommends tree && rm -rf /var/lib/apt/lists/*\n",
            &[],
        );
        assert!(image.files(0).contains_key("/usr/bin/tree"));
    }

    #[test]
    fn a_python_package_is_installed_without_the_index() {
        let image = comes_again("FROM python\nRUN pip install --no-cache-dir --no-compile six==1.16.0\n", &[]);
        assert!(image.files(0).keys().any(|path| path.ends_with("/six.py")));
    }

    mod slow {
        use super::*;

        #[test]
        fn node_packages_are_installed_without_the_registry() {
            let read = |name: &str| {
                let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/runs/npm");
                std::fs::read_to_string(folder.join(name)).expect("it is there")
            };
            let (package, lock) = (read("package.json"), read("package-lock.json"));
            let image = comes_again(
                "FROM node\nWORKDIR /app\nCOPY package.json package-lock.json ./\nRUN npm ci\n",
                &[("package.json", &package), ("package-lock.json", &lock)],
            );
            assert!(image.files(0).contains_key("/app/node_modules/csv-parse/package.json"));
        }
    }
}

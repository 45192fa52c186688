//! What a RUN writes: as it comes, under its stage's name, and once more where it failed. And proxies, which are a RUN's
//! and nobody else's.

use std::io::{BufRead, BufReader};

use serde_json::Value;

use crate::image::Image;
use crate::place::{Place, interrupt};

mod sandbox {
    use super::*;

    #[test]
    fn a_line_is_told_when_it_is_written_and_under_its_stages_name() {
        let place = Place::new();
        place.write(
            "Dockerfile",
            "FROM busybox AS tools\nRUN echo made > /made; printf 'half '; printf 'and half\\n'; sleep 100.41\n\
             FROM busybox\nCOPY --from=tools /made /made\n",
        );
        let mut child = place.start("build .");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let told = lines.map_while(Result::ok).find(|line| line.contains("| half"));
        assert_eq!(told.as_deref(), Some("     tools | half and half"));
        interrupt(&child);
        assert_eq!(child.wait().expect("a child of ours").code(), Some(130));
    }

    #[test]
    fn the_last_twenty_lines_come_again_in_the_error() {
        let place = Place::new();
        place.write(
            "Dockerfile",
            "FROM busybox\nRUN for n in $(seq 30); do echo line $n; done; printf 'no end' >&2; exit 7\n",
        );
        let ran = place.run("build .");
        let error = &ran.stderr[ran.said("error: RUN failed with exit code 7\n  --> Dockerfile:2")..];
        let again: Vec<&str> = error.lines().filter(|line| line.contains("line ") || line.contains("no end")).collect();
        assert!(ran.stderr.contains("| line 1\n") && again.len() >= 20, "{ran}");
        assert!(error.contains("last lines: line 12\n") && !error.contains("line 11\n"), "{ran}");
        assert!(error.contains("line 30\n") && error.contains("no end\n"), "{ran}");
        assert_eq!(ran.code, Some(3));
    }

    #[test]
    fn a_proxy_reaches_run_in_both_cases_and_neither_image_history_nor_key() {
        let place = Place::new();
        place.write("Dockerfile", "FROM busybox\nRUN env | grep -i proxy | sort > /proxies\n");
        let flags = "--build-arg HTTPS_PROXY=http://canary-a:1 --build-arg no_proxy=canary-b --build-arg https_proxy=http://canary-c:2";
        let (layout, output) = place.layout();
        place.run(&format!("build {flags} -o {output} .")).ok();
        let image = Image::of_folder(&layout);
        let seen = String::from_utf8_lossy(&image.files(1)["/proxies"].content).into_owned();
        assert_eq!(seen, "HTTPS_PROXY=http://canary-a:1\nhttps_proxy=http://canary-c:2\nno_proxy=canary-b\n");
        let config: &Value = &image.config;
        assert!(!config.to_string().contains("canary"), "{config}");
        place.run("build --build-arg HTTPS_PROXY=http://another:3 .").said("Cached [1/1] RUN env");
    }
}

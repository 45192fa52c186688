//! What a user reads when a build cannot be: the file and the line, or the image, and what to do. Each word for word.

use std::time::Instant;

use crate::place::{Place, world};

/// Builds `text` as `loaders/x.Dockerfile`, which must fail in these words.
#[track_caller]
fn refuses(text: &str, words: &str) {
    let place = Place::new();
    place.write("loaders/x.Dockerfile", text).write("a.txt", "a");
    let ran = place.run("build -f loaders/x.Dockerfile .");
    ran.fails(3, words);
    ran.not_said("Building");
}

#[test]
fn a_missing_dockerfile_is_told_with_the_flag_that_names_one() {
    let place = Place::new();
    place.run("build .").fails(
        2,
        "error: there is no Dockerfile Dockerfile\nhint: looked in the current folder, which has no Dockerfile\n\
         hint: -f FILE names another\n",
    );
    place.write("loaders/os_opendata.Dockerfile", "FROM scratch\n");
    let words = "error: there is no Dockerfile loaders/os_opndata.Dockerfile\n\
                 hint: did you mean loaders/os_opendata.Dockerfile?\n";
    place.run("build -f loaders/os_opndata.Dockerfile .").fails(2, words);
    place.run("--local loaders/os_opndata.Dockerfile").fails(2, words);
    assert!(!place.store().exists(), "nothing was written");
}

#[test]
fn a_base_that_does_not_exist_is_told_with_its_line_and_where_it_was_asked_for() {
    let place = Place::new();
    place.write("Dockerfile", "# A loader.\nFROM nod:12\nRUN true\n");
    let ran = place.run("build .");
    let asked = world("LOCUS_TEST_BASES");
    let words = format!(
        "error: cannot get the base image: no image `docker.io/library/nod:12` (asked {asked}/v2/library/nod/manifests/12"
    );
    assert!(ran.stderr.contains(&words), "{ran}");
    let place_and_hint = "\n  --> Dockerfile:2\n   |\n 2 | FROM nod:12\n   | ^^^^^^^^^^^\nhint: check the name and the tag at \
                          https://hub.docker.com/r/library/nod/tags; a private image needs `docker login`\n";
    assert!(ran.stderr.ends_with(place_and_hint), "{ran}");
    assert_eq!(ran.ended(4), "");
    ran.not_said("Building");
}

#[test]
fn a_registry_that_is_not_there_is_told_with_its_address() {
    let mut place = Place::new();
    // Taken and let go: nobody listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
    place.var("LOCUS_REGISTRY_ENDPOINTS", format!("docker.io=http://{free}"));
    place.write("Dockerfile", "FROM busybox\n");
    let began = Instant::now();
    let ran = place.run("build .");
    assert_eq!(ran.ended(4), "");
    ran.said(&format!("cannot connect to http://{free}/v2/"));
    ran.said("  --> Dockerfile:1\n   |\n 1 | FROM busybox\n   | ^^^^^^^^^^^^\n");
    assert!(began.elapsed().as_secs() < 60, "{ran}");
}

#[test]
fn a_failing_run_is_told_with_its_last_lines_its_line_and_what_is_kept() {
    let place = Place::new();
    place.write(
        "loaders/x.Dockerfile",
        "FROM busybox\n\nRUN echo kept > /kept\nRUN echo looking && \\\n    echo \"E: no package gdal-bni\" >&2 && \\\n    exit 100\n",
    );
    let ran = place.run("build -f loaders/x.Dockerfile .");
    ran.fails(
        3,
        "error: RUN failed with exit code 100\n\
         \x20 --> loaders/x.Dockerfile:4\n\
         \x20  |\n\
         \x204 | / RUN echo looking && \\\n\
         \x205 | |     echo \"E: no package gdal-bni\" >&2 && \\\n\
         \x206 | |     exit 100\n\
         \x20  | |____________^\n\
         \x20  = last lines: looking\n\
         \x20                E: no package gdal-bni\n\
         hint: no image was pushed; the layers above this line are cached\n",
    );
    let again = place.run("build -f loaders/x.Dockerfile .");
    again.said("Cached [1/2] RUN echo kept > /kept");
    assert_eq!(again.code, Some(3));
}

#[test]
fn a_release_whose_packages_have_moved_is_told_with_where_they_are() {
    let place = Place::new();
    let apt = "E: The repository 'http://deb.debian.org/debian buster Release' does not have a Release file.";
    place.write("Dockerfile", format!("FROM busybox\nRUN echo \"{apt}\" >&2; exit 100\n"));
    let ran = place.run("build .");
    assert_eq!(ran.code, Some(3), "{ran}");
    ran.said("hint: buster has reached its end of life, and its packages have moved to archive.debian.org: ");
    ran.said("\n      RUN sed -i 's|//[a-z.]*debian.org|//archive.debian.org|' ");
}

#[test]
fn a_program_that_is_not_in_the_image_is_told() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nRUN [\"/no/such/program\"]\n");
    let ran = place.run("build .");
    assert_eq!(ran.code, Some(3), "{ran}");
    ran.said(
        "error: RUN failed: `/no/such/program` was not found in the image\n\
         \x20 --> Dockerfile:2\n   |\n 2 | RUN [\"/no/such/program\"]\n",
    );
}

#[test]
fn what_run_writes_cannot_forge_our_words() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nRUN printf '    Pushed evil\\033[2K\\nerror: forged\\n'; exit 1\n");
    let ran = place.run("build .");
    assert_eq!(ran.code, Some(3), "{ran}");
    assert!(!ran.stderr.contains('\x1b') && !ran.stderr.contains("\nerror: forged"), "{ran}");
}

#[test]
fn a_device_is_refused_by_name_and_line() {
    let line = "RUN --device=vendor.com/gpu=all,required true";
    let words = format!(
        "error: required device \"vendor.com/gpu=all\" is not registered: a RUN has no devices of this machine, as the \
         task will have none\n  --> loaders/x.Dockerfile:3\n   |\n 3 | {line}\n   | {}\n",
        "^".repeat(line.len())
    );
    refuses(&format!("FROM busybox\nCOPY a.txt /\n{line}\n"), &words);
}

#[test]
fn an_unknown_instruction_is_told_with_the_one_that_was_meant() {
    refuses(
        "FROM busybox\nCPOY a.txt /\n",
        "error: unknown instruction: CPOY (did you mean COPY?)\n  --> loaders/x.Dockerfile:2:1\n   |\n 2 | CPOY a.txt /\n   | ^^^^\n",
    );
    refuses(
        "FROM busybox\nINSTALL gdal\n",
        "error: unknown instruction: INSTALL\n  --> loaders/x.Dockerfile:2:1\n   |\n 2 | INSTALL gdal\n   | ^^^^^^^\n",
    );
}

#[test]
fn every_fault_of_a_dockerfile_is_told_at_once() {
    refuses(
        "FROM busybox\nCPOY a.txt /\nWORKDIR\n",
        "error: unknown instruction: CPOY (did you mean COPY?)\n  --> loaders/x.Dockerfile:2:1\n   |\n 2 | CPOY a.txt /\n   | ^^^^\n\
         error: WORKDIR requires exactly one argument\n  --> loaders/x.Dockerfile:3\n   |\n 3 | WORKDIR\n   | ^^^^^^^\n",
    );
}

#[test]
fn a_stage_that_is_not_there_is_an_image_that_is_not_there() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox AS builder\nFROM scratch\nCOPY --from=bulider /a /a\n");
    let ran = place.run("build .");
    assert_eq!(ran.ended(4), "");
    ran.said("error: cannot get the base image: no image `docker.io/library/bulider:latest` (asked ");
    ran.said("  --> Dockerfile:3\n   |\n 3 | COPY --from=bulider /a /a\n   | ^^^^^^^^^^^^^^^^^^^^^^^^^\nhint: did you mean the stage `builder`?\n");
}

#[test]
fn a_file_that_is_not_in_the_context_is_told_with_its_line() {
    let place = Place::new();
    place.write("Dockerfile", "FROM scratch\nCOPY places.csv missing.csv /data/\n").write("places.csv", "1\n");
    place.run("build .").fails(
        3,
        "error: COPY: /missing.csv not found in the context\n\
         \x20 --> Dockerfile:2:17\n   |\n 2 | COPY places.csv missing.csv /data/\n   |                 ^^^^^^^^^^^\n",
    );
}

#[test]
fn a_file_that_dockerignore_leaves_out_is_not_in_the_context() {
    let place = Place::new();
    place
        .write("Dockerfile", "FROM scratch\nCOPY secret.env /\n")
        .write("secret.env", "x")
        .write(".dockerignore", "*.env\n");
    place
        .run("build .")
        .fails(3, "error: COPY: /secret.env not found in the context\n  --> Dockerfile:2:6\n   |\n 2 | COPY secret.env /\n   |      ^^^^^^^^^^\n\
             hint: /secret.env is there, and .dockerignore leaves it out\n");
}

#[test]
fn a_user_that_the_image_does_not_know_is_told_with_its_line() {
    let place = Place::new();
    place.write("Dockerfile", "FROM busybox\nCOPY --chown=loader Dockerfile /\n");
    place.run("build .").fails(
        3,
        "error: no user `loader` in the image's /etc/passwd\n\
         \x20 --> Dockerfile:2:14\n   |\n 2 | COPY --chown=loader Dockerfile /\n   |              ^^^^^^\n",
    );
}

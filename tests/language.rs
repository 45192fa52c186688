//! The Dockerfile language, built by the program itself: files in, a file system and a config out. No network beyond
//! loopback, no privileges: every base is `scratch`, a stage, a folder or a layout.

#[path = "language/case.rs"]
mod case;
#[path = "language/elsewhere.rs"]
mod elsewhere;
#[path = "language/folder.rs"]
mod folder;
#[path = "language/git.rs"]
mod git;
#[path = "language/urls.rs"]
mod urls;

use case::Case;

/// Every case of `testdata/language`; one that fails does not hide the others.
#[test]
fn every_case_of_the_folder_builds_to_what_it_says() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/language");
    let mut failed = Vec::new();
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("the cases are there") {
        let path = file.expect("a folder that can be read").path();
        let text = std::fs::read_to_string(&path).expect("a case is text");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for case in Case::all_in(&text) {
            count += 1;
            if let Err(why) = case.check() {
                failed.push(format!("{name}: {}\n{why}", case.name));
            }
        }
    }
    assert!(failed.is_empty(), "{} of {count} cases:\n\n{}", failed.len(), failed.join("\n"));
    assert!(count > 30, "only {count} cases were found");
}

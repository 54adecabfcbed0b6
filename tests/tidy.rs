//! The mechanical house rules, as data: each has a pattern, what to write instead, and the reason.
//! The checker is a pure function over (path, text); `bites` breaks each rule once and sees it found.

#[path = "tidy/patterns.rs"]
mod patterns;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/siblings.rs"]
mod siblings;
#[path = "tidy/source_text.rs"]
mod source_text;
#[path = "tidy/whole_tree.rs"]
mod whole_tree;

#[path = "tidy/bites.rs"]
mod bites;

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file that git tracks, or would if it were added, by its path from the root.
fn project_files() -> Vec<String> {
    let listing = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git is there: the rules apply to what git sees");
    assert!(
        listing.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&listing.stderr)
    );
    let mut paths: Vec<String> = listing
        .stdout
        .split(|byte| *byte == 0)
        .filter(|path| !path.is_empty())
        .map(|path| String::from_utf8(path.to_vec()).expect("paths are UTF-8"))
        .filter(|path| root().join(path).is_file())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

fn read(path: &str) -> String {
    let full: PathBuf = root().join(path);
    std::fs::read_to_string(&full).unwrap_or_else(|error| panic!("{}: {error}", full.display()))
}

fn report(findings: &[rules::Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{} broken house rules:\n{}",
        findings.len(),
        lines.join("\n")
    );
}

#[test]
fn every_rust_file_keeps_the_house_rules() {
    let files = project_files();
    let rust: Vec<&String> = files.iter().filter(|path| path.ends_with(".rs")).collect();
    assert!(rust.len() > 5, "found only {rust:?}");
    let findings: Vec<rules::Finding> = rust
        .iter()
        .flat_map(|path| rules::check(path, &read(path)))
        .collect();
    report(&findings);
}

#[test]
fn no_text_file_names_a_machine() {
    let findings: Vec<rules::Finding> = project_files()
        .iter()
        .filter(|path| rules::is_plain_text(path))
        .flat_map(|path| rules::check_plain(path, &read(path)))
        .collect();
    report(&findings);
}

#[test]
fn every_example_config_is_in_the_docs() {
    let files = project_files();
    let docs: String = files
        .iter()
        .filter(|path| {
            path.as_str() == "README.md" || (path.starts_with("docs/") && path.ends_with(".md"))
        })
        .map(|path| read(path))
        .collect();
    report(&whole_tree::examples_without_docs(&files, &docs));
}

#[test]
fn every_dependency_has_its_reason() {
    let reasons = read("docs/dependencies.md");
    report(&whole_tree::dependencies_without_reason(
        &read("Cargo.toml"),
        &reasons,
    ));
}

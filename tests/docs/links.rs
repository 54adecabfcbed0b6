//! Links between the pages, and from them into the project.

use std::path::Path;

use crate::{files, read, root};

/// The targets of a page's links that are files.
fn targets(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter_map(|target| target.split('#').next())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

#[test]
fn links_lead_to_files() {
    let mut pages = files("docs", ".md");
    pages.push(root().join("README.md"));
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        let folder = page.parent().expect("it is in a folder");
        for target in targets(&text) {
            let is_there = folder.join(target).exists();
            assert!(is_there, "{}: nothing at {target}", page.display());
        }
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = read("docs/SUMMARY.md");
    let known: Vec<&Path> = targets(&summary).into_iter().map(Path::new).collect();
    for page in files("docs", ".md") {
        let page = page
            .strip_prefix(root().join("docs"))
            .expect("it is a page");
        let is_known = page == Path::new("SUMMARY.md") || known.contains(&page);
        assert!(is_known, "docs/SUMMARY.md lacks {}", page.display());
    }
}

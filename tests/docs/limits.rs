//! `docs/limits.md` has every limit of the code, with its value, and no other.

use crate::{files, read, root};

/// Names that say that a constant is a limit.
const WORDS: &[&str] = &["MAX", "TIMEOUT", "CREDITS", "SHUTDOWN"];
/// Types that a limit may have; others (of generic parameters) are none.
const TYPES: &[&str] = &["usize", "u16", "u32", "u64", "Duration"];

/// `NAME = value` in a file, as the table has it.
struct Constant {
    name: String,
    text: String,
}

#[test]
fn every_limit_of_the_code_is_in_the_table_with_its_value() {
    let table = read("docs/limits.md");
    let constants = constants();
    assert!(
        constants.len() > 50,
        "only {} limits found",
        constants.len()
    );
    let missing: Vec<&str> = constants
        .iter()
        .filter(|constant| is_limit(&constant.name) && !table.contains(&constant.text))
        .map(|constant| constant.text.as_str())
        .collect();
    assert!(
        missing.is_empty(),
        "docs/limits.md needs a row for each of these, with what happens beyond it:\n{}",
        missing.join("\n")
    );
}

#[test]
fn every_row_of_the_table_is_a_limit_of_the_code() {
    let constants = constants();
    for row in read("docs/limits.md").lines() {
        let Some(cell) = row
            .split(" | ")
            .nth(2)
            .filter(|cell| cell.contains("` in `"))
        else {
            continue;
        };
        let is_known = constants.iter().any(|constant| constant.text == cell);
        assert!(is_known, "the code has no {cell}");
    }
}

fn is_limit(name: &str) -> bool {
    WORDS.iter().any(|word| name.contains(word))
}

fn constants() -> Vec<Constant> {
    let mut constants = Vec::new();
    for path in ["actors/src", "src"]
        .iter()
        .flat_map(|folder| files(folder, ".rs"))
    {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let path = path
            .strip_prefix(root())
            .expect("it is the project's")
            .display()
            .to_string();
        if path.contains("/tests") || path.ends_with("testing.rs") {
            continue;
        }
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        constants.extend(code.lines().filter_map(|line| constant(line, &path)));
    }
    constants
}

fn constant(line: &str, path: &str) -> Option<Constant> {
    let (before, rest) = line.split_once("const ")?;
    let is_declaration = before.trim().is_empty() || before.trim().starts_with("pub");
    let (name, rest) = rest.split_once(": ").filter(|_| is_declaration)?;
    let (kind, value) = rest.split_once(" = ")?;
    let value = value.strip_suffix(';').filter(|_| TYPES.contains(&kind))?;
    Some(Constant {
        name: name.to_owned(),
        text: format!("`{name} = {value}` in `{path}`"),
    })
}

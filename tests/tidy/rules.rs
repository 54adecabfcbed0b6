//! The rules that can be seen in one file.

use std::fmt;

use crate::patterns::{HANDLED, PLAIN_RULES, Place, RULES, Rule, SWALLOWED, Scope};
use crate::siblings::check_imports;
use crate::source_text::{Line, imports, lines};

/// One broken rule at one place.
#[derive(Debug)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
    reason: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: &str, reason: &str) -> Self {
        Self {
            path: path.to_string(),
            line,
            message: message.to_string(),
            reason: reason.to_string(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            message,
            reason,
        } = self;
        write!(formatter, "{path}:{line}: {message} ({reason})")
    }
}

/// The files that hold the patterns themselves.
const RULE_FILES: &str = "tests/tidy";
const NAMES_THAT_SAY_NOTHING: &[&str] = &[
    "util", "utils", "common", "manager", "helper", "helpers", "misc",
];
const CODE_LINES_MAX: usize = 400;
const MAIN_LINES_MAX: usize = 60;

/// Every rule that a Rust file breaks.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let lines = lines(path, text);
    let imports = imports(&lines);
    let mut findings = Vec::new();
    check_shape(path, &lines, &mut findings);
    check_patterns(path, &lines, &imports, &mut findings);
    check_shared_state(path, &lines, &mut findings);
    check_swallowed(path, &lines, &mut findings);
    check_allows(path, &lines, &mut findings);
    check_imports(path, &lines, &imports, &mut findings);
    findings
}

/// Whether the rules for plain text look at a file.
pub(crate) fn is_plain_text(path: &str) -> bool {
    let by_name = [".rs", ".md", ".toml", ".yaml", ".yml", ".json", ".sh"];
    by_name.iter().any(|end| path.ends_with(end))
        || path.starts_with("scripts/")
        || path.starts_with(".ci/")
}

/// Every rule for plain text that a file breaks.
pub(crate) fn check_plain(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for rule in PLAIN_RULES {
            if line.contains(rule.pattern)
                && !path.starts_with(RULE_FILES)
                && applies(rule.place, path, false)
            {
                findings.push(broken(rule, path, index + 1));
            }
        }
    }
    findings
}

fn broken(rule: &Rule, path: &str, line: usize) -> Finding {
    let message = format!("`{}`: write {} instead", rule.pattern, rule.instead);
    Finding::new(path, line, &message, rule.reason)
}

fn applies(place: Place, path: &str, is_test: bool) -> bool {
    match place {
        Place::Everywhere => true,
        Place::OutsideTests => !is_test,
        Place::InTests => is_test,
        Place::Outside(words) => !is_test && !words.iter().any(|word| path.contains(word)),
    }
}

fn check_shape(path: &str, lines: &[Line], findings: &mut Vec<Finding>) {
    if !lines
        .first()
        .is_some_and(|line| line.raw.starts_with("//!"))
    {
        let reason = "the head tells a newcomer what the file is for";
        findings.push(Finding::new(
            path,
            1,
            "the file does not open with `//!`",
            reason,
        ));
    }
    let count = lines.iter().filter(|line| !line.is_test).count();
    if count > CODE_LINES_MAX {
        let message = format!("{count} lines before the tests, at most {CODE_LINES_MAX}");
        findings.push(Finding::new(
            path,
            count,
            &message,
            "a file tells one concept",
        ));
    }
    if path == "src/main.rs" && lines.len() > MAIN_LINES_MAX {
        let message = format!("{} lines, at most {MAIN_LINES_MAX}", lines.len());
        findings.push(Finding::new(
            path,
            lines.len(),
            &message,
            "`main` fits a screen",
        ));
    }
    for part in path.trim_end_matches(".rs").split('/') {
        if NAMES_THAT_SAY_NOTHING.contains(&part) {
            let message = format!("`{part}` names nothing: use the concept's noun");
            findings.push(Finding::new(
                path,
                1,
                &message,
                "a file is found by its name",
            ));
        }
    }
}

fn check_patterns(
    path: &str,
    lines: &[Line],
    imports: &[(usize, String)],
    findings: &mut Vec<Finding>,
) {
    let holds_patterns = path.starts_with(RULE_FILES);
    for rule in RULES {
        let mut last_line = 0;
        let seen = lines
            .iter()
            .enumerate()
            .filter(|(_, line)| match rule.scope {
                Scope::Code => line.code.contains(rule.pattern),
                Scope::Anywhere => !holds_patterns && line.raw.contains(rule.pattern),
            });
        for (index, line) in seen {
            if applies(rule.place, path, line.is_test) {
                findings.push(broken(rule, path, index + 1));
                last_line = index + 1;
            }
        }
        for (number, import) in imports {
            let is_test = lines[number - 1].is_test;
            let is_new = *number != last_line && import.contains(rule.pattern);
            if is_new && applies(rule.place, path, is_test) {
                findings.push(broken(rule, path, *number));
            }
        }
    }
}

/// Locked state between threads needs a comment on the line, or right above it.
fn check_shared_state(path: &str, lines: &[Line], findings: &mut Vec<Finding>) {
    for (index, line) in lines.iter().enumerate() {
        let is_shared = line.code.contains("Arc<Mutex<") || line.code.contains("Arc<RwLock<");
        let is_told =
            !line.comment.is_empty() || (index > 0 && !lines[index - 1].comment.is_empty());
        if is_shared && !is_told && !line.is_test {
            let message = "shared locked state without a comment above that says why";
            findings.push(Finding::new(
                path,
                index + 1,
                message,
                "an actor owns its state",
            ));
        }
    }
}

/// A statement that only turns an error into nothing: its value is not kept.
fn check_swallowed(path: &str, lines: &[Line], findings: &mut Vec<Finding>) {
    for (index, line) in lines.iter().enumerate() {
        let Some((head, _)) = line.code.split_once(".ok();") else {
            continue;
        };
        let is_end = |line: &&Line| line.code.trim_end().ends_with([';', '{', '}', ',']);
        let before = lines[..index].iter().rev().take_while(|line| !is_end(line));
        let statement: Vec<&str> = before
            .map(|line| line.code.as_str())
            .chain([head])
            .collect();
        let is_kept =
            |code: &&str| code.contains(" = ") || code.trim_start().starts_with("return ");
        if !statement.iter().any(is_kept) {
            let message = format!("`.ok();`: write {HANDLED} instead");
            findings.push(Finding::new(path, index + 1, &message, SWALLOWED));
        }
    }
}

fn check_allows(path: &str, lines: &[Line], findings: &mut Vec<Finding>) {
    for (index, line) in lines.iter().enumerate() {
        if !(line.code.contains("#[allow(") || line.code.contains("#![allow(")) {
            continue;
        }
        let mut attribute = String::new();
        for line in &lines[index..] {
            attribute.push_str(&line.code);
            if line.code.contains(")]") {
                break;
            }
        }
        if !attribute.contains("reason =") {
            let message = "`allow` without `reason = \"...\"`";
            findings.push(Finding::new(
                path,
                index + 1,
                message,
                "an exception says why",
            ));
        }
    }
}

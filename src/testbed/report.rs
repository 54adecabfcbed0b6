//! What came of tests, for people and for programs.

use serde_json::{Value, json};

use super::TestOutcome;

/// One test: its name, and what is wrong with it.
pub(crate) fn text(outcome: &TestOutcome) -> String {
    let TestOutcome {
        name,
        place,
        failures,
        ..
    } = outcome;
    if failures.is_empty() {
        return format!("ok    {name}\n");
    }
    let mut text = format!("FAIL  {name} ({place})\n");
    for failure in failures {
        text.push_str(&format!("      {}\n", failure.title));
        for line in &failure.lines {
            text.push_str(&format!("        {line}\n"));
        }
    }
    text
}

/// All of them in one line.
pub(crate) fn summary(outcomes: &[TestOutcome], left_out: usize) -> String {
    let failed = failed(outcomes);
    let passed = outcomes.len() - failed;
    let left_out = match left_out {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    format!("{passed} passed, {failed} failed{left_out}\n")
}

/// The same as JSON.
pub(crate) fn json(outcomes: &[TestOutcome], left_out: usize) -> Value {
    let failed = failed(outcomes);
    let test = |outcome: &TestOutcome| {
        let failures = outcome.failures.iter();
        let failures: Vec<Value> = failures
            .map(|failure| json!({ "title": failure.title, "lines": failure.lines }))
            .collect();
        json!({
            "name": outcome.name,
            "place": outcome.place,
            "passed": failures.is_empty(),
            "seconds": outcome.took.as_secs_f64(),
            "failures": failures,
        })
    };
    let tests: Vec<Value> = outcomes.iter().map(test).collect();
    json!({
        "passed": outcomes.len() - failed,
        "failed": failed,
        "left_out": left_out,
        "tests": tests,
    })
}

fn failed(outcomes: &[TestOutcome]) -> usize {
    let failed = outcomes
        .iter()
        .filter(|outcome| !outcome.failures.is_empty());
    failed.count()
}

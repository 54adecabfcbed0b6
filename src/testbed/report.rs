//! What came of tests, for people.

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
    let failed = outcomes
        .iter()
        .filter(|outcome| !outcome.failures.is_empty());
    let failed = failed.count();
    let passed = outcomes.len() - failed;
    let left_out = match left_out {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    format!("{passed} passed, {failed} failed{left_out}\n")
}

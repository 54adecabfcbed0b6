//! What came of tests as JUnit XML, which CI servers read.

use std::fmt::Write as _;
use std::time::Duration;

use super::TestOutcome;

/// The report; `suite` names it.
pub(crate) fn junit(suite: &str, outcomes: &[TestOutcome]) -> String {
    let failed = outcomes
        .iter()
        .filter(|outcome| !outcome.failures.is_empty());
    let (all, failed) = (outcomes.len(), failed.count());
    let time = seconds(outcomes.iter().map(|outcome| outcome.took).sum());
    let suite = escaped(suite);
    let counts =
        format!("tests=\"{all}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\" time=\"{time}\"");
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"veltrix\" {counts}>\n  \
         <testsuite name=\"{suite}\" {counts}>\n"
    );
    for outcome in outcomes {
        add(&mut xml, &suite, outcome);
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn add(xml: &mut String, suite: &str, outcome: &TestOutcome) {
    let (name, file) = (escaped(&outcome.name), escaped(&outcome.place));
    let time = seconds(outcome.took);
    let mut line = |text: std::fmt::Arguments<'_>| {
        xml.write_fmt(text)
            .expect("writing to a string does not fail");
    };
    line(format_args!(
        "    <testcase classname=\"{suite}\" name=\"{name}\" file=\"{file}\" time=\"{time}\""
    ));
    if outcome.failures.is_empty() {
        line(format_args!("/>\n"));
        return;
    }
    let titles: Vec<&str> = outcome
        .failures
        .iter()
        .map(|failure| failure.title.as_str())
        .collect();
    line(format_args!(
        ">\n      <failure message=\"{}\">",
        escaped(&titles.join(", "))
    ));
    for failure in &outcome.failures {
        line(format_args!("{}\n", escaped(&failure.title)));
        for told in &failure.lines {
            line(format_args!("  {}\n", escaped(told)));
        }
    }
    line(format_args!("</failure>\n    </testcase>\n"));
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

/// Text for content and attributes; what XML 1.0 cannot hold at all becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push(' '),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other if other.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testbed::Failure;

    #[test]
    fn names_and_differences_are_escaped() {
        let outcome = |name: &str, failures| TestOutcome {
            name: name.to_owned(),
            place: "v.yaml:3".to_owned(),
            failures,
            took: Duration::from_millis(1500),
        };
        let failure = Failure {
            title: "sink `a`".to_owned(),
            lines: vec!["x < \"y\" & \u{1}".to_owned()],
        };
        let outcomes = [outcome("works", Vec::new()), outcome("<b>", vec![failure])];
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="veltrix" tests="2" failures="1" errors="0" skipped="0" time="3.000">
  <testsuite name="shop" tests="2" failures="1" errors="0" skipped="0" time="3.000">
    <testcase classname="shop" name="works" file="v.yaml:3" time="1.500"/>
    <testcase classname="shop" name="&lt;b&gt;" file="v.yaml:3" time="1.500">
      <failure message="sink `a`">sink `a`
  x &lt; &quot;y&quot; &amp; �
</failure>
    </testcase>
  </testsuite>
</testsuites>
"#;
        assert_eq!(junit("shop", &outcomes), expected);
    }
}

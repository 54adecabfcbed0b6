//! The text of OpenMetrics 1.0.

use std::fmt::{Display, Write};

use veltrix_actors::{TIME_BOUNDS, TimeHistogram};

/// The samples of a family without labels.
pub(super) fn one<V>(value: V) -> impl Iterator<Item = (String, V)> {
    std::iter::once((String::new(), value))
}

/// A page of metrics, family by family.
#[derive(Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn counter<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (String, V)>,
    ) {
        self.family(name, "counter", help, "_total", samples);
    }

    pub(super) fn gauge<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (String, V)>,
    ) {
        self.family(name, "gauge", help, "", samples);
    }

    pub(super) fn info(&mut self, name: &str, help: &str, labels: &str) {
        self.family(
            name,
            "info",
            help,
            "_info",
            std::iter::once((labels.to_owned(), 1)),
        );
    }

    pub(super) fn histogram<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = (String, &'a TimeHistogram)>,
    ) {
        let page = &mut self.0;
        line(page, format_args!("# TYPE {name} histogram"));
        line(page, format_args!("# HELP {name} {help}"));
        for (labels, histogram) in samples {
            let counts = histogram.cumulative();
            let bounds = TIME_BOUNDS.map(|bound| bound.as_secs_f64().to_string());
            let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
            for (bound, count) in bounds.zip(counts) {
                let comma = if labels.is_empty() { "" } else { "," };
                let sample = format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
                line(page, sample);
            }
            let (all, seconds) = (counts[TIME_BOUNDS.len()], histogram.seconds());
            let labels = match labels.is_empty() {
                true => labels,
                false => format!("{{{labels}}}"),
            };
            line(page, format_args!("{name}_count{labels} {all}"));
            line(page, format_args!("{name}_sum{labels} {seconds}"));
        }
    }

    fn family<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        suffix: &str,
        samples: impl Iterator<Item = (String, V)>,
    ) {
        let page = &mut self.0;
        line(page, format_args!("# TYPE {name} {kind}"));
        line(page, format_args!("# HELP {name} {help}"));
        for (labels, value) in samples {
            if labels.is_empty() {
                line(page, format_args!("{name}{suffix} {value}"));
            } else {
                line(page, format_args!("{name}{suffix}{{{labels}}} {value}"));
            }
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("writing to a string does not fail");
}

/// A label with its value escaped. Values are names from the config and words of our own, so series are bounded.
pub(super) fn label(name: &str, value: &str) -> String {
    let value = value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

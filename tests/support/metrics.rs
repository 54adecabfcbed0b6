//! The metrics page, read strictly: every sample belongs to the family above it, and the page is complete.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::process::request;

/// Samples by name and labels as they are written, such as `veltrix_sink_delivered_total{sink="out"}`.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the page of a running process.
    pub(crate) fn of(admin: SocketAddr) -> Self {
        let answer = request(admin, "GET", "/metrics", &[], b"");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let content_type = answer.header("content-type").expect("a content type");
        assert!(
            content_type.starts_with("application/openmetrics-text; version=1.0.0"),
            "{content_type}"
        );
        Self::parse(&answer.body)
    }

    fn parse(page: &str) -> Self {
        let lines = page
            .strip_suffix("# EOF\n")
            .expect("the page ends with # EOF");
        let mut samples = BTreeMap::new();
        let mut families = BTreeMap::new();
        let mut current = (String::new(), String::new());
        for line in lines.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            match words[..] {
                ["#", "TYPE", name, kind] => {
                    current = (name.to_owned(), kind.to_owned());
                    let before = families.insert(name.to_owned(), kind.to_owned());
                    assert_eq!(before, None, "{name} comes twice");
                }
                ["#", "HELP", name, _] => assert_eq!(name, current.0),
                _ => {
                    let (series, value) = line.rsplit_once(' ').expect(line);
                    let name = series.split('{').next().expect("a name");
                    let suffixes: &[&str] = match current.1.as_str() {
                        "counter" => &["_total"],
                        "gauge" => &[""],
                        "info" => &["_info"],
                        "histogram" => &["_bucket", "_count", "_sum"],
                        other => panic!("{line}: an unknown type `{other}`"),
                    };
                    let suffix = name.strip_prefix(&current.0).expect(line);
                    assert!(suffixes.contains(&suffix), "{line}");
                    let value: f64 = value.parse().expect(line);
                    assert!(current.1 != "counter" || value >= 0.0, "{line}");
                    let before = samples.insert(series.to_owned(), value);
                    assert_eq!(before, None, "{series} comes twice");
                }
            }
        }
        Self(samples)
    }

    /// Whether there is such a sample yet.
    pub(crate) fn has(&self, series: &str) -> bool {
        self.0.contains_key(series)
    }

    /// One sample.
    pub(crate) fn get(&self, series: &str) -> f64 {
        let found = self.0.get(series);
        *found.unwrap_or_else(|| panic!("no {series} in {:#?}", self.0))
    }

    /// The sum of a source's counter, such as `accepted`.
    pub(crate) fn source(&self, counter: &str, source: &str) -> f64 {
        self.get(&format!(
            "veltrix_source_{counter}_total{{source=\"{source}\"}}"
        ))
    }

    /// A sink's counter, such as `delivered`.
    pub(crate) fn sink(&self, counter: &str, sink: &str) -> f64 {
        self.get(&format!("veltrix_sink_{counter}_total{{sink=\"{sink}\"}}"))
    }

    /// A handler's counter, such as `filtered`.
    pub(crate) fn handler(&self, counter: &str, handler: &str) -> f64 {
        self.get(&format!(
            "veltrix_handler_{counter}_total{{handler=\"{handler}\"}}"
        ))
    }
}

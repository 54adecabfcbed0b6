//! `veltrix test`: the tests beside the shipped configs bite, and what a test may say means what it says.

#[path = "config_tests/breaks.rs"]
mod breaks;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

use breaks::breaks;
use config::{Config, File, FileFormat};
use serde_json::{Value, json};
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The demo and the examples.
fn shipped() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("config/veltrix.yaml")];
    let examples = std::fs::read_dir(root().join("config/examples")).expect("the examples");
    let names = examples.map(|entry| entry.expect("an entry").file_name());
    let names = names.map(|name| Path::new("config/examples").join(name));
    found.extend(names.filter(|name| name.extension().is_some_and(|end| end == "yaml")));
    found.sort();
    found
}

/// Runs the binary in the project's folder, with the secrets that examples ask for.
fn veltrix(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(arguments)
        .current_dir(root())
        .env_remove("VELTRIX_CONFIG")
        .envs(["SHOP_TOKEN", "AUDIT_TOKEN", "PRICING_TOKEN"].map(|name| (name, "secret")))
        .output()
        .expect("the binary")
}

fn told(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[test]
fn every_shipped_config_is_valid_without_a_warning_and_passes_its_tests() {
    for path in shipped() {
        let path = path.to_str().expect("a name");
        let valid = veltrix(&["validate", "-c", path, "--deny-warnings"]);
        assert_eq!(valid.status.code(), Some(0), "{path}: {}", told(&valid));
        let tested = veltrix(&["test", "-c", path]);
        assert_eq!(tested.status.code(), Some(0), "{path}: {}", told(&tested));
        assert!(told(&tested).contains(" passed, 0 failed\n"), "{path}");
    }
}

#[test]
fn breaking_any_one_expression_of_a_shipped_config_fails_its_tests() {
    let mut all = Vec::new();
    for path in shipped() {
        let text = std::fs::read_to_string(root().join(&path)).expect("a config");
        let config = Config::builder()
            .add_source(File::from_str(&text, FileFormat::Yaml))
            .build()
            .and_then(Config::try_deserialize)
            .expect("YAML");
        all.extend(
            breaks(&config)
                .into_iter()
                .map(|change| (path.clone(), change)),
        );
    }
    assert!(all.len() > 100, "only {} things to break found", all.len());
    let (left, survivors) = (Mutex::new(all), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no panic").pop();
                    let Some((path, change)) = next else { break };
                    let survivor = survivor(&path, &change);
                    survivors.lock().expect("no panic").extend(survivor);
                }
            });
        }
    });
    let survivors = survivors.into_inner().expect("no panic");
    assert!(survivors.is_empty(), "{}", survivors.join("\n"));
}

/// What the tests of a config say of one that they pass though it is broken.
fn survivor(path: &Path, change: &Value) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let overlay = folder.path().join("broken.json");
    std::fs::write(&overlay, change.to_string()).expect("a file");
    let name = |path: &Path| path.to_str().expect("a name").to_owned();
    let tested = veltrix(&["test", "-c", &name(path), "-c", &name(&overlay)]);
    let told = told(&tested);
    // Types can be wrong in what is broken, and then it is the config that is refused.
    let is_found = match tested.status.code() {
        Some(1) => told.contains("FAIL  "),
        Some(78) => told.contains("broken.json:1:"),
        _ => false,
    };
    (!is_found).then(|| format!("{} with {change}: {told}", path.display()))
}

/// A config in a folder of its own.
struct Bench {
    folder: TempDir,
}

/// What the tests of one config are told of.
const CONFIG: &str = r#"
service: { name: shop }
sources:
  shop: { type: http, listen: "127.0.0.1:8080" }
  app: { type: stdin, envelope: { type: "'log.' + line.level", source: "'/app'" } }
handlers:
  double: { on: number, when: "data.n != 0", type: map, set: { data.n: data.n * 2 }, emit: doubled, to: [out, router], lanes: 4 }
  keep: { on: doubled, type: pass, to: kept }
  call: { on: "call.*", when: "data.n < 100", type: http, url: "http://127.0.0.1:9/x", emit: called, to: out, supervision: { attempts: 3 } }
  logs: { on: "log.*", type: pass, to: out }
sinks:
  out: { type: stdout }
  kept: { type: file, path: "kept/{type}.ndjson" }
"#;

impl Bench {
    fn new(tests: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let bench = Self { folder };
        bench.write("v.yaml", &format!("{CONFIG}tests:\n{tests}"));
        bench
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
            .args(["test", "-c", "v.yaml"])
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("the binary");
        (output.status.code(), told(&output))
    }

    fn passes(tests: &str) {
        let (code, told) = Self::new(tests).run(&[]);
        assert_eq!(code, Some(0), "{told}");
    }

    /// What is told of the one test that fails, without its first and its last line.
    fn failure(tests: &str) -> String {
        let (code, told) = Self::new(tests).run(&[]);
        assert_eq!(code, Some(1), "{told}");
        let lines: Vec<&str> = told.lines().collect();
        let [first, middle @ .., last] = lines.as_slice() else {
            panic!("{told}");
        };
        assert!(
            first.starts_with("FAIL  ") && last.starts_with("0 passed, 1 failed"),
            "{told}"
        );
        middle
            .iter()
            .map(|line| line.strip_prefix("      ").unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

#[test]
fn results_go_round_the_router_and_every_sink_is_looked_at() {
    Bench::passes(
        r#"
  - name: doubles
    given: [ { type: number, id: a, data: { n: 4 } } ]
    expect:
      out: [ { id: a.double.0, type: doubled, source: /veltrix/shop/double, data: { n: 8 } } ]
      kept: [ { type: doubled, data.n: 8 } ]
"#,
    );
    let failure = Bench::failure(
        r#"
  - name: forgets a sink
    given: [ { type: number, data: { n: 4 } } ]
    expect: { out: 1 }
"#,
    );
    let (title, rest) = failure.split_once('\n').expect("two lines");
    assert_eq!(title, "sink `kept`");
    assert!(
        rest.starts_with("  not expected: {") && rest.contains(r#""n":8"#),
        "{rest}"
    );
}

#[test]
fn a_difference_is_shown_by_path_with_both_values() {
    let failure = Bench::failure(
        r#"
  - name: differs
    given: [ { type: number, data: { n: 4, list: [1, { x: 2 }], old: 1 } } ]
    expect:
      out: [ { type: doubled, subject: s, data: { n: 9, list: [1, { x: 3 }], new: 1 } } ]
      kept: any
"#,
    );
    let expected = r#"sink `out`
  event 1 differs:
      subject        expected "s"
                     came     nothing
      data.n         expected 9
                     came     8
      data.list.1.x  expected 3
                     came     2
      data.new       expected 1
                     came     nothing
      data.old       expected nothing
                     came     1
      of {"#;
    assert!(failure.starts_with(expected), "{failure}");
}

#[test]
fn numbers_are_the_same_however_they_are_written_and_texts_are_not_numbers() {
    Bench::passes(
        r#"
  - name: a double of 1.5 is a whole number
    given: [ { type: number, data: { n: 1.5 } } ]
    expect: { out: [ { data.n: 3 } ], kept: [ { data.n: 3.0 } ] }
"#,
    );
    let failure = Bench::failure(
        r#"
  - name: a text
    given: [ { type: number, data: { n: 1 } } ]
    expect: { out: [ { data.n: "2" } ], kept: 1 }
"#,
    );
    assert!(
        failure.contains("data.n  expected \"2\"\n              came     2\n"),
        "{failure}"
    );
}

#[test]
fn conditions_ignored_paths_and_whole_events_are_matchers() {
    Bench::passes(
        r#"
  - name: matchers
    time: "2026-01-31T12:00:00Z"
    given: [ { type: number, id: x, subject: s, data: { n: 4, at: now, deep: [ { t: 1 } ] } } ]
    expect:
      out: [ "type == 'doubled' && data.n > 7 && subject == 's'" ]
      kept:
        - event:
            specversion: "1.0"
            id: made up
            source: /veltrix/shop/double
            type: doubled
            subject: s
            time: "2026-01-31T12:00:00Z"
            causationid: x
            correlationid: x
            data: { n: 8, deep: [ { t: 2 } ] }
          ignore: [ id, data.at, "data.deep.*.t" ]
          check: id == 'x.double.0'
"#,
    );
    let failure = Bench::failure(
        r#"
  - name: a condition that does not hold
    given: [ { type: number, data: { n: 4 } } ]
    expect: { out: [ { type: doubled, check: data.m > 1 } ], kept: any }
"#,
    );
    assert!(
        failure.contains("check  expected data.m > 1\n             came     there is no data.m"),
        "{failure}"
    );
}

#[test]
fn results_come_in_any_order_unless_the_test_says_otherwise() {
    let given = "[ { type: number, data: { n: 1 } }, { type: number, data: { n: 2 } } ]";
    let swapped = "{ out: [ { data.n: 4 }, { data.n: 2 } ], kept: 2 }";
    Bench::passes(&format!(
        "  - {{ name: any, given: {given}, expect: {swapped} }}\n"
    ));
    let in_order = "{ out: [ { data.n: 2 }, { data.n: 4 } ], kept: 2 }";
    Bench::passes(&format!(
        "  - {{ name: order, in_order: true, given: {given}, expect: {in_order} }}\n"
    ));
    let failure = Bench::failure(&format!(
        "  - {{ name: order, in_order: true, given: {given}, expect: {swapped} }}\n"
    ));
    assert!(failure.contains("came out of order"), "{failure}");
}

#[test]
fn dead_letters_and_unmatched_events_are_failures_unless_they_are_expected() {
    Bench::passes(
        r#"
  - name: both
    given: [ { type: number, data: { n: x } }, { type: number, data: { n: 0 } }, { type: nobody } ]
    dead_letters: [ { branch: handler.double, class: error, reason: no operator *, event: { data.n: x } } ]
    unmatched: [ { type: nobody }, { data.n: 0 } ]
"#,
    );
    let failure = Bench::failure(
        r#"
  - name: neither
    given: [ { type: number, data: { n: x } }, { type: nobody } ]
"#,
    );
    assert!(
        failure.contains("dead letters\n  not expected: {\"sequence\":"),
        "{failure}"
    );
    assert!(
        failure.contains("unmatched\n  not expected: {\"specversion\":\"1.0\",\"id\":\"2\""),
        "{failure}"
    );
    let failure = Bench::failure(
        r#"
  - name: another
    given: [ { type: number, data: { n: x } } ]
    dead_letters: [ { branch: handler.keep, class: error } ]
"#,
    );
    assert!(
        failure.contains(
            "branch  expected \"handler.keep\"\n              came     \"handler.double\""
        ),
        "{failure}"
    );
}

#[test]
fn unmatched_events_go_where_the_config_sends_them_too() {
    for (unmatched, sink) in [
        ("out", "[ { type: nobody } ]"),
        ("drop", "0"),
        ("dead-letter", "0"),
    ] {
        let bench = Bench::new(&format!(
            "  - {{ name: n, given: [ {{ type: nobody }} ], expect: {{ out: {sink} }}, unmatched: [ {{ type: nobody }} ] }}\n"
        ));
        bench.write(
            "more.yaml",
            &format!("routing: {{ unmatched: {unmatched} }}"),
        );
        let (code, told) = bench.run(&["-c", "more.yaml"]);
        assert_eq!(code, Some(0), "{unmatched}: {told}");
    }
}

#[test]
fn stubs_answer_in_the_place_of_components() {
    Bench::passes(
        r#"
  - name: each kind of answer
    given:
      - { type: call.data, data: { n: 1 } }
      - { type: call.events, data: { n: 2 } }
      - { type: call.none, data: { n: 3 } }
      - { type: call.refused, data: { n: 4 } }
      - { type: call.late, data: { n: 5 } }
      - { type: call.unknown, data: { n: 6 } }
      - { type: call.unwanted, data: { n: 100 } }
    stubs:
      call:
        - { when: type == 'call.data', data: [1, 2] }
        - { when: type == 'call.events', events: [ { id: e1, type: own.one }, { id: e2, type: own.two, data: 2 } ] }
        - { when: data.n == 3, events: [] }
        - { when: data.n == 4, refused: no thanks }
        - { when: data.n == 5, timeout: true }
    expect: { out: [ { type: called, data: [1, 2], id: 1.call.0 }, { id: e1, source: /test }, { id: e2, data: 2 } ] }
    dead_letters:
      - { branch: handler.call, class: error, reason: no thanks, event: { id: "4" } }
      - { class: timeout, event: { id: "5" } }
      - { reason: no stub of this test answers the event, event: { id: "6" } }
    unmatched: [ { id: "7" } ]
"#,
    );
    Bench::passes(
        r#"
  - name: an answer that comes twice, and then another
    given: [ { type: call.x, data: { n: 1 } } ]
    stubs: { call: [ { times: 2, error: not yet }, { data: null } ] }
    expect: { out: [ { type: called, data: null } ] }
  - name: a failure that stays uses up the attempts
    given: [ { type: call.x, data: { n: 1 } } ]
    stubs: { call: { error: not yet } }
    dead_letters: [ { class: error, reason: not yet } ]
"#,
    );
}

#[test]
fn nothing_is_called_that_has_no_stub_and_is_not_live() {
    let failure = Bench::failure("  - { name: n, given: [ { type: call.x, data: { n: 1 } } ] }\n");
    assert!(
        failure.contains(
            "`call` is of type `http`: the test neither has a stub for it nor says that it is live"
        ),
        "{failure}"
    );
    // a live one really tries; nothing listens on port 9
    let failure = Bench::failure(
        "  - { name: n, live: [call], given: [ { type: call.x, data: { n: 1 } } ] }\n",
    );
    assert!(
        failure.contains("127.0.0.1:9") && !failure.contains("has a stub"),
        "{failure}"
    );
}

#[test]
fn children_are_called_in_each_test_of_a_run() {
    let bench = Bench::new("");
    let tests = [1, 2, 3].map(|n| {
        format!(
            "  - {{ name: test {n}, live: [ex], given: [ {{ type: a, id: x{n} }} ], expect: {{ out: [ {{ id: x{n} }} ] }} }}\n"
        )
    });
    let tests = tests.concat();
    let config = format!(
        "handlers: {{ ex: {{ on: a, type: exec, command: [cat], to: out }} }}\n\
         sources: {{ in: {{ type: stdin }} }}\nsinks: {{ out: {{ type: stdout }} }}\ntests:\n{tests}"
    );
    bench.write("v.yaml", &config);
    let (code, told) = bench.run(&[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("3 passed, 0 failed\n"), "{told}");
}

#[test]
fn lines_come_through_their_sources_envelope() {
    Bench::passes(
        r#"
  - name: a line
    given: [ { line: { level: warn, n: 1.50 }, from: app }, { line: { level: info } } ]
    expect:
      out:
        - { type: log.warn, source: /app, id: app-1, data: { level: warn, n: 1.5 } }
        - { type: log.info, id: app-2 }
"#,
    );
    let failure =
        Bench::failure("  - { name: n, given: [ { type: nobody }, { line: { lvl: x } } ] }\n");
    assert!(
        failure.starts_with(
            "the test could not be run\n  given 2: `app` refuses the line: envelope.type: "
        ),
        "{failure}"
    );
}

#[test]
fn given_events_and_lines_may_stand_in_files_beside_the_config() {
    let bench = Bench::new(
        r#"
  - { name: events, given: { file: data/events.ndjson }, time: "2026-01-31T12:00:00Z", expect: { out: [ { data.n: 2, time: "2026-01-31T12:00:00Z" }, { data.n: 4, time: "2020-01-01T00:00:00Z" } ], kept: 2 } }
  - { name: lines, given: { file: data/lines.ndjson, from: app }, expect: { out: 2 } }
  - { name: bad, given: { file: data/lines.ndjson } }
"#,
    );
    std::fs::create_dir(bench.folder.path().join("data")).expect("a folder");
    bench.write(
        "data/events.ndjson",
        "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/s\",\"type\":\"number\",\"data\":{\"n\":1}}\n\n\
         {\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/s\",\"type\":\"number\",\"time\":\"2020-01-01T00:00:00Z\",\"data\":{\"n\":2}}\n",
    );
    bench.write(
        "data/lines.ndjson",
        "{\"level\":\"a\"}\n{\"level\":\"b\"}\n",
    );
    let (code, told) = bench.run(&[]);
    assert_eq!(code, Some(1));
    assert!(
        told.starts_with("ok    events\nok    lines\nFAIL  bad (v.yaml:"),
        "{told}"
    );
    assert!(told.contains("data/lines.ndjson:1: no event: "), "{told}");
}

#[test]
fn where_a_file_of_events_is_not_the_config_is_valid_and_the_test_fails() {
    let bench = Bench::new("  - { name: gone, given: { file: data/gone.ndjson } }\n");
    let (code, shown) = bench.run(&[]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("FAIL  gone (v.yaml:"), "{shown}");
    assert!(shown.contains("data/gone.ndjson: No such file"), "{shown}");
    let config = bench.folder.path().join("v.yaml");
    let config = config.to_str().expect("a name");
    let valid = veltrix(&["validate", "-c", config]);
    assert_eq!(valid.status.code(), Some(0), "{}", told(&valid));
    assert!(
        told(&valid).contains("warning: `tests[0].given.file`: there is no file `"),
        "{}",
        told(&valid)
    );
    let strict = veltrix(&["validate", "-c", config, "--deny-warnings"]);
    assert_eq!(strict.status.code(), Some(78));
}

#[test]
fn a_filter_leaves_tests_out_and_junit_and_json_have_those_that_ran() {
    let bench = Bench::new(
        r#"
  - { name: one works, given: [ { type: number, data: { n: 1 } } ], expect: { out: 1, kept: 1 } }
  - { name: two <fails>, given: [ { type: number, data: { n: 1 } } ], expect: { out: 2, kept: 1 } }
"#,
    );
    let (code, told) = bench.run(&["--filter", "one"]);
    assert_eq!(
        (code, told.as_str()),
        (Some(0), "ok    one works\n1 passed, 0 failed, 1 left out\n")
    );
    let (code, told) = bench.run(&["--filter", "three"]);
    assert_eq!(
        (code, told.as_str()),
        (Some(1), "error: no test has that in its name\n")
    );
    let (code, _) = bench.run(&["--junit", "report.xml"]);
    assert_eq!(code, Some(1));
    let report = std::fs::read_to_string(bench.folder.path().join("report.xml")).expect("a report");
    assert!(
        report.contains("<testsuite name=\"shop\" tests=\"2\" failures=\"1\""),
        "{report}"
    );
    assert!(
        report.contains("name=\"two &lt;fails&gt;\" file=\"v.yaml:"),
        "{report}"
    );
    assert!(
        report.contains("<failure message=\"sink `out`\">sink `out`\n  2 expected, 1 came\n"),
        "{report}"
    );
    let (code, told) = bench.run(&["-o", "json", "--filter", "o"]);
    assert_eq!(code, Some(1));
    let mut told: Value = serde_json::from_str(&told).expect("JSON");
    for test in told["tests"].as_array_mut().expect("a list") {
        assert!(test["seconds"].is_f64(), "{test}");
        test["seconds"].take();
        let place = test["place"].take();
        let place = place.as_str().expect("a place");
        assert!(place.starts_with("v.yaml:"), "{place}");
    }
    let failure = json!({ "title": "sink `out`", "lines": ["2 expected, 1 came"] });
    let expected = json!({ "passed": 1, "failed": 1, "left_out": 0, "tests": [
        { "name": "one works", "place": null, "passed": true, "seconds": null, "failures": [] },
        { "name": "two <fails>", "place": null, "passed": false, "seconds": null, "failures": [failure] },
    ] });
    assert_eq!(told, expected);
}

#[test]
fn no_tests_is_a_failure_and_a_bad_config_is_refused() {
    let bench = Bench::new("");
    bench.write("v.yaml", CONFIG);
    assert_eq!(
        bench.run(&[]),
        (Some(1), "error: the config has no tests\n".to_owned())
    );
    bench.write("v.yaml", "sources: {}");
    assert_eq!(bench.run(&[]).0, Some(78));
}

#[test]
fn a_test_leaves_nothing_behind_and_opens_no_journal_of_others() {
    let test =
        "{ name: n, given: [ { type: number, data: { n: 1 } } ], expect: { out: 1, kept: 1 } }";
    let bench = Bench::new(&format!("  - {test}\n"));
    assert_eq!(bench.run(&[]).0, Some(0));
    let left = || {
        let entries = std::fs::read_dir(bench.folder.path()).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(left(), ["v.yaml"]);
    let journal = bench.folder.path().join("data/journal");
    std::fs::create_dir_all(&journal).expect("a folder");
    std::fs::write(journal.join("00000000000000000001.seg"), "not one").expect("a file");
    let (code, told) = bench.run(&[]);
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(std::fs::read_dir(&journal).expect("a folder").count(), 1);
}

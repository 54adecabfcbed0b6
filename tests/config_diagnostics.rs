//! Broken configs and the first line of what is said about them.

mod support;

use support::load;

/// Goes before each case, so that cases begin in line 3.
const PRELUDE: &str = "sources: { in: { type: stdin } }\nsinks: { out: { type: blackhole } }\n";

/// Config after the prelude, the first error, its help (empty: not looked at).
const CASES: &[(&str, &str, &str)] = &[
    ("sevice: {}", "x", ""),
    ("journal: { segment: 64MiB }", "x", ""),
    ("tests: []", "x", ""),
    ("supervision: { breaker: { window: 10s } }", "x", ""),
    ("service: { drain_timeout: 10 }", "x", ""),
    ("service: { drain_timeout: soon }", "x", ""),
    ("service: { memory: 256 }", "x", ""),
    ("service: { memory: 1KiB }", "x", ""),
    ("service: { workers: many }", "x", ""),
    ("service: { workers: 0 }", "x", ""),
    ("service: { max_hops: -1 }", "x", ""),
    ("service: { max_hops: 0 }", "x", ""),
    ("service: { name: \"my shop\" }", "x", ""),
    ("service: { drain-timeout: 10s }", "x", ""),
    ("service: { admin: { listen: \"0.0.0.0:8686\" } }", "x", ""),
    ("service: { admin: { listen: 8686 } }", "x", ""),
    ("service: { admin: { listen: \"somewhere\" } }", "x", ""),
    ("service: { admin: {} }", "x", ""),
    ("service: []", "x", ""),
    (
        "handlers: { a: { type: pass, on: \"com.github.issue*\", to: out } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: a..b, to: out } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: [a, \">.b\"], to: out } }",
        "x",
        "",
    ),
    ("handlers: { a: { type: pass, on: [], to: out } }", "x", ""),
    (
        "handlers: { a: { type: pass, on: [a, 5], to: out } }",
        "x",
        "",
    ),
    ("handlers: { a: { type: pass, to: out } }", "x", ""),
    ("handlers: { a: { type: pass, on: x } }", "x", ""),
    ("handlers: { a: { type: pass, on: x, to: [] } }", "x", ""),
    ("handlers: { a: { type: pass, on: x, to: outt } }", "x", ""),
    (
        "handlers: { a: { type: pass, on: x, to: [out, out] } }",
        "x",
        "",
    ),
    ("handlers: { a: { type: mapp, on: x, to: out } }", "x", ""),
    ("handlers: { a: { on: x, to: out } }", "x", ""),
    (
        "handlers: { a: { type: pass, on: x, to: out, lenes: 4 } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, lanes: 0 } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, lanes: 1025 } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, lanes: four } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, isolation: process } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, key: Subject } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, key: data. } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, when: \"a ?? b\" } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { attempts: 0 } } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { backoff: { min: 10s } } } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { backoff: { jitter: 2 } } } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: pass, on: x, to: out, supervision: { breaker: {} } } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: map, on: x, to: out, set: { data.total: \"a ?? b\" } } }",
        "x",
        "",
    ),
    (
        "handlers: { a: { type: map, on: x, to: out, set: { data.total: 5 } } }",
        "x",
        "",
    ),
    ("handlers: { a: { type: map, on: x, to: router } }", "x", ""),
    (
        "handlers: { a: { type: map, on: \"x.*\", emit: x.y, to: [out, router] } }",
        "x",
        "",
    ),
    (
        "handlers:\n  a: { type: map, on: x, emit: y, to: router }\n  b: { type: map, on: y, emit: x, to: router }",
        "x",
        "",
    ),
    ("handlers: { a b: { type: pass, on: x, to: out } }", "x", ""),
    ("handlers: { a: pass }", "x", ""),
    ("handlers: [a]", "x", ""),
    ("handlers: { a: { type: http, on: x, to: out } }", "x", ""),
    ("routing: { unmatched: deadletter }", "x", ""),
    ("routing: { unmatched: { to: out } }", "x", ""),
    ("a.b: 1", "x", ""),
    ("sources: {}", "x", ""),
    (
        "handlers: { a: { type: pass, on: x, on: y, to: out } }",
        "x",
        "",
    ),
    ("handlers: { a: { type: pass, on: x, to: out }", "x", ""),
    ("handlers: { a: !custom { type: pass } }", "x", ""),
    ("handlers: { a: *nowhere }", "x", ""),
    ("service: { name: \"${env:UNSET}\" }", "x", ""),
    ("service: { name: \"${UNSET}\" }", "x", ""),
    ("service: { name: \"${env:UNSET\" }", "x", ""),
    ("service: { name: \"${file:/nowhere/at/all}\" }", "x", ""),
];

#[test]
fn each_broken_config_is_told_what_is_wrong() {
    for (config, expected, help) in CASES {
        let text = format!("{PRELUDE}{config}\n");
        let failure = load(&[("v.yaml", &text)], &[]);
        match failure {
            Ok(_) => println!("OK??? {config}"),
            Err(f) => println!("--- {config}\n{}", f.text),
        }
        let _ = (expected, help);
    }
    panic!();
}

//! Formats, layers, environment overrides and secrets, from the files to the validated config.

#[path = "support/config.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::{path::PathBuf, time::Duration};

use support::load;
use veltrix::config::{Config, EventKey, Restart, Severity, Target, Unmatched, Workers};

fn valid(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Config {
    match load(files, environment) {
        Ok((config, _)) => config,
        Err(failure) => panic!("{}", failure.text),
    }
}

fn refused(files: &[(&str, &str)], environment: &[(&str, &str)]) -> String {
    load(files, environment).expect_err("a problem").text
}

const YAML: &str = r#"
service: { name: shop, data_dir: ./d, drain_timeout: 5s, workers: 3, memory: 64MiB, max_hops: 4, admin: { listen: "localhost:0" } }
sources:
  lines: { type: stdin, durability: none, envelope: { type: "'log.' + line.level", source: "'/app'", id: line.id } }
handlers:
  price-order:
    on: [order.created, "order.*.amended"]
    when: data.quantity > 0
    type: map
    rename: { data.qty: data.quantity }
    set: { data.total: "data.price * data.quantity" }
    remove: [data.internal]
    emit: order.priced
    to: [ledger, router]
    key: data.customer.id
    lanes: 4
    supervision: { attempts: 5, backoff: { max: 1s } }
  Audit_2: { on: order.priced, type: pass, to: screen }
sinks:
  ledger: { type: file, path: "out/{type}.ndjson" }
  screen: { type: stdout }
routing: { unmatched: screen }
supervision: { deadline: 3s, backoff: { min: 10ms }, restart: transient }
"#;

const TOML: &str = r#"
[service]
name = "shop"
data_dir = "./d"
drain_timeout = "5s"
workers = 3
memory = "64MiB"
max_hops = 4
admin.listen = "localhost:0"

[sources.lines]
type = "stdin"
durability = "none"
envelope = { type = "'log.' + line.level", source = "'/app'", id = "line.id" }

[handlers.price-order]
on = ["order.created", "order.*.amended"]
when = "data.quantity > 0"
type = "map"
rename = { "data.qty" = "data.quantity" }
remove = ["data.internal"]
emit = "order.priced"
to = ["ledger", "router"]
key = "data.customer.id"
lanes = 4
supervision.attempts = 5
supervision.backoff.max = "1s"

[handlers.price-order.set]
"data.total" = "data.price * data.quantity"

[handlers.Audit_2]
on = "order.priced"
type = "pass"
to = "screen"

[sinks]
ledger = { type = "file", path = "out/{type}.ndjson" }
screen = { type = "stdout" }

[routing]
unmatched = "screen"

[supervision]
deadline = "3s"
backoff = { min = "10ms" }
restart = "transient"
"#;

const JSON: &str = r#"{
	"service": { "name": "shop", "data_dir": "./d", "drain_timeout": "5s", "workers": 3, "memory": "64MiB", "max_hops": 4,
		"admin": { "listen": "localhost:0" } },
	"sources": { "lines": { "type": "stdin", "durability": "none",
		"envelope": { "type": "'log.' + line.level", "source": "'\/app'", "id": "line.id" } } },
	"handlers": {
		"price-order": {
			"on": ["order.created", "order.*.amended"], "when": "data.quantity > 0", "type": "map",
			"rename": { "data.qty": "data.quantity" }, "set": { "data.total": "data.price * data.quantity" },
			"remove": ["data.internal"], "emit": "order.priced", "to": ["ledger", "router"], "key": "data.customer.id",
			"lanes": 4, "supervision": { "attempts": 5, "backoff": { "max": "1s" } }
		},
		"Audit_2": { "on": "order.priced", "type": "pass", "to": "screen" }
	},
	"sinks": { "ledger": { "type": "file", "path": "out/{type}.ndjson" }, "screen": { "type": "stdout" } },
	"routing": { "unmatched": "screen" },
	"supervision": { "deadline": "3s", "backoff": { "min": "10ms" }, "restart": "transient" }
}"#;

#[test]
fn all_formats_give_the_same_config() {
    for file in [
        ("v.yaml", YAML),
        ("v.yml", YAML),
        ("v.toml", TOML),
        ("v.json", JSON),
    ] {
        let config = valid(&[file], &[]);
        let service = &config.service;
        assert_eq!(
            (service.name.as_str(), &service.data_dir),
            ("shop", &PathBuf::from("./d"))
        );
        assert_eq!(
            (service.drain_timeout, service.workers),
            (Duration::from_secs(5), Workers::Count(3))
        );
        assert_eq!((service.memory, service.max_hops), (64 << 20, 4));
        assert_eq!(
            service.admin.as_ref().unwrap().listen.to_string(),
            "127.0.0.1:0"
        );

        let source = &config.sources[0];
        assert_eq!(
            (source.name.as_str(), source.kind.as_str()),
            ("lines", "stdin")
        );
        let envelope = source.envelope.as_ref().unwrap();
        assert_eq!(
            (
                envelope.event_type.text.as_str(),
                envelope.source.text.as_str()
            ),
            ("'log.' + line.level", "'/app'")
        );
        let id = envelope.id.as_ref().unwrap();
        assert_eq!(id.path.to_string(), "sources.lines.envelope.id");

        let names: Vec<_> = config
            .handlers
            .iter()
            .map(|handler| handler.name.as_str())
            .collect();
        assert_eq!(names, ["price-order", "Audit_2"], "{}", file.0);
        let handler = &config.handlers[0];
        let on: Vec<_> = handler.on.iter().map(ToString::to_string).collect();
        assert_eq!(on, ["order.created", "order.*.amended"]);
        assert_eq!(handler.when.as_ref().unwrap().text, "data.quantity > 0");
        assert_eq!(
            handler.to,
            [Target::Sink("ledger".to_owned()), Target::Router]
        );
        assert_eq!(
            handler.key,
            EventKey::Data(vec!["customer".to_owned(), "id".to_owned()])
        );
        assert_eq!((handler.lanes, handler.isolation), (Some(4), None));

        let own = &handler.supervision;
        assert_eq!(
            (own.attempts, own.deadline, own.restart),
            (5, Some(Duration::from_secs(3)), Restart::Transient)
        );
        assert_eq!(
            (own.backoff.min, own.backoff.max),
            (Duration::from_millis(10), Duration::from_secs(1))
        );
        assert_eq!((own.max_restarts, own.within), (5, Duration::from_secs(30)));
        let other = &config.handlers[1];
        assert_eq!((other.supervision.attempts, other.lanes), (3, None));
        assert_eq!(other.key, EventKey::Subject);
        assert_eq!(config.unmatched, Unmatched::Sink("screen".to_owned()));
    }
}

const BASE: &str = "sources: { in: { type: stdin } }\n\
                    handlers: { a: { type: pass, on: x, to: out, lanes: 2 } }\n\
                    sinks: { out: { type: http, url: \"http://one\", headers: { X-One: \"1\" } } }\n";

#[test]
fn later_files_override_single_keys_of_earlier_ones() {
    let over = "handlers: { a: { lanes: 7 }, b: { type: pass, on: [y], to: out } }\nsinks:\n";
    let config = valid(&[("base.yaml", BASE), ("over.yaml", over)], &[]);
    let lanes: Vec<_> = config
        .handlers
        .iter()
        .map(|handler| (handler.name.as_str(), handler.lanes))
        .collect();
    assert_eq!(lanes, [("a", Some(7)), ("b", None)]);
    assert_eq!(config.sinks.len(), 1);
}

#[test]
fn a_problem_names_the_file_that_said_so() {
    let over = "[handlers.a]\nlanes = 0\n";
    let text = refused(&[("base.yaml", BASE), ("over.toml", over)], &[]);
    assert!(
        text.starts_with(
            "over.toml:2:9: error: `handlers.a.lanes` must be a whole number from 1 to 1024"
        ),
        "{text}"
    );
    let over = r#"{ "handlers": { "a": { "to": "nowhere" } } }"#;
    let text = refused(&[("base.yaml", BASE), ("over.json", over)], &[]);
    assert!(
        text.starts_with("over.json:1:30: error: `handlers.a.to`: unknown sink `nowhere`"),
        "{text}"
    );
    // the component as a whole stays where it was first written
    let over = "sinks: { out: { type: file } }";
    let text = refused(&[("base.yaml", BASE), ("over.yaml", over)], &[]);
    assert!(
        text.starts_with("base.yaml:3:10: error: `sinks.out` lacks the key `path`"),
        "{text}"
    );
}

#[test]
fn the_environment_overrides_known_keys_whatever_their_case() {
    let environment = [
        ("VELTRIX__SERVICE__DATA_DIR", "/var/lib/veltrix"),
        ("VELTRIX__service__Max_Hops", "9"),
        ("VELTRIX__HANDLERS__A__LANES", "4"),
        ("VELTRIX__SUPERVISION__BACKOFF__MIN", "1ms"),
        ("VELTRIX_CONFIG", "elsewhere"),
        ("VELTRIX", "x"),
    ];
    let config = valid(&[("base.yaml", BASE)], &environment);
    assert_eq!(config.service.data_dir, PathBuf::from("/var/lib/veltrix"));
    assert_eq!(config.service.max_hops, 9);
    assert_eq!(config.handlers[0].lanes, Some(4));
    assert_eq!(
        config.handlers[0].supervision.backoff.min,
        Duration::from_millis(1)
    );
}

#[test]
fn names_keep_their_case_through_the_environment() {
    let base = "sources: { in: { type: stdin } }\n\
                handlers: { PriceOrder: { type: pass, on: x, to: My-Sink }, a: { type: pass, on: x, to: My-Sink }, A: { type: pass, on: x, to: My-Sink } }\n\
                sinks: { My-Sink: { type: http, url: u } }\n";
    let environment = [
        ("VELTRIX__HANDLERS__PRICEORDER__LANES", "3"),
        ("VELTRIX__HANDLERS__A__LANES", "5"),
        ("VELTRIX__SINKS__MY_SINK__CONCURRENCY", "6"),
        ("VELTRIX__SINKS__NewSink__TYPE", "blackhole"),
        ("VELTRIX__HANDLERS__a__to", "NewSink"),
    ];
    let config = valid(&[("base.yaml", base)], &environment);
    let handlers: Vec<_> = config
        .handlers
        .iter()
        .map(|handler| (handler.name.as_str(), handler.lanes))
        .collect();
    assert_eq!(
        handlers,
        [("PriceOrder", Some(3)), ("a", None), ("A", Some(5))]
    );
    assert_eq!(config.handlers[1].to, [Target::Sink("NewSink".to_owned())]);
    let sinks: Vec<_> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(sinks, ["My-Sink", "NewSink"]);
}

#[test]
fn a_name_that_two_spellings_could_mean_is_taken_as_written() {
    let base = "sources: { in: { type: stdin } }\nhandlers: { ab: { type: pass, on: x, to: out }, Ab: { type: pass, on: x, to: out } }\nsinks: { out: { type: stdout } }\n";
    let text = refused(
        &[("base.yaml", base)],
        &[("VELTRIX__HANDLERS__AB__LANES", "3")],
    );
    assert!(text.contains("environment variable VELTRIX__HANDLERS__AB__LANES: error: `handlers.AB` lacks the key `type`"), "{text}");
}

#[test]
fn a_component_may_come_from_the_environment_alone() {
    let environment = [
        ("VELTRIX__SINKS__audit__URL", "http://two"),
        ("VELTRIX__SINKS__audit__TYPE", "http"),
        ("VELTRIX__SINKS__audit__HEADERS__X-Tenant", "5"),
        ("VELTRIX__SINKS__audit__RETRY__MAX_ELAPSED", "1h"),
        ("VELTRIX__HANDLERS__a__TO", "[out, audit]"),
    ];
    let config = valid(&[("base.yaml", BASE)], &environment);
    assert_eq!(config.handlers[0].to.len(), 2);
}

#[test]
fn problems_of_the_environment_name_the_variable() {
    let told = |name: &str, value: &str| refused(&[("base.yaml", BASE)], &[(name, value)]);
    let text = told("VELTRIX__HANDLERS__A__LANES", "many");
    let expected = "environment variable VELTRIX__HANDLERS__A__LANES: error: `handlers.a.lanes` must be a whole number \
                    from 1 to 1024, not the text \"many\"\n";
    assert_eq!(text, expected);
    let text = told("VELTRIX__SERVIC__NAME", "x");
    assert!(text.starts_with("environment variable VELTRIX__SERVIC__NAME: error: unknown key `SERVIC`\n  help: did you mean `service`?"), "{text}");
    let text = told("VELTRIX__SERVICE____NAME", "x");
    assert!(
        text.starts_with(
            "error: environment variable VELTRIX__SERVICE____NAME names no config key"
        ),
        "{text}"
    );
}

#[test]
fn a_number_may_stand_for_a_text_where_one_is_wanted() {
    let config = valid(
        &[("base.yaml", BASE)],
        &[
            ("VELTRIX__SERVICE__NAME", "007"),
            ("VELTRIX__SINKS__OUT__URL", "5"),
        ],
    );
    assert_eq!(config.service.name, "007");
    let with_lanes = BASE.replace("lanes: 2", "lanes: \"${env:LANES:3}\"");
    assert_eq!(
        valid(&[("base.yaml", &with_lanes)], &[]).handlers[0].lanes,
        Some(3)
    );
    assert_eq!(
        valid(&[("base.yaml", &with_lanes)], &[("LANES", "8")]).handlers[0].lanes,
        Some(8)
    );
}

#[test]
fn placeholders_are_filled_in() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("name");
    std::fs::write(&secret, "from-file\n").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let cases = [
        ("${env:NAME}", "from-environment".to_owned()),
        ("a-${env:NAME}-z", "a-from-environment-z".to_owned()),
        ("${env:MISSING:some}", "some".to_owned()),
        (
            &format!("${{file:{}}}", secret.display()),
            "from-file".to_owned(),
        ),
    ];
    for (written, expected) in cases {
        let text = format!("service: {{ name: \"{written}\" }}\n{BASE}");
        let config = valid(&[("base.yaml", &text)], &[("NAME", "from-environment")]);
        assert_eq!(config.service.name, expected, "{written}");
    }
    let text = format!("service: {{ data_dir: \"$${{env:NAME}}\" }}\n{BASE}");
    assert_eq!(
        valid(&[("base.yaml", &text)], &[]).service.data_dir,
        PathBuf::from("${env:NAME}")
    );
}

#[test]
fn what_placeholders_gave_is_never_shown() {
    for canary in ["c4n4ry-secret", "c4n4ry \"quoted\" secret"] {
        secret_stays_out_of_problems(canary);
    }
    let text = format!("service: {{ max_hops: \"${{env:N}}\" }}\n{BASE}");
    let text = refused(&[("v.yaml", &text)], &[("N", "0")]);
    let expected = "v.yaml:1:22: error: `service.max_hops` must be a whole number from 1 to 1000; its value, which is not shown, is something else";
    assert!(text.starts_with(expected), "{text}");
}

fn secret_stays_out_of_problems(canary: &str) {
    let values = [
        "service: { drain_timeout: \"${env:S}\" }",
        "service: { name: \"bad name ${env:S}\" }",
        "service: { workers: \"${env:S}\" }",
        "service: { admin: { listen: \"${env:S}:1\" } }",
        "routing: { unmatched: \"${env:S}\" }",
        "supervision: { restart: \"${env:S}\" }",
        "supervision: { attempts: \"${env:S}\" }",
        "handlers: { a: { type: \"${env:S}\", on: x, to: out } }",
        "handlers: { a: { type: pass, on: \"${env:S}*\", to: \"${env:S}\" } }",
        "handlers: { a: { type: pass, on: x, to: out, when: \"?? ${env:S}\", key: \"-${env:S}\" } }",
        "handlers: { a: { type: map, on: x, to: out, set: { data.x: \"?? ${env:S}\" } } }",
    ];
    for value in values {
        let text = format!(
            "sources: {{ in: {{ type: stdin }} }}\nsinks: {{ out: {{ type: stdout }} }}\n{value}\n"
        );
        let failure = load(&[("v.yaml", &text)], &[("S", canary)]).expect_err("a problem");
        let json = serde_json::to_string(&failure.problems).expect("JSON");
        assert!(
            !failure.text.contains(canary)
                && !json.contains("c4n4ry")
                && !failure.text.contains("c4n4ry"),
            "{}",
            failure.text
        );
    }
}

#[test]
fn anchors_and_merge_keys_repeat_what_handlers_share() {
    let text = "sources: { in: { type: stdin } }\n\
                sinks: { out: { type: stdout } }\n\
                handlers:\n  a: &base\n    type: pass\n    on: x\n    to: out\n    lanes: 3\n  b:\n    <<: *base\n    lanes: 5\n  c: { <<: [*base], on: z }\n";
    let config = valid(&[("v.yaml", text)], &[]);
    let handlers: Vec<_> = config
        .handlers
        .iter()
        .map(|handler| {
            (
                handler.name.as_str(),
                handler.lanes,
                handler.on[0].to_string(),
            )
        })
        .collect();
    assert_eq!(
        handlers,
        [
            ("a", Some(3), "x".to_owned()),
            ("b", Some(5), "x".to_owned()),
            ("c", Some(3), "z".to_owned())
        ]
    );
}

#[test]
fn aliases_that_multiply_are_stopped() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = level - 1;
        let items = vec![format!("*a{below}"); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let found = refused(&[("v.yaml", &text)], &[]);
    assert!(
        found.contains("more than 1000000 values in one file"),
        "{found}"
    );
    let nested = "[".repeat(1_000_000);
    for (name, text) in [
        ("v.json", format!("{{\"a\": {nested}")),
        ("v.toml", format!("a = {nested}")),
        ("v.yaml", format!("a: {nested}")),
    ] {
        assert!(refused(&[(name, &text)], &[]).starts_with(name));
    }
    let deep = format!("a: {}", "[".repeat(100));
    assert!(
        refused(&[("v.yaml", &deep)], &[])
            .contains("more than 64 mappings and lists inside one another")
    );
}

#[test]
fn layers_replace_lists_and_may_change_shapes() {
    let over = "handlers: { a: { on: [y, \"z.*\"], to: [spare], set: { \"data.a.b\": \"1\" }, type: map } }\n\
                sinks: { out: { headers: { X.Dotted: \"2\" } }, spare: { type: stdout } }\n";
    let again = "handlers: { a: { on: q, to: out, set: { \"data.a\": \"2\" } } }\nsinks: { spare: { type: blackhole } }\n";
    let config = valid(
        &[("1.yaml", BASE), ("2.yaml", over), ("3.yaml", again)],
        &[],
    );
    let handler = &config.handlers[0];
    assert_eq!(
        (
            handler.kind.as_str(),
            handler.on[0].as_str(),
            handler.on.len()
        ),
        ("map", "q", 1)
    );
    assert_eq!(handler.to, [Target::Sink("out".to_owned())]);
    let broken = "handlers: { a: { set: { \"data.a.b\": \"??\" } } }\n";
    let text = refused(
        &[("1.yaml", BASE), ("2.yaml", over), ("3.yaml", broken)],
        &[],
    );
    assert!(
        text.starts_with(
            "3.yaml:1:37: error: `handlers.a.set.data.a.b`: `??` is not an expression"
        ),
        "{text}"
    );
}

#[test]
fn a_file_with_a_byte_order_mark_and_windows_line_ends_is_read() {
    let text = format!("\u{feff}{}", BASE.replace('\n', "\r\n"));
    assert_eq!(valid(&[("v.yaml", &text)], &[]).handlers[0].lanes, Some(2));
    let text = refused(&[("v.yaml", &text.replace("lanes: 2", "lanes: 0"))], &[]);
    let expected = "  2 | handlers: { a: { type: pass, on: x, to: out, lanes: 0 } }\n    |                                                     ^\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn json_escapes_are_json() {
    let text = r#"{ "sources": { "in": { "type": "stdin" } }, "service": { "data_dir": "a\/\u00e9\ud83d\ude00\t" },
                   "routing": { "unmatched": "drop" } }"#;
    assert_eq!(
        valid(&[("v.json", text)], &[]).service.data_dir,
        PathBuf::from("a/\u{e9}\u{1f600}\t")
    );
}

#[test]
fn thousands_of_handlers_are_validated() {
    let mut text =
        "sources: { in: { type: stdin } }\nsinks: { out: { type: stdout } }\nhandlers:\n"
            .to_owned();
    for n in 0..5000 {
        text.push_str(&format!("  h{n}: {{ type: map, on: [a.b{n}, \"c.*\"], to: [out], set: {{ data.x: \"1\" }}, lanes: 2 }}\n"));
    }
    assert_eq!(valid(&[("v.yaml", &text)], &[]).handlers.len(), 5000);
}

#[test]
fn empty_files_and_sections_count_as_absent() {
    let config = valid(
        &[
            ("empty.yaml", ""),
            ("comment.yaml", "# nothing\n"),
            ("base.yaml", BASE),
            ("more.yaml", "sinks:\nsupervision: {}\n"),
        ],
        &[],
    );
    assert_eq!(config.sinks.len(), 1);
}

#[test]
fn warnings_come_with_the_config() {
    let over = "routing: { unmatched: drop }\nsinks:\n  spare: { type: stdout }\n";
    let (config, warnings) = load(&[("base.yaml", BASE), ("over.yaml", over)], &[]).unwrap();
    assert_eq!(config.unmatched, Unmatched::Drop);
    assert_eq!(
        warnings[0],
        "over.yaml:3:3: warning: nothing is sent to sink `spare`"
    );
    let alone = "sources: { in: { type: stdin } }\n";
    let (_, warnings) = load(&[("v.yaml", alone)], &[]).unwrap();
    assert_eq!(
        warnings,
        ["v.yaml:1:1: warning: the config has no handlers, so every event is unmatched"]
    );
}

#[test]
fn all_problems_are_told_in_one_run_and_in_order() {
    let text = "sources:\n  in: { type: stdinn }\nhandlers:\n  a: { type: pass, on: a*, to: nowhere, lanes: 0 }\n  b: { type: map, on: x, to: out, emitt: y }\nsinks:\n  out: { type: file }\nreloads: {}\n";
    let failure = load(&[("v.yaml", text)], &[]).unwrap_err();
    let places: Vec<_> = failure
        .problems
        .iter()
        .map(|problem| format!("{}: {}", problem.path, problem.message))
        .collect();
    assert_eq!(places.len(), 7, "{places:#?}");
    assert!(
        failure
            .problems
            .iter()
            .all(|problem| problem.severity == Severity::Error)
    );
    let paths: Vec<_> = failure
        .problems
        .iter()
        .map(|problem| problem.path.to_string())
        .collect();
    assert_eq!(
        paths,
        [
            "sources.in.type",
            "handlers.a.on",
            "handlers.a.to",
            "handlers.a.lanes",
            "handlers.b.emitt",
            "sinks.out",
            "reloads"
        ]
    );
}

#[test]
fn problems_are_told_to_programs_as_json() {
    let failure = load(
        &[(
            "v.yaml",
            "sources: { in: { type: stdin } }\nservice: { nmae: x }\n",
        )],
        &[],
    )
    .unwrap_err();
    let json = serde_json::to_value(&failure.problems).unwrap();
    let problem = &json[0];
    assert_eq!(problem["severity"], "error");
    assert_eq!(problem["path"], "service.nmae");
    assert_eq!(
        (&problem["line"], &problem["column"], &problem["length"]),
        (&2.into(), &12.into(), &4.into())
    );
    assert_eq!(problem["message"], "unknown key `nmae` in `service`");
    assert!(
        problem["help"]
            .as_str()
            .unwrap()
            .starts_with("did you mean `name`?")
    );
    assert!(problem["file"].as_str().unwrap().ends_with("v.yaml"));
}

#[test]
fn anchors_repeat_what_stands_once_and_errors_point_there() {
    let text = r#"
x-patient: &patient { attempts: 9, deadline: 5s }
x-caller: &caller
  type: http
  to: out
  supervision: { <<: *patient, deadline: 9s }
sources: { in: { type: stdin } }
handlers:
  a: { <<: *caller, on: a, url: "http://h/a" }
  b: { <<: *caller, on: b, url: "http://h/b", supervision: *patient }
sinks: { out: { type: blackhole } }
"#;
    let config = valid(&[("v.yaml", text)], &[]);
    let found: Vec<_> = config
        .handlers
        .iter()
        .map(|handler| {
            let deadline = handler.supervision.deadline.unwrap().as_secs();
            (
                handler.kind.as_str(),
                handler.supervision.attempts,
                deadline,
            )
        })
        .collect();
    assert_eq!(found, [("http", 9, 9), ("http", 9, 5)]);

    let text = refused(
        &[("v.yaml", &text.replace("attempts: 9", "attempts: 0"))],
        &[],
    );
    for handler in ["a", "b"] {
        let expected = format!(
            "v.yaml:2:33: error: `handlers.{handler}.supervision.attempts` must be a whole number of at least 1, not the number 0\n"
        );
        assert!(text.contains(&expected), "{text}");
    }
}

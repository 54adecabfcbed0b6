//! An independent validator's word on configs and the schema.

use std::path::{Path, PathBuf};

use boon::{Compiler, SchemaIndex, Schemas};

use super::*;
use crate::builtin;
use crate::config::{files, layers, origins::Origin};

const URL: &str = "https://veltrix.test/schema.json";

struct Validator {
    schemas: Schemas,
    root: SchemaIndex,
}

impl Validator {
    fn new() -> Self {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        let document = json_schema(&builtin::components());
        compiler.add_resource(URL, document).unwrap();
        let root = compiler.compile(URL, &mut schemas).unwrap();
        Self { schemas, root }
    }

    /// What is wrong with the config, if anything.
    fn problem(&self, config: &Value) -> Option<String> {
        let result = self.schemas.validate(config, self.root);
        result.err().map(|error| format!("{error:#}"))
    }
}

/// A config file as plain values.
fn values(path: &Path) -> Value {
    let (_, node, problems) = files::read(path, 0);
    assert!(problems.is_empty(), "{problems:#?}");
    let (value, _) = node
        .unwrap()
        .split(None, &|_, _| Origin::Environment("none".into()));
    layers::to_json(value)
}

fn shipped_configs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut found = vec![folder.join("veltrix.yaml")];
    let examples = std::fs::read_dir(folder.join("examples")).unwrap();
    let examples = examples.map(|entry| entry.unwrap().path());
    found.extend(examples.filter(|path| path.extension().is_some_and(|end| end == "yaml")));
    found
}

#[test]
fn every_config_that_is_shipped_fits_the_schema() {
    let validator = Validator::new();
    let configs = shipped_configs();
    assert!(configs.len() > 15, "{configs:?}");
    for path in configs {
        let problem = validator.problem(&values(&path));
        assert_eq!(problem, None, "{}", path.display());
    }
}

fn plain() -> Value {
    json!({
        "sources": { "in": { "type": "http", "listen": "127.0.0.1:0" } },
        "handlers": { "a": { "type": "map", "on": "x", "to": ["out"], "set": { "data.y": "1" } } },
        "sinks": { "out": { "type": "blackhole" } },
    })
}

/// The config with `value` at `pointer`, which need not be there yet.
fn with(pointer: &str, value: Value) -> Value {
    let mut config = plain();
    let mut place = &mut config;
    for key in pointer.split('/').skip(1) {
        place = &mut place[key];
    }
    *place = value;
    config
}

#[test]
fn mistakes_do_not_fit_the_schema() {
    let validator = Validator::new();
    assert_eq!(validator.problem(&plain()), None);
    let wrong = [
        ("/sevice", json!({})),
        ("/service/nmae", json!("x")),
        ("/service/drain_timeout", json!(10)),
        ("/service/drain_timeout", json!("soon")),
        ("/service/memory", json!("much")),
        ("/service/workers", json!("many")),
        ("/service/max_hops", json!(0)),
        ("/sources/in/type", json!("htp")),
        ("/sources/in/listen", json!(8080)),
        ("/sources/in/rate", json!(1)),
        ("/sources/b c", json!({ "type": "stdin" })),
        ("/sources/lines", json!({ "type": "http" })),
        ("/handlers/a/lenes", json!(1)),
        ("/handlers/a/lanes", json!(0)),
        ("/handlers/a/lanes", json!("four")),
        ("/handlers/a/isolation", json!("process")),
        ("/handlers/a/url", json!("http://127.0.0.1")),
        ("/handlers/a/supervision/backoff/mim", json!("1s")),
        ("/handlers/b", json!({ "type": "pass", "to": "out" })),
        ("/handlers/b", json!({ "on": "x", "to": "out" })),
        ("/sinks/out/path", json!("x")),
        ("/faults/inject", json!([{ "panic": true }])),
    ];
    for (pointer, value) in wrong {
        let problem = validator.problem(&with(pointer, value.clone()));
        assert!(problem.is_some(), "{pointer}: {value}");
    }
}

#[test]
fn what_the_config_takes_fits_the_schema() {
    let validator = Validator::new();
    let right = [
        ("/$schema", json!("./veltrix.schema.json")),
        ("/sinks", json!(null)),
        ("/service/drain_timeout", json!("1h 30m")),
        ("/service/memory", json!("${env:MEMORY:256MiB}")),
        ("/service/workers", json!("auto")),
        ("/service/workers", json!("${env:WORKERS}")),
        ("/service/admin", json!(null)),
        ("/handlers/a/lanes", json!("${env:LANES:4}")),
        ("/handlers/a/isolation", json!("${env:ISOLATION:shared}")),
        (
            "/handlers/a/supervision/breaker/dead_letter_ratio",
            json!("${env:RATIO}"),
        ),
        ("/sources/in/gzip", json!("${env:GZIP:true}")),
    ];
    for (pointer, value) in right {
        let problem = validator.problem(&with(pointer, value.clone()));
        assert_eq!(problem, None, "{pointer}: {value}");
    }
}

#[test]
fn every_option_of_every_component_is_in_the_schema_with_its_text() {
    let components = builtin::components();
    let document = json_schema(&components);
    let of = |role: &str, name: &str, own: Schema| {
        let whole = &document["$defs"][format!("{role}-{name}")]["properties"];
        assert_eq!(whole["type"]["const"], name);
        for (option, schema) in own.as_value()["properties"]
            .as_object()
            .into_iter()
            .flatten()
        {
            assert_eq!(
                whole[option]["description"], schema["description"],
                "{role} {name} {option}"
            );
            assert_eq!(
                whole[option]["default"], schema["default"],
                "{role} {name} {option}"
            );
        }
    };
    components
        .sources
        .iter()
        .for_each(|kind| of("source", kind.name, (kind.schema)()));
    components
        .handlers
        .iter()
        .for_each(|kind| of("handler", kind.name, (kind.schema)()));
    components
        .sinks
        .iter()
        .for_each(|kind| of("sink", kind.name, (kind.schema)()));
}

#[test]
fn options_of_any_shape_leave_the_shared_keys_checked() {
    let shared = json!({ "type": "object", "properties": { "on": {} }, "required": ["on"], "additionalProperties": false });
    let either = joined(
        &shared,
        json!({ "anyOf": [{ "type": "object" }, { "type": "null" }] }),
    );
    assert_eq!(either["required"], json!(["on"]));
    assert_eq!(either["additionalProperties"], true);
    let own = json!({ "properties": { "x": { "type": "string" } }, "required": ["x"], "additionalProperties": false });
    let whole = joined(&shared, own);
    assert_eq!(whole["required"], json!(["on", "x"]));
    assert_eq!(whole["additionalProperties"], false);
    assert_eq!(whole["properties"]["x"]["type"], "string");
}

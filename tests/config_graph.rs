//! What `veltrix graph` shows of a config, run as a user runs it.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::json;

const CONFIG: &str = r#"
service: { name: shop, data_dir: ./data }
sources:
  shop: { type: http, listen: "127.0.0.1:8080", auth: { bearer: "canary-1" } }
  demo: { type: generate, rate: 1 }
handlers:
  price:
    on: [order.created, "order.*.amended"]
    when: "data.key != '${env:CANARY}' && data.price >= 5"
    type: http
    url: "http://127.0.0.1:7001/price?token=canary-2"
    headers: { authorization: "Bearer ${env:CANARY}" }
    emit: order.priced
    to: [files, router]
    key: data.buyer
    lanes: 4
    supervision: { attempts: 7, deadline: 2s }
  approve: { on: order.priced, when: "data.total < 100", type: map, set: { data.ok: "true" }, emit: order.approved, to: [web, router] }
  score: { on: order.approved, type: exec, command: [ ./score, "--password=canary-3" ], to: files, isolation: thread }
  again: { on: order.created, type: pass, to: web }
  other: { on: "stock.>", type: pass, to: files }
sinks:
  files: { type: file, path: "out/{type}.ndjson" }
  web: { type: http, url: "http://127.0.0.1:7002/${env:CANARY}", headers: { x: "canary-4" } }
  rest: { type: blackhole }
routing: { unmatched: rest }
"#;

fn graph_of(config: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("v.yaml");
    std::fs::write(&path, config).expect("a config");
    Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["graph", "-c", "v.yaml"])
        .args(arguments)
        .current_dir(folder.path())
        .env("CANARY", "canary-5")
        .output()
        .expect("the binary")
}

fn graph(arguments: &[&str]) -> String {
    let output = graph_of(CONFIG, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_text_shows_everything_that_is_wired_and_how() {
    let text = graph(&[]);
    let (head, body) = text.split_once('\n').expect("several lines");
    assert!(head.starts_with("shop, config "), "{head}");
    let expected = "
sources
├─ shop  http, listen 127.0.0.1:8080
└─ demo  generate

router
├─ order.created, order.*.amended
│  └─ price: http, url http://127.0.0.1:7001/price, 4 lanes by data.buyer
│       when data.key != '${env:CANARY}' && data.price >= 5
│       7 attempts, back-off 50ms to 5s; deadline 2s; 5 restarts in 30s; pauses at 50 % dead letters of 50 in 10s
│       order.priced → files, router (to approve)
├─ order.priced
│  └─ approve: map, 1 lane
│       when data.total < 100
│       3 attempts, back-off 50ms to 5s; 5 restarts in 30s; pauses at 50 % dead letters of 50 in 10s
│       order.approved → web, router (to score)
├─ order.approved
│  └─ score: exec, command ./score, 1 lane on a thread of its own
│       3 attempts, back-off 50ms to 5s; 5 restarts in 30s; pauses at 50 % dead letters of 50 in 10s
│       its answers → files
├─ order.created
│  └─ again: pass, 1 lane
│       3 attempts, back-off 50ms to 5s; 5 restarts in 30s; pauses at 50 % dead letters of 50 in 10s
│       the event itself → web
├─ stock.>
│  └─ other: pass, 1 lane
│       3 attempts, back-off 50ms to 5s; 5 restarts in 30s; pauses at 50 % dead letters of 50 in 10s
│       the event itself → files
└─ whatever no handler wants → rest

sinks
├─ files  file, path out/{type}.ndjson
├─ web    http, url http://127.0.0.1:7002/${env:CANARY}
└─ rest   blackhole
";
    assert_eq!(body, expected);
}

#[test]
fn one_types_way_is_followed_round_the_router() {
    let expected = "order.created
├─ price (http, url http://127.0.0.1:7001/price, 4 lanes by data.buyer, on order.created, when data.key != '${env:CANARY}' && data.price >= 5)
│  └─ order.priced → files, router
│     ├─ approve (map, 1 lane, on order.priced, when data.total < 100)
│     │  └─ order.approved → web, router
│     │     └─ score (exec, command ./score, 1 lane on a thread of its own, on order.approved)
│     │        └─ its answers → files
│     └─ if no condition holds → rest
└─ again (pass, 1 lane, on order.created)
   └─ order.created → web
";
    assert_eq!(graph(&["--type", "order.created"]), expected);
    let unwanted = graph(&["--type", "order.lost"]);
    assert_eq!(unwanted, "order.lost\n└─ no handler wants it → rest\n");
}

/// The edges of a DOT graph, and its nodes.
fn dot(text: &str) -> (BTreeSet<(&str, &str)>, BTreeSet<&str>) {
    let mut edges = BTreeSet::new();
    let mut nodes = BTreeSet::new();
    for line in text.lines() {
        let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
        match (line.contains(" -> "), quoted.as_slice()) {
            (true, [from, to, ..]) => assert!(edges.insert((*from, *to)), "{line}"),
            (false, [node, _, ..]) => assert!(nodes.insert(*node), "{line}"),
            _ => {}
        }
    }
    (edges, nodes)
}

#[test]
fn dot_has_each_component_once_and_each_edge() {
    let text = graph(&["--format", "dot"]);
    let (edges, nodes) = dot(&text);
    for name in [
        "source.shop",
        "source.demo",
        "router",
        "type.order.*.amended",
        "handler.score",
        "sink.rest",
    ] {
        assert!(nodes.contains(name), "{name} in {text}");
    }
    for edge in [
        ("source.demo", "router"),
        ("router", "type.order.created"),
        ("type.order.created", "handler.price"),
        ("type.order.created", "handler.again"),
        ("handler.price", "router"),
        ("handler.price", "sink.files"),
        ("router", "sink.rest"),
    ] {
        assert!(edges.contains(&edge), "{edge:?} in {text}");
    }
    let loose = edges
        .iter()
        .find(|(from, to)| !nodes.contains(from) || !nodes.contains(to));
    assert_eq!(loose, None);
    assert_eq!(
        text.matches('{').count() - text.matches("{type}").count() - text.matches("${").count(),
        1
    );
}

#[test]
fn a_type_leaves_out_what_it_does_not_come_to() {
    let text = graph(&["--format", "dot", "--type", "stock.low"]);
    let (edges, nodes) = dot(&text);
    let handlers: Vec<&str> = nodes
        .iter()
        .copied()
        .filter(|node| node.starts_with("handler."))
        .collect();
    assert_eq!(handlers, ["handler.other"]);
    assert!(nodes.contains("type.stock.>") && !nodes.contains("type.order.created"));
    assert!(!nodes.contains("sink.web"), "{text}");
    assert!(
        !edges.contains(&("router", "sink.rest")),
        "it is always wanted"
    );
}

#[test]
fn mermaid_names_no_node_by_the_users_words() {
    let text = graph(&["--format", "mermaid"]);
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("flowchart LR"));
    let mut nodes = BTreeSet::new();
    for line in lines {
        let mut words = line.split_whitespace();
        let first = words.next().expect("a word");
        let name: String = first
            .chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect();
        match line.contains("-->") {
            false => assert!(nodes.insert(name), "{line}"),
            true => {
                let last = words.next_back().expect("a target");
                assert!(nodes.contains(&name) && nodes.contains(last), "{line}");
            }
        }
    }
    assert!(
        text.contains("<br/>when data.total #60; 100<br/>"),
        "{text}"
    );
    assert!(text.contains("-->|\"order.priced\"|"), "{text}");
}

#[test]
fn json_has_the_nodes_and_edges_that_dot_has() {
    for way in [&[][..], &["--type", "order.created"]] {
        let text = graph(&[&["-o", "json"], way].concat());
        let graph_json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let texts = |list: &str, keys: &[&'static str]| -> BTreeSet<Vec<String>> {
            let items = graph_json[list].as_array().expect("a list");
            let texts = |item: &serde_json::Value| {
                let text = |key: &&str| item[*key].as_str().expect("a text").to_owned();
                keys.iter().map(text).collect()
            };
            items.iter().map(texts).collect()
        };
        let drawn = graph(&[&["--format", "dot"], way].concat());
        let (edges, nodes) = dot(&drawn);
        let ids = nodes.iter().map(|id| vec![(*id).to_owned()]);
        assert_eq!(texts("nodes", &["id"]), ids.collect());
        let ends = edges
            .iter()
            .map(|(from, to)| vec![(*from).to_owned(), (*to).to_owned()]);
        assert_eq!(texts("edges", &["from", "to"]), ends.collect());
    }
    let whole: serde_json::Value =
        serde_json::from_str(&graph(&["--output", "json"])).expect("JSON");
    assert_eq!(whole["service"], "shop");
    assert!(whole["version"].is_string(), "{whole}");
    for (list, item) in [
        (
            "nodes",
            json!({ "id": "router", "role": "router", "lines": ["router"] }),
        ),
        (
            "nodes",
            json!({ "id": "type.order.priced", "role": "type", "lines": ["order.priced"] }),
        ),
        (
            "edges",
            json!({ "from": "handler.price", "to": "router", "label": "order.priced" }),
        ),
        (
            "edges",
            json!({ "from": "router", "to": "sink.rest", "label": "unmatched" }),
        ),
    ] {
        let items = whole[list].as_array().expect("a list");
        assert!(items.contains(&item), "{item} is not in {whole}");
    }
}

#[test]
fn no_form_shows_a_secret() {
    for form in ["text", "dot", "mermaid", "json"] {
        for way in [&[][..], &["--type", "order.created"]] {
            let text = graph(&[&["--format", form], way].concat());
            assert!(!text.contains("canary"), "{text}");
        }
    }
}

#[test]
fn a_bad_config_is_refused_and_a_pattern_is_no_type() {
    let output = graph_of("sources: {}", &[]);
    assert_eq!(output.status.code(), Some(78));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no sources"));
    let output = graph_of(CONFIG, &["--type", "order.*"]);
    assert_eq!(output.status.code(), Some(2));
}

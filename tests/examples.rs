//! Every example config is valid without a warning, and does under the real binary what it says. So does the demo.

#[path = "examples/handlers.rs"]
mod handlers;
#[path = "examples/peer.rs"]
mod peer;
#[path = "examples/process.rs"]
mod process;
#[path = "examples/sinks.rs"]
mod sinks;
#[path = "examples/sources.rs"]
mod sources;
#[path = "examples/tasks.rs"]
mod tasks;

use std::collections::BTreeSet;

use peer::{event, post};
use process::{Example, root};

/// A test for each example, and the list of them.
macro_rules! examples {
    ($($module:ident::$test:ident: $file:literal,)*) => {
        const CASES: &[&str] = &[$($file),*];
        $(
            #[test]
            fn $test() {
                $module::$test(Example::new(concat!("config/examples/", $file)));
            }
        )*
    };
}

examples! {
    sources::source_generate: "source-generate.yaml",
    sources::source_http: "source-http.yaml",
    sources::source_tcp: "source-tcp.yaml",
    sources::source_stdin: "source-stdin.yaml",
    sources::source_file: "source-file.yaml",
    handlers::handler_map: "handler-map.yaml",
    handlers::handler_pass: "handler-pass.yaml",
    handlers::handler_http: "handler-http.yaml",
    handlers::handler_exec: "handler-exec.yaml",
    sinks::sink_stdout: "sink-stdout.yaml",
    sinks::sink_file: "sink-file.yaml",
    sinks::sink_http: "sink-http.yaml",
    sinks::sink_tcp: "sink-tcp.yaml",
    sinks::sink_blackhole: "sink-blackhole.yaml",
    tasks::webhook_fan_out: "webhook-fan-out.yaml",
    tasks::log_lines: "log-lines.yaml",
    tasks::call_a_component: "call-a-component.yaml",
    tasks::child_process: "child-process.yaml",
    tasks::dead_letters: "dead-letters.yaml",
    tasks::break_it: "break-it.yaml",
}

#[test]
fn every_example_has_a_case() {
    let folder = std::fs::read_dir(root().join("config/examples")).expect("the examples");
    let names = folder.map(|file| file.expect("an entry").file_name());
    let names: BTreeSet<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    let cases: BTreeSet<String> = CASES.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names, cases);
}

#[test]
fn every_component_has_an_example() {
    let components = std::process::Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["components", "-o", "json"])
        .output()
        .expect("the binary");
    let components: serde_json::Value =
        serde_json::from_slice(&components.stdout).expect("components as JSON");
    for component in components.as_array().expect("a list") {
        let text = |key: &str| component[key].as_str().expect("a text").to_owned();
        let file = format!("{}-{}.yaml", text("role"), text("type"));
        assert!(CASES.contains(&file.as_str()), "there is no {file}");
    }
}

#[test]
fn components_are_shown_with_the_options_within_their_options() {
    let shown = std::process::Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(["components", "http"])
        .output()
        .expect("the binary");
    let shown = String::from_utf8(shown.stdout).expect("text");
    for option in ["auth.bearer", "retry.max_elapsed", "batch.events"] {
        let is_it = |line: &str| line.split_whitespace().next() == Some(option);
        assert!(shown.lines().any(is_it), "{option}: {shown}");
    }
}

fn demo() -> Example {
    Example::new("config/veltrix.yaml")
        .with_any_port("shop")
        .with("VELTRIX__SERVICE__ADMIN__LISTEN", "127.0.0.1:0")
}

#[test]
fn the_demo_prices_and_flags_what_it_makes_up() {
    let mut running = demo().start();
    let priced = running.event();
    assert_eq!(priced["type"], "order.priced");
    let data = &priced["data"];
    let of = |name: &str| data[name].as_f64().expect("a number");
    assert_eq!(
        of("total"),
        (of("price") * of("quantity") * 100.0).round() / 100.0
    );
    let flagged = running.event_of("payment.flagged");
    assert_eq!(flagged["source"], "/veltrix/shop/flag-payment");
    let ended = running.stop();
    assert!(ended.file("out/order.priced.ndjson").contains(&priced));
    assert!(ended.file("out/payment.flagged.ndjson").contains(&flagged));
    assert_eq!(ended.summary["dead_lettered"], 0);
}

#[test]
fn the_demo_shows_what_is_posted_to_it() {
    let mut running = demo().start();
    let address = running.address("shop");
    let order = event(
        "mine",
        "order.created",
        "me",
        r#"{"price":9.99,"quantity":3}"#,
    );
    post(address, &order);
    let priced = std::iter::repeat_with(|| running.event()).find(|event| event["subject"] == "me");
    let priced = priced.expect("it goes on until it is found");
    assert_eq!(priced["id"], "mine.price-order.0");
    assert_eq!(priced["data"]["total"], 29.97);
    post(address, &event("other", "greeting", "me", "\"hello\""));
    assert_eq!(running.event_of("greeting")["data"], "hello");
    running.stop();
}

/// The first fenced block of the README that begins so, without its fences.
fn readme_block<'a>(readme: &'a str, begin: &str) -> &'a str {
    let at = readme.find(begin).expect("the README has it");
    let block = readme[at..].split("\n```").next().unwrap_or_default();
    block.split_once('\n').map_or("", |(_, text)| text)
}

#[test]
fn the_readmes_curl_shows_what_the_readme_says() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let mut running = demo().start();
    let address = running.address("shop").to_string();
    let curl = readme_block(&readme, "```sh\ncurl -i").replace("127.0.0.1:8080", &address);
    let curl = std::process::Command::new("bash")
        .args(["-c", &curl])
        .output()
        .expect("bash");
    let answer = String::from_utf8_lossy(&curl.stdout);
    assert!(answer.contains("202 Accepted"), "{answer}");
    let shown: serde_json::Value = serde_json::from_str(readme_block(&readme, "```json\n{"))
        .expect("the README's result is JSON");
    let is_shown = std::iter::repeat_with(|| running.event())
        .find(|event| event["subject"] == "customer-1")
        .is_some_and(|event| event == shown);
    assert!(is_shown, "the demo shows something else than {shown}");
    running.stop();
}

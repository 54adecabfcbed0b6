//! Each rule is broken once, and the checker sees it; what only looks like a breach is left alone.

use crate::rules::{Finding, check, check_plain};
use crate::whole_tree::{dependencies_without_reason, examples_without_docs};

/// (rule, path, text after the head, a part of the message)
const BREACHES: &[(&str, &str, &str, &str)] = &[
    (
        "unwrap",
        "src/app.rs",
        "fn f() { g().unwrap(); }",
        ".unwrap()",
    ),
    (
        "empty expect",
        "src/app.rs",
        "fn f() { g().expect(\"\"); }",
        ".expect(\"\")",
    ),
    (
        "do_send",
        "src/app.rs",
        "fn f() { addr.do_send(m); }",
        "do_send(",
    ),
    (
        "try_send",
        "actors/src/router.rs",
        "fn f() { addr.try_send(m); }",
        "try_send(",
    ),
    (
        "actix supervisor",
        "src/app.rs",
        "type S = actix::Supervisor<A>;",
        "actix::Supervisor",
    ),
    (
        "imported supervisor",
        "src/app.rs",
        "use actix::{Actor,\n  Supervisor};",
        "actix::Supervisor",
    ),
    (
        "sync arbiter",
        "src/app.rs",
        "use actix::SyncArbiter;",
        "SyncArbiter",
    ),
    (
        "unbounded futures channel",
        "src/app.rs",
        "fn f() { mpsc::unbounded(); }",
        "unbounded(",
    ),
    (
        "unbounded tokio channel",
        "src/app.rs",
        "fn f() { mpsc::unbounded_channel(); }",
        "unbounded_channel",
    ),
    (
        "unbounded std channel",
        "src/app.rs",
        "fn f() { mpsc::channel(); }",
        "mpsc::channel()",
    ),
    (
        "mutex",
        "src/app.rs",
        "\nstruct S { a: Arc<Mutex<u8>> }",
        "shared locked state",
    ),
    (
        "lock",
        "src/app.rs",
        "\nstruct S { a: Arc<RwLock<u8>> }",
        "shared locked state",
    ),
    (
        "ignored test",
        "tests/drain.rs",
        "#[test]\n#[ignore = \"slow\"]\nfn f() {}",
        "#[ignore",
    ),
    (
        "sleep in a test",
        "tests/drain.rs",
        "fn f() { thread::sleep(d); }",
        "sleep(",
    ),
    (
        "sleep in a unit test",
        "src/app.rs",
        "#[cfg(test)]\nmod t { fn f() { sleep(d); } }",
        "sleep(",
    ),
    (
        "dropped result",
        "src/app.rs",
        "fn f() { let _ = g(); }",
        "let _ =",
    ),
    (
        "dropped error",
        "tests/drain.rs",
        "fn f() { g().ok(); }",
        ".ok();",
    ),
    (
        "dropped error in a chain",
        "src/app.rs",
        "fn f() {\n  g()\n    .h()\n    .ok();\n}",
        ".ok();",
    ),
    ("todo", "src/app.rs", "fn f() { todo!(); }", "todo!("),
    (
        "unimplemented",
        "src/app.rs",
        "fn f() { unimplemented!(); }",
        "unimplemented!(",
    ),
    ("dbg", "src/app.rs", "fn f() { dbg!(1); }", "dbg!("),
    ("fixme", "src/app.rs", "// FIXME later", "FIXME"),
    ("three x", "src/app.rs", "// XXX", "XXX"),
    ("stand-in", "src/app.rs", "// a placeholder", "placeholder"),
    (
        "promise",
        "src/app.rs",
        "// does nothing for now",
        "for now",
    ),
    (
        "allow",
        "src/app.rs",
        "#[allow(dead_code)]\nfn f() {}",
        "`allow` without",
    ),
    (
        "crate allow",
        "src/app.rs",
        "#![allow(\n  dead_code\n)]",
        "`allow` without",
    ),
    ("name", "src/sinks/utils.rs", "", "names nothing"),
    ("folder name", "src/common/retry.rs", "", "names nothing"),
    (
        "other room",
        "src/sources/file.rs",
        "use crate::sinks::Sink;",
        "sibling `sinks::Sink`",
    ),
    (
        "other room in a group",
        "src/sinks/file.rs",
        "use crate::{a, handlers::{self, b}};",
        "sibling `handlers",
    ),
    (
        "sibling",
        "src/sinks/file.rs",
        "use crate::sinks::http::Body;",
        "sibling `sinks::http`",
    ),
    (
        "sibling inline",
        "src/sinks/file.rs",
        "fn f() { crate::sinks::http::g() }",
        "sibling `sinks::http`",
    ),
    (
        "sibling by super",
        "src/sinks/file.rs",
        "use super::http::Body;",
        "sibling `sinks::http`",
    ),
    (
        "sibling from within",
        "src/sinks/file/path.rs",
        "use super::super::http::Body;",
        "sibling `sinks::http`",
    ),
    (
        "upward dependency",
        "actors/src/router.rs",
        "use veltrix::config::Config;",
        "names `veltrix`",
    ),
];

/// (what it is, path, text after the head)
const INNOCENT: &[(&str, &str, &str)] = &[
    (
        "an error turned into a kept option",
        "src/app.rs",
        "fn f() {\n  let a = g()\n    .h()\n    .ok();\n}",
    ),
    (
        "unwrap in a file of tests",
        "src/receiver.rs",
        "#![cfg(test)]\nfn f() { g().unwrap(); }",
    ),
    (
        "unwrap in a unit test",
        "src/app.rs",
        "#[cfg(test)]\nmod t { fn f() { g().unwrap(); } }",
    ),
    (
        "unwrap in a string",
        "src/app.rs",
        "const A: &str = \"g().unwrap()\";",
    ),
    (
        "unwrap in a raw string",
        "src/app.rs",
        "const A: &str = r#\"\"g().unwrap()\"#;",
    ),
    (
        "unwrap in a comment",
        "src/app.rs",
        "/* a /* b */ g().unwrap() */ // g().unwrap()",
    ),
    (
        "a quote in a char",
        "src/app.rs",
        "const Q: char = '\"'; const R: char = '\\''; // dbg!(",
    ),
    (
        "expect with an invariant",
        "src/app.rs",
        "fn f() { g().expect(\"opened above\"); }",
    ),
    (
        "a send in the mailbox",
        "actors/src/mailbox.rs",
        "fn f() { addr.do_send(m); }",
    ),
    (
        "our supervisor",
        "actors/src/supervision/mod.rs",
        "use actix::Supervisor;",
    ),
    (
        "a bounded channel",
        "src/app.rs",
        "fn f() { mpsc::channel(8); sync_channel(1); }",
    ),
    (
        "an explained mutex",
        "src/app.rs",
        "struct S {\n// read by the admin server\na: Arc<Mutex<u8>> }",
    ),
    (
        "a named ignored value",
        "src/app.rs",
        "fn f() { let _guard = g(); }",
    ),
    (
        "sleep in code",
        "src/sources/http.rs",
        "async fn f() { tokio::time::sleep(d).await; }",
    ),
    (
        "an allow with a reason",
        "src/app.rs",
        "#[allow(\n  dead_code,\n  reason = \"x\"\n)]\nfn f() {}",
    ),
    (
        "own parts",
        "src/sinks/file.rs",
        "use crate::sinks::file::path::Template;",
    ),
    (
        "own parts by super",
        "src/sinks/file/write.rs",
        "use super::path::Template;",
    ),
    (
        "a type of the room",
        "src/sinks/file.rs",
        "use super::SinkTable;",
    ),
    (
        "the room's list",
        "src/sinks/mod.rs",
        "use crate::sinks::{file::A, http::B};",
    ),
    (
        "the app",
        "src/app.rs",
        "use crate::{sinks::http, sources::http as from};",
    ),
    (
        "the actors crate's name",
        "actors/src/router.rs",
        "use veltrix_actors::Event;",
    ),
];

fn with_head(text: &str) -> String {
    format!("//! What the file is for.\n{text}")
}

fn shown(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect()
}

#[test]
fn each_rule_bites() {
    for (rule, path, text, expected) in BREACHES {
        let found = shown(&check(path, &with_head(text)));
        assert!(
            found.contains(expected),
            "{rule}: `{expected}` is not in:\n{found}"
        );
    }
}

#[test]
fn what_only_looks_like_a_breach_is_left_alone() {
    for (what, path, text) in INNOCENT {
        let found = shown(&check(path, &with_head(text)));
        assert!(found.is_empty(), "{what}:\n{found}");
    }
}

#[test]
fn the_head_is_asked_for() {
    assert!(shown(&check("src/app.rs", "use a::b;\n")).contains("//!"));
    assert!(shown(&check("src/app.rs", "")).contains("//!"));
}

#[test]
fn length_is_counted_before_the_tests() {
    let lines = |count: usize| "fn f() {}\n".repeat(count);
    let long = with_head(&lines(400));
    assert!(shown(&check("src/app.rs", &long)).contains("401 lines"));
    let tested = with_head(&format!("#[cfg(test)]\n{}", lines(400)));
    assert!(check("src/app.rs", &tested).is_empty());
    assert!(check("tests/drain.rs", &long).is_empty());
    assert!(shown(&check("src/main.rs", &with_head(&lines(60)))).contains("at most 60"));
    assert!(check("src/main.rs", &with_head(&lines(50))).is_empty());
}

#[test]
fn a_machine_is_named_nowhere() {
    for place in ["/root/a", "/home/me/a", "/work/main", "../shared/data"] {
        assert!(!check_plain("docs/a.md", place).is_empty(), "{place}");
        assert!(!check_plain("src/app.rs", place).is_empty(), "{place}");
    }
    assert!(check_plain("scripts/acceptance", "../shared/data").is_empty());
    assert!(!check_plain("scripts/acceptance", "/work/shared").is_empty());
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let manifest = "[workspace.dependencies]\nours = { path = \".\" }\nserde = \"1\"\nitoa = \"1\"\n\n[package]\nname = \"a\"\n";
    let found = shown(&dependencies_without_reason(
        manifest,
        "| `serde` | config |\n",
    ));
    assert!(
        found.contains("`itoa`") && !found.contains("`serde`") && !found.contains("`ours`"),
        "{found}"
    );
}

#[test]
fn an_example_that_no_page_mentions_is_found() {
    let files = [
        "config/examples/a.yaml".to_string(),
        "config/examples/b.yaml".to_string(),
    ];
    let found = shown(&examples_without_docs(
        &files,
        "see `config/examples/a.yaml`",
    ));
    assert!(
        found.contains("b.yaml") && !found.contains("a.yaml:"),
        "{found}"
    );
}

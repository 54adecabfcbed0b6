//! A canary in each place where a secret may stand shows up in nothing that the real binary prints, answers or keeps.

#[path = "support/metrics.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod metrics;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod process;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use metrics::Metrics;
use process::{Process, request};
use serde_json::Value;

const CANARY: &str = "c4n4ry-sings-alone";

/// A config with `SECRET` in each place where a secret may stand.
const CONFIG: &str = r#"
service: { admin: { listen: "127.0.0.1:0" }, drain_timeout: 5s }
sources:
  shop: { type: http, listen: "127.0.0.1:0", auth: { bearer: "SECRET" } }
  demo: { type: generate, count: 3, rate: max }
handlers:
  call: { type: http, on: order.created, url: "http://127.0.0.1:1/x?key=SECRET", to: out, when: "data.order >= 0",
          headers: { authorization: "Bearer SECRET", x-key: "SECRET" }, supervision: { attempts: 1 } }
  child: { type: exec, on: order.created, command: [sh, -c, "echo it is $TOKEN >&2; exit 3", "SECRET"], env: { TOKEN: "SECRET" }, to: out,
           supervision: { attempts: 1 } }
  keep: { type: pass, on: order.created, to: out }
sinks:
  out: { type: http, url: "http://127.0.0.1:1/?token=SECRET", headers: { authorization: "Bearer SECRET" },
         retry: { max_elapsed: 1ms } }
"#;

/// A folder with a file for `${file:secret}`.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, CANARY).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("permissions");
    folder
}

/// All that a command prints, whether it succeeds or not.
fn printed(folder: &Path, config: &str, arguments: &[&str]) -> String {
    std::fs::write(folder.join("v.yaml"), config).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .args(arguments)
        .args(["-c", "v.yaml"])
        .current_dir(folder)
        .env("SECRET", CANARY)
        .output()
        .expect("the binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    text(output.stdout) + &text(output.stderr)
}

fn assert_silent(what: &str, text: &str) {
    assert!(!text.is_empty(), "{what} says nothing");
    assert!(!text.contains(CANARY), "{what}: {text}");
}

/// The three ways in which a secret gets into a config.
const WAYS: [&str; 3] = [CANARY, "${env:SECRET}", "${file:secret}"];

#[test]
fn a_running_process_keeps_secrets_to_itself() {
    for way in [CANARY, "${file:secret}"] {
        let mut process = Process::start_traced(folder(), &CONFIG.replace("SECRET", way));
        let admin = process.admin();
        let shop = process.address("shop");
        process.running();
        let wrong = request(
            shop,
            "POST",
            "/events",
            &[("authorization", "Bearer no")],
            b"{}",
        );
        assert_eq!(wrong.status, 401);
        assert_silent("an answer", &wrong.body);
        // three events, given up by both components and by the sink
        process.until("the dead letters", || {
            let metrics = Metrics::of(admin);
            metrics.source("finished", "demo") == 3.0
        });
        for path in ["/metrics", "/readyz", "/api/tree", "/api/dead-letters"] {
            assert_silent(path, &request(admin, "GET", path, &[], b"").body);
        }
        let list = request(admin, "GET", "/api/dead-letters", &[], b"").body;
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let letters = list["dead_letters"].as_array().expect("a list");
        assert_eq!(letters.len(), 9, "{list}");
        for letter in letters {
            let path = format!("/api/dead-letters/{}", letter["sequence"]);
            assert_silent(&path, &request(admin, "GET", &path, &[], b"").body);
        }
        let file = process.folder().join("veltrix.yaml");
        let reload = |from: &str, to: &str| {
            let config = CONFIG.replacen(from, to, 1).replace("SECRET", way);
            std::fs::write(&file, config).expect("written");
            let json = [("content-type", "application/json")];
            let answer = request(admin, "POST", "/api/reload", &json, b"");
            assert_silent("a reload", &answer.body);
            answer.status
        };
        for (sound, broken) in BREAKS {
            assert_eq!(reload(sound, broken), 422, "{broken}");
        }
        assert_eq!(reload("attempts: 1", "attempts: 2"), 200);
        for path in ["/api/config", "/api/config/history", "/metrics"] {
            assert_silent(path, &request(admin, "GET", path, &[], b"").body);
        }
        let ended = process.stop();
        let log: String = ended.logs.iter().map(Value::to_string).collect();
        assert_silent("the log", &log);
        assert!(log.contains("it is ***"), "what the child says is logged");
    }
}

#[test]
fn commands_that_show_a_config_do_not_show_its_secrets() {
    let folder = folder();
    for way in WAYS {
        let config = CONFIG.replace("SECRET", way);
        for arguments in [
            &["validate"][..],
            &["validate", "-o", "json"],
            &["graph"],
            &["graph", "--type", "order.created"],
            &["graph", "--format", "dot"],
            &["graph", "--format", "mermaid"],
            &["test"],
            &["top", "--once"],
        ] {
            let text = printed(folder.path(), &config, arguments);
            assert_silent(&arguments.join(" "), &text);
        }
    }
}

/// What is written in the place of something else, so that errors point at and beside each secret.
const BREAKS: &[(&str, &str)] = &[
    // an unknown key beside it
    ("auth: {", "auht: {"),
    ("bearer: ", "bearer: [1], token: "),
    ("headers: {", "heders: {"),
    ("x-key: \"SECRET\"", "x-key: \"SECRET\", \"a b\": x"),
    ("env: {", "envs: {"),
    ("to: out,", "to: outt,"),
    ("retry: {", "retri: {"),
    // a wrong value of its own
    ("bearer: \"SECRET\"", "bearer: { SECRET: SECRET }"),
    ("x-key: \"SECRET\"", "x-key: \"SECRET\\u0001\""),
    ("x-key: \"SECRET\"", "content-type: \"SECRET\""),
    ("TOKEN: \"SECRET\"", "\"A=B\": \"SECRET\""),
    ("TOKEN: \"SECRET\"", "TOKEN: \"SECRET\\0\""),
    ("http://127.0.0.1:1/?", "ftp://127.0.0.1:1/?"),
    (
        "http://127.0.0.1:1/x?key=SECRET",
        "http://me:SECRET@127.0.0.1:1/",
    ),
    (
        "http://127.0.0.1:1/x?key=SECRET",
        "http://host/ ?key=SECRET",
    ),
    // one that goes on over several lines
    (
        "x-key: \"SECRET\" }",
        "x-key: \"SECRET\n          SECRET\" }, heders: {}",
    ),
    // another secret that cannot be had
    (
        "x-key: \"SECRET\"",
        "x-key: \"${env:NOT_SET_AT_ALL}SECRET\"",
    ),
    (
        "x-key: \"SECRET\"",
        "x-key: \"${env:NOT_SET_AT_ALL:SECRET}\", conncurrency: 2",
    ),
];

#[test]
fn errors_at_and_beside_secrets_do_not_show_them() {
    let folder = folder();
    for way in WAYS {
        for (sound, broken) in BREAKS {
            assert!(CONFIG.contains(sound), "{sound}");
            // an argument that stands there literally is for everybody to see, in `ps` as well
            let config = CONFIG.replace(", \"SECRET\"], env", "], env");
            let config = config.replacen(sound, broken, 1).replace("SECRET", way);
            for arguments in [&["validate"][..], &["validate", "-o", "json"]] {
                let text = printed(folder.path(), &config, arguments);
                assert!(text.contains("error"), "{broken} {text}");
                assert_silent(broken, &text);
            }
        }
    }
}

#[test]
fn what_is_a_secret_is_marked_as_such_in_the_schema() {
    let output = Command::new(env!("CARGO_BIN_EXE_veltrix"))
        .arg("schema")
        .output()
        .expect("the binary");
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    for place in [
        "/$defs/sink-http.HeaderOptions/additionalProperties",
        "/$defs/handler-http.HeaderOptions/additionalProperties",
        "/$defs/handler-exec.Environment/additionalProperties",
    ] {
        let found = schema.pointer(place).unwrap_or(&Value::Null).to_string();
        assert!(found.contains("\"writeOnly\":true"), "{place}: {found}");
    }
}

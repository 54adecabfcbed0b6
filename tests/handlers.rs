//! The handlers of the real binary that call somebody else.

#[path = "support/stub_server.rs"]
mod stub_server;
#[path = "support/workspace.rs"]
mod workspace;

use stub_server::{Receiver, answer};
use workspace::{Workspace, event};

fn with_handler(handler: &str) -> String {
    format!(
        "handlers: {{ ask: {{ on: '>', {handler}, to: [out] }} }}\nsinks: {{ out: {{ type: stdout }} }}\n"
    )
}

fn data(lines: &[String]) -> Vec<serde_json::Value> {
    let event =
        |line: &String| -> serde_json::Value { serde_json::from_str(line).expect("an event") };
    lines
        .iter()
        .map(|line| event(line)["data"].clone())
        .collect()
}

#[test]
fn pass_judges_its_condition_first() {
    let events: Vec<_> = (0..10).map(|id| event(id, "t", "s")).collect();
    let config = with_handler("type: pass, when: 'data.n >= 7'") + "routing: { unmatched: drop }\n";
    let ended = Workspace::new().run(&config, &events);
    ended.assert_drained(&["delivered=3", "dropped=7"]);
    assert_eq!(ended.lines, events[7..]);
}

#[test]
fn http_answers_are_results_of_every_kind() {
    let receiver = Receiver::start(|request, _| {
        let event: serde_json::Value = serde_json::from_str(&request.body).unwrap();
        let own = request.body.replace("\"t\"", "\"own\"");
        match event["data"]["n"].as_u64().unwrap() {
            0 => answer("200 OK", "application/json", "{\n  \"plain\": true\n}"),
            1 => answer("200 OK", "application/cloudevents+json", &own),
            2 => answer(
                "200 OK",
                "application/cloudevents-batch+json",
                &format!("[{own},{own}]"),
            ),
            3 => answer("204 No Content", "text/plain", ""),
            4 => answer("422 Unprocessable", "text/plain", "no such order"),
            _ => answer("200 OK", "text/html", "<p>"),
        }
    });
    let events: Vec<_> = (0..6).map(|id| event(id, "t", "s")).collect();
    let handler = format!(
        "type: http, url: '{}', emit: answered, headers: {{ authorization: s3cret }}",
        receiver.url()
    );
    let ended = Workspace::new().run(&with_handler(&handler), &events);
    ended.assert_drained(&["accepted=6", "delivered=4", "dead_lettered=2"]);
    assert!(ended.lines[0].contains(
        r#""id":"0.ask.0","source":"/veltrix/test/ask","type":"answered","subject":"s""#
    ));
    assert!(ended.lines[0].ends_with(r#""data":{"plain":true}}"#));
    let own: Vec<String> = [1, 2, 2].iter().map(|id| event(*id, "own", "s")).collect();
    assert_eq!(ended.lines[1..], own);
    assert!(ended.log.contains("no such order"), "{}", ended.log);
    assert!(!ended.log.contains("s3cret"));
    assert_eq!(receiver.requests().len(), 6);
}

#[test]
fn an_http_component_that_is_busy_is_asked_again_in_order() {
    let receiver = Receiver::start(|_, number| match number % 2 {
        0 => "HTTP/1.1 503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n".to_owned(),
        _ => answer("200 OK", "application/json", &number.to_string()),
    });
    let events: Vec<_> = (0..20).map(|id| event(id, "t", "s")).collect();
    let handler = format!("type: http, url: '{}', mode: binary", receiver.url());
    let ended = Workspace::new().run(&with_handler(&handler), &events);
    ended.assert_drained(&["delivered=20", "dead_lettered=0"]);
    let expected: Vec<_> = (0..20).map(|n| serde_json::json!(2 * n + 1)).collect();
    assert_eq!(data(&ended.lines), expected);
    assert_eq!(receiver.requests()[0].header("ce-subject"), Some("s"));
}

#[test]
fn exec_survives_an_event_that_kills_its_child() {
    let workspace = Workspace::new();
    let script = r#"while read -r line; do
        case "$line" in
            *poison*) echo "cannot digest this" >&2; exit 3 ;;
            *) echo "{\"pid\":$$,\"word\":\"$WORD\"}" ;;
        esac
    done"#;
    std::fs::write(workspace.path().join("score.sh"), script).unwrap();
    let mut events: Vec<_> = (0..10).map(|id| event(id, "t", "s")).collect();
    events[4] = event(4, "t.poison", "s");
    let handler =
        "type: exec, command: [sh, score.sh], env: { WORD: yes }, supervision: { attempts: 2 }";
    let ended = workspace.run(&with_handler(handler), &events);
    ended.assert_drained(&["delivered=9", "dead_lettered=1"]);
    assert!(ended.log.contains("cannot digest this"), "{}", ended.log);
    let data = data(&ended.lines);
    assert!(data.iter().all(|data| data["word"] == "yes"));
    let pids: Vec<_> = data
        .iter()
        .map(|data| data["pid"].as_u64().unwrap())
        .collect();
    assert!(pids[..4].iter().all(|pid| *pid == pids[0]), "{pids:?}");
    assert!(
        pids[4..]
            .iter()
            .all(|pid| *pid == pids[4] && *pid != pids[0]),
        "{pids:?}"
    );
}

#[test]
fn exec_children_that_hang_are_ended_and_the_event_is_a_dead_letter() {
    let workspace = Workspace::new();
    let handler = "type: exec, command: [sh, -c, 'echo $$ >> pids; read -r line; exec sleep 1000'], timeout: 1s, \
                   supervision: { attempts: 2, backoff: { min: 1ms, max: 1ms } }";
    let ended = workspace.run(&with_handler(handler), &[event(1, "t", "s")]);
    ended.assert_drained(&["delivered=0", "dead_lettered=1"]);
    let pids = workspace.lines_of("pids");
    assert!((1..=2).contains(&pids.len()), "{pids:?}");
    for pid in pids {
        let is_there = std::path::Path::new("/proc").join(&pid).exists();
        assert!(!is_there, "child {pid} outlived the process");
    }
}

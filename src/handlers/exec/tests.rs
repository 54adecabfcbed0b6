//! Exec handlers with real children.

use std::io::Read;
use std::path::Path;

use veltrix_actors::{AsyncHandler, HandlerError, HandlerFactory, LaneHandler, Trial};

use super::{ExecOptions, prepare};

const EVENT: &str = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{"a":1}}"#;

fn handler(script: &str, timeout: &str) -> Box<dyn AsyncHandler> {
    let options = serde_json::json!({"command": ["sh", "-c", script], "timeout": timeout, "env": {"WORD": "yes"}});
    let options: ExecOptions = serde_json::from_value(options).unwrap();
    match prepare(options, "score").unwrap().build(0).unwrap() {
        LaneHandler::Async(handler) => handler,
        LaneHandler::Sync(_) => panic!("it waits for a child"),
    }
}

async fn ask(handler: &mut dyn AsyncHandler, line: &str) -> Result<Vec<String>, HandlerError> {
    let mut trial = Trial::new("shop", "score");
    let batch = trial.batch(&[line]).unwrap();
    let reply = handler.handle(&batch.event(0)).await?;
    Ok(trial.reply(line, reply)?.lines)
}

fn reason(error: HandlerError) -> String {
    match error {
        HandlerError::Retryable { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

/// Makes a FIFO whose readers see the end once every process that has it open is dead.
fn fifo(dir: &Path) -> String {
    let path = dir.join("alive");
    let made = std::process::Command::new("mkfifo")
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    path.display().to_string()
}

async fn read_to_end(fifo: &str) -> String {
    let fifo = fifo.to_owned();
    let read = move || {
        let mut text = String::new();
        std::fs::File::open(fifo)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    };
    actix_rt::task::spawn_blocking(read).await.unwrap()
}

#[actix::test]
async fn one_child_answers_event_after_event() {
    let script =
        r#"n=0; while read -r line; do n=$((n+1)); echo "{\"n\":$n,\"word\":\"$WORD\"}"; done"#;
    let mut handler = handler(script, "10s");
    for n in 1..4 {
        let lines = ask(&mut *handler, EVENT).await.unwrap();
        assert!(
            lines[0].ends_with(&format!(r#""data":{{"n":{n},"word":"yes"}}}}"#)),
            "{lines:?}"
        );
    }
}

#[actix::test]
async fn events_larger_than_a_pipe_come_back_whole() {
    let large = EVENT.replace("\"a\":1", &format!("\"a\":\"{}\"", "x".repeat(1 << 20)));
    let mut handler = handler("exec cat", "10s");
    assert_eq!(
        ask(&mut *handler, &large).await.unwrap(),
        std::slice::from_ref(&large)
    );
    assert_eq!(ask(&mut *handler, EVENT).await.unwrap(), [EVENT]);
}

#[actix::test]
async fn a_child_that_ends_is_named_and_replaced() {
    let mut handler = handler("read -r line; echo null; read -r line; exit 3", "10s");
    assert!(ask(&mut *handler, EVENT).await.unwrap().is_empty());
    let reason = reason(ask(&mut *handler, EVENT).await.unwrap_err());
    assert!(
        reason.contains("`sh` closed its output (exit status: 3)"),
        "{reason}"
    );
    assert!(ask(&mut *handler, EVENT).await.unwrap().is_empty());
}

#[actix::test]
async fn a_silent_child_and_its_own_children_are_killed_after_the_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let script =
        format!("exec 3>'{fifo}'; sleep 1000 & read -r line; echo started >&3; sleep 1000");
    let mut handler = handler(&script, "2s");
    let (alive, answer) = futures::join!(read_to_end(&fifo), ask(&mut *handler, EVENT));
    assert_eq!(
        answer.unwrap_err(),
        HandlerError::Timeout(std::time::Duration::from_secs(2))
    );
    assert_eq!(alive, "started\n");
}

#[actix::test]
async fn children_die_and_are_reaped_with_the_lane() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = fifo(dir.path());
    let script = format!(
        "exec 3>'{fifo}'; sleep 1000 & while read -r line; do echo \"{{\\\"pid\\\":$$}}\"; done"
    );
    let mut lane = handler(&script, "10s");
    let dying = actix_rt::spawn({
        let fifo = fifo.clone();
        async move { read_to_end(&fifo).await }
    });
    ask(&mut *lane, EVENT).await.unwrap();
    drop(lane);
    assert_eq!(dying.await.unwrap(), "");
}

#[actix::test]
async fn orphans_that_become_our_children_are_reaped_as_well() {
    // As the first process of a container adopts them.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let script = "sleep 1000 & while read -r line; do echo \"{\\\"pid\\\":$!}\"; done";
    let mut lane = handler(script, "10s");
    let answer = ask(&mut *lane, EVENT).await.unwrap();
    let answer: serde_json::Value = serde_json::from_str(&answer[0]).unwrap();
    let grandchild = Path::new("/proc").join(answer["data"]["pid"].to_string());
    assert!(grandchild.exists());
    drop(lane);
    let gone = async {
        while grandchild.exists() {
            tokio::task::yield_now().await;
        }
    };
    let patience = std::time::Duration::from_secs(30);
    tokio::time::timeout(patience, gone).await.unwrap();
}

#[actix::test]
async fn what_is_no_protocol_costs_the_child_and_a_bad_result_does_not() {
    let script = r#"read -r line; echo 1; read -r line; echo oops; read -r line; echo null"#;
    let mut handler = handler(script, "10s");
    let error = ask(&mut *handler, EVENT).await.unwrap_err();
    assert!(matches!(error, HandlerError::Permanent(_)), "{error}");
    assert!(reason(ask(&mut *handler, EVENT).await.unwrap_err()).contains("not JSON"));
    let error = ask(&mut *handler, EVENT).await.unwrap_err();
    assert!(
        matches!(error, HandlerError::Permanent(_)),
        "a fresh child begins anew: {error}"
    );
}

#[actix::test]
async fn an_endless_answer_ends_the_child() {
    let mut handler = handler("exec yes xxxxxxxxxxxxxxxxxxxxxxxxxxx | tr -d '\\n'", "60s");
    let reason = reason(ask(&mut *handler, EVENT).await.unwrap_err());
    assert!(reason.contains("longer than 16777216 bytes"), "{reason}");
}

#[actix::test]
async fn a_program_that_is_not_there_is_named() {
    let options = serde_json::from_str(r#"{"command":["./no-such-program"]}"#).unwrap();
    let LaneHandler::Async(mut handler) = prepare(options, "score").unwrap().build(0).unwrap()
    else {
        panic!("it waits for a child");
    };
    let reason = reason(ask(&mut *handler, EVENT).await.unwrap_err());
    assert!(
        reason.contains("cannot start `./no-such-program`: No such file"),
        "{reason}"
    );
}

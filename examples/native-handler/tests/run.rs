//! The example with its config, as its head tells to run it.

use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn flags_the_large_payment() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/veltrix.yaml");
    let mut child = Command::new(env!("CARGO_BIN_EXE_native-handler"))
        .args(["run", "-c", config])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    for (id, cents) in [(1, 500), (2, 10_001)] {
        let event = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"/shop","type":"order.paid","data":{{"amount_cents":{cents}}}}}"#
        );
        writeln!(stdin, "{event}").expect("it reads its input");
    }
    drop(stdin);
    let output = child.wait_with_output().expect("it was started");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stdout.lines().count(), 1, "{stdout}{log}");
    assert!(stdout.contains(r#""id":"2.fraud.0""#) && stdout.contains("payment.flagged"));
}

//! What becomes of a process whose reader goes, as in `veltrix run | head -2`: a broken pipe never mends.

#[path = "support/workspace.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod workspace;

use std::io::{BufRead, BufReader, Read, Write};

use workspace::{Ended, Workspace, event};

/// More than fits into a pipe.
const EVENTS: usize = 3_000;

const TO_STDOUT: &str = "handlers: { all: { on: '>', type: pass, to: [out] } }\n\
     sinks: { out: { type: stdout } }\n";
const TO_BOTH: &str = "handlers: { all: { on: '>', type: pass, to: [out, kept] } }\n\
     sinks: { out: { type: stdout }, kept: { type: file, path: kept.ndjson } }\n";

fn events() -> Vec<String> {
    (0..EVENTS).map(|id| event(id, "t", "s")).collect()
}

/// Feeds the process, reads two lines of its output, and goes; the process is to end by itself.
fn read_two_lines(
    workspace: &Workspace,
    components: &str,
    drain_timeout: &str,
    input_ends: bool,
) -> Ended {
    let mut command = workspace.command(components);
    command.env("VELTRIX__SERVICE__DRAIN_TIMEOUT", drain_timeout);
    let mut child = command.spawn().expect("the binary starts");
    let mut input = child.stdin.take().expect("it was piped");
    let feeding = std::thread::spawn(move || {
        for line in events() {
            // The process may end before it has read all of them.
            if writeln!(input, "{line}").is_err() {
                break;
            }
        }
        (!input_ends).then_some(input)
    });
    let output = BufReader::new(child.stdout.take().expect("it was piped")).lines();
    let lines = output.take(2).map(|line| line.expect("a line")).collect();
    let mut log = String::new();
    let mut stderr = child.stderr.take().expect("it was piped");
    stderr.read_to_string(&mut log).expect("a log");
    let code = child.wait().expect("it ran").code();
    drop(feeding.join().expect("no panic"));
    Ended { code, lines, log }
}

fn assert_ended_for_the_pipe(ended: &Ended) {
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert_eq!(ended.lines, events()[..2]);
    let named = |line: &&str| line.contains("sink `out`: standard output is a broken pipe");
    let told: Vec<&str> = ended.log.lines().filter(named).collect();
    assert!(
        matches!(told[..], [why, end] if why.contains("draining") && end.contains(" failed ")),
        "{told:?}\n{}",
        ended.log
    );
    assert!(!ended.log.contains("trying again"), "{}", ended.log);
    assert!(ended.log.contains("balanced=true"), "{}", ended.log);
}

/// A count of the closing summaries.
fn count(ended: &Ended, record: &str, name: &str) -> usize {
    let line = ended.log.lines().find(|line| line.contains(record));
    let (_, rest) = line
        .and_then(|line| line.split_once(&format!(" {name}=")))
        .expect("a count");
    let digits = rest.split(|end: char| !end.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .expect("a count")
}

#[test]
fn nothing_is_waited_for_when_nobody_is_left_to_deliver_to() {
    for input_ends in [false, true] {
        let workspace = Workspace::new();
        let ended = read_two_lines(&workspace, TO_STDOUT, "24h", input_ends);
        assert_ended_for_the_pipe(&ended);
    }
}

#[test]
fn what_a_durable_source_has_accepted_is_kept_for_the_next_start() {
    let workspace = Workspace::new();
    let first = read_two_lines(&workspace, TO_STDOUT, "24h", true);
    assert_ended_for_the_pipe(&first);
    let kept = "all of them kept for the next start";
    assert!(first.log.contains(kept), "{}", first.log);
    let accepted = count(&first, "source summary", "accepted");
    let delivered = count(&first, "sink summary", "delivered");
    let second = workspace.run(TO_STDOUT, &[]);
    assert_eq!(second.code, Some(0), "{}", second.log);
    let left = &events()[delivered..accepted];
    assert!(!left.is_empty());
    // What was delivered and not yet known to be finished may come again, and what was not yet told as accepted comes, too.
    let first_left = second.lines.iter().position(|line| *line == left[0]);
    assert_eq!(second.lines[first_left.unwrap()..][..left.len()], *left);
}

#[test]
fn other_sinks_get_all_that_was_accepted() {
    let workspace = Workspace::new();
    let ended = read_two_lines(&workspace, TO_BOTH, "5s", true);
    assert_ended_for_the_pipe(&ended);
    let accepted = count(&ended, "source summary", "accepted");
    assert_eq!(workspace.lines_of("kept.ndjson"), events()[..accepted]);
}

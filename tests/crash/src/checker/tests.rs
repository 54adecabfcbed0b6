//! The tester is tested: doctored logs, each of which must be found out, beside one that is as it should be.

use super::*;
use crate::arrivals::{Arrival, Shape};
use crate::workload::Workload;

const SHAPE: Shape = Shape {
    id_end: "",
    event_type: None,
};
const CLIENTS: u16 = 4;
const EVENTS: u32 = 200;

/// What clients noted and the lines that a good sink has, in two processes: some events are unknown, some of those came.
struct Story {
    workload: Workload,
    notes: Vec<Vec<Note>>,
    /// Lines with their epoch.
    lines: Vec<(String, u16)>,
}

impl Story {
    fn good() -> Self {
        let workload = Workload::new(5, CLIENTS, 20, 100);
        let mut notes = vec![Vec::new(); usize::from(CLIENTS)];
        let mut lines = Vec::new();
        for number in 0..EVENTS {
            for client in 0..CLIENTS {
                let is_acked = number % 10 != 3;
                notes[usize::from(client)].push(Note {
                    key: workload.key(client, number),
                    sent: 1,
                    epoch: 0,
                    is_acked,
                    is_loose: false,
                });
                if is_acked || client % 2 == 0 {
                    let epoch = u16::from(number >= EVENTS / 2);
                    lines.push((workload.event(client, number), epoch));
                }
            }
        }
        Self {
            workload,
            notes,
            lines,
        }
    }

    fn at(&self, client: u16, number: u32) -> usize {
        let event = self.workload.event(client, number);
        let found = self.lines.iter().position(|(line, _)| *line == event);
        found.expect("an event that came")
    }

    /// Two events of one key that were both acknowledged.
    fn pair(&self) -> (u32, u32) {
        let key = self.notes[1][0].key;
        let later = (1..EVENTS).find(|n| {
            let note = self.notes[1][*n as usize];
            note.key == key && note.is_acked
        });
        (0, later.expect("few keys"))
    }

    fn judge(&self, duplicates: u64) -> Finding {
        let mut arrivals = Arrivals::default();
        for (line, epoch) in &self.lines {
            arrivals.take(line.as_bytes(), *epoch, &self.workload, SHAPE);
        }
        let allowed = Allowed {
            duplicates: Some(BTreeMap::from([(1, duplicates)])),
        };
        check(&self.notes, &arrivals, |_| true, &allowed)
    }

    #[track_caller]
    fn found(&self, what: &str) {
        let finding = self.judge(3);
        let [violation] = &finding.violations[..] else {
            panic!("{:#?}", finding.violations);
        };
        assert!(violation.contains(what), "`{what}` is not in `{violation}`");
    }
}

#[test]
fn a_good_log_passes() {
    let finding = Story::good().judge(0);
    assert_eq!(finding.violations, Vec::<String>::new());
    assert_eq!((finding.acked, finding.unknown), (720, 80));
    assert_eq!((finding.unknown_arrived, finding.arrived), (40, 760));
    assert!(finding.duplicates.is_empty());
}

#[test]
fn a_lost_ack_is_found() {
    let mut story = Story::good();
    let at = story.at(2, 77);
    story.lines.remove(at);
    story.found("1 acknowledged events lost: c2-77 (process 0)");
}

#[test]
fn an_unanswered_event_may_be_lost() {
    let mut story = Story::good();
    let at = story.at(2, 73);
    story.lines.remove(at);
    assert_eq!(story.judge(0).violations, Vec::<String>::new());
}

#[test]
fn a_swapped_order_is_found() {
    let mut story = Story::good();
    let (earlier, later) = story.pair();
    let (one, other) = (story.at(1, earlier), story.at(1, later));
    story.lines.swap(one, other);
    let finding = story.judge(0);
    let text = finding.violations.join("\n");
    assert!(text.contains("out of order within their key"), "{text}");
    assert!(text.contains(&format!("after c1-{later}")), "{text}");
}

#[test]
fn what_was_given_up_in_a_living_process_has_no_place_in_the_order() {
    let mut story = Story::good();
    let (earlier, later) = story.pair();
    let (from, to) = (story.at(1, earlier), story.at(1, later));
    let moved = story.lines.remove(from);
    story.lines.insert(to, moved);
    story.notes[1][earlier as usize].is_acked = false;
    assert_eq!(story.judge(0).violations.len(), 1);
    story.notes[1][earlier as usize].is_loose = true;
    assert_eq!(story.judge(0).violations, Vec::<String>::new());
}

#[test]
fn repeats_may_be_out_of_turn_but_a_new_event_may_not() {
    let mut story = Story::good();
    let (earlier, later) = story.pair();
    let again = story.lines[story.at(1, earlier)].0.clone();
    let at = story.at(1, later) + 1;
    story.lines.insert(at, (again, 1));
    let finding = story.judge(1);
    assert_eq!(finding.violations, Vec::<String>::new());
    assert_eq!(finding.repeats_out_of_turn, 1);
}

#[test]
fn a_changed_payload_is_found() {
    let mut story = Story::good();
    let number = (0..EVENTS).find(|n| n % 10 != 3 && story.workload.payload(3, *n).len() > 20);
    let at = story.at(3, number.expect("one with a payload"));
    let line = &mut story.lines[at].0;
    let place = line.len() - 10;
    let other = if &line[place..=place] == "A" {
        "B"
    } else {
        "A"
    };
    line.replace_range(place..=place, other);
    let finding = story.judge(3);
    let text = finding.violations.join("\n");
    assert!(text.contains("1 broken events"), "{text}");
    assert!(
        text.contains("its payload is not the one with hash"),
        "{text}"
    );
    assert!(text.contains("acknowledged events lost"), "{text}");
}

#[test]
fn anothers_id_or_subject_is_found() {
    for (from, to) in [
        ("\"id\":\"c2-77\"", "\"id\":\"c2-78\""),
        ("\"subject\":\"k", "\"subject\":\"k9"),
    ] {
        let mut story = Story::good();
        let at = story.at(2, 77);
        story.lines[at].0 = story.lines[at].0.replace(from, to);
        let text = story.judge(3).violations.join("\n");
        assert!(text.contains("another event's"), "{text}");
    }
}

#[test]
fn a_torn_line_is_found() {
    let story = Story::good();
    let lines: Vec<&str> = story.lines.iter().map(|(line, _)| line.as_str()).collect();
    let whole = lines.join("\n");
    let mut arrivals = Arrivals::default();
    let torn = &whole.as_bytes()[..whole.len() - 5];
    arrivals.take_file(torn, &[], &story.workload, SHAPE);
    assert_eq!((arrivals.whole.len(), arrivals.broken), (759, 1));
    assert!(arrivals.shown[0].contains("EOF"), "{:?}", arrivals.shown);
}

#[test]
fn an_event_that_was_never_sent_is_found() {
    let mut story = Story::good();
    let line = story.workload.event(0, EVENTS);
    story.lines.push((line, 1));
    story.found("1 that were not sent there: c0-200");
}

#[test]
fn an_event_at_the_wrong_sink_is_found() {
    let story = Story::good();
    let mut arrivals = Arrivals::default();
    for (line, epoch) in &story.lines {
        arrivals.take(line.as_bytes(), *epoch, &story.workload, SHAPE);
    }
    let finding = check(
        &story.notes,
        &arrivals,
        |key| key % 2 == 0,
        &Allowed::default(),
    );
    let [violation] = &finding.violations[..] else {
        panic!("{:#?}", finding.violations);
    };
    assert!(violation.contains("not sent there"), "{violation}");
}

#[test]
fn too_many_duplicates_are_found() {
    let mut story = Story::good();
    for number in [110, 111, 112] {
        let again = story.lines[story.at(0, number)].clone();
        story.lines.push(again);
    }
    assert_eq!(story.judge(3).violations, Vec::<String>::new());
    let finding = story.judge(2);
    assert_eq!(
        finding.violations,
        ["process 1 delivered 3 events again, at most 2 are allowed"]
    );
    // One that was sent twice may come twice.
    story.notes[0][110].sent = 2;
    assert_eq!(story.judge(2).violations, Vec::<String>::new());
}

#[test]
fn what_a_crash_allows_may_come_later_but_never_earlier() {
    let mut story = Story::good();
    let again = story.lines[story.at(0, 110)].0.clone();
    story.lines.push((again.clone(), 2));
    assert_eq!(story.judge(1).violations, Vec::<String>::new());
    story.lines.push((again, 3));
    let found = story.judge(1).violations;
    assert_eq!(
        found,
        ["process 3 delivered 1 events again, at most 0 are allowed"]
    );
}

#[test]
fn a_duplicate_before_any_crash_is_found() {
    let mut story = Story::good();
    let again = story.lines[0].clone();
    story.lines.insert(1, again);
    story.found("process 0 delivered 1 events again, at most 0");
}

#[test]
fn a_file_tells_its_processes_by_their_ends() {
    let story = Story::good();
    let mut text = String::new();
    let mut end = 0;
    for (line, epoch) in &story.lines {
        text.push_str(line);
        text.push('\n');
        if *epoch == 0 {
            end = text.len() as u64;
        }
    }
    let mut arrivals = Arrivals::default();
    arrivals.take_file(text.as_bytes(), &[end], &story.workload, SHAPE);
    let epochs: Vec<u16> = arrivals.whole.iter().map(|arrival| arrival.epoch).collect();
    let expected: Vec<u16> = story.lines.iter().map(|(_, epoch)| *epoch).collect();
    assert_eq!(epochs, expected);
    let first = Arrival {
        client: 0,
        number: 0,
        epoch: 0,
    };
    assert_eq!(arrivals.whole[0], first);
}

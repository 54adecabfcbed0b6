//! The store on a real disk: what comes back, what is found, what goes, and how its room comes back.

use std::collections::BTreeMap;
use std::time::SystemTime;

use proptest::prelude::*;
use veltrix_actors::{Attempt, Attempts, Failure, FailureClass, TypePattern};

use super::*;

const BYTES_MAX: u64 = 1 << 20;

fn letter(id: usize, filler: usize) -> DeadLetter {
    let filler = "x".repeat(filler);
    let line = format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/s","type":"t.{}","data":"{filler}"}}"#,
        id % 3
    );
    let class = FailureClass::ALL[id % 2];
    let attempts = Attempts::restored(9, vec![Attempt::failed(class, "bad\n\"luck\"")]);
    let branch = format!("handler.{}", id % 5).into();
    let at = SystemTime::UNIX_EPOCH + Duration::from_millis(id as u64);
    DeadLetter::restored(
        (0, at),
        Failure::after(&branch, attempts),
        "v".into(),
        &line,
        &mut detached_types(),
    )
    .unwrap()
}

fn opened(folder: &Path, bytes_max: u64) -> DiskDeadLetters {
    let mut store = DiskDeadLetters::open(folder, bytes_max).unwrap();
    while store.prepare().unwrap() {}
    store
}

/// What is kept, by number: the id.
fn kept(store: &mut DiskDeadLetters) -> BTreeMap<u64, String> {
    let sequences = store.select(&DeadLetterFilter::default()).unwrap();
    let read = |sequence: u64| {
        let letter = store.get(sequence).unwrap().unwrap();
        assert_eq!(letter.sequence, sequence);
        (sequence, letter.event().id().into_owned())
    };
    sequences.into_iter().map(read).collect()
}

fn append(store: &mut DiskDeadLetters, ids: Range<usize>, filler: usize) -> Vec<u64> {
    let letters = ids.map(|id| letter(id, filler)).collect();
    let letters = store.append(letters).unwrap();
    store.sync().unwrap();
    letters.iter().map(|letter| letter.sequence).collect()
}

#[test]
fn a_dead_letter_comes_back_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), BYTES_MAX);
    assert_eq!(append(&mut store, 0..3, 10), [1, 2, 3]);
    drop(store);
    let mut store = opened(folder.path(), BYTES_MAX);
    let found = store.get(2).unwrap().unwrap();
    let expected = letter(1, 10);
    let texts = [&*found, &expected].map(|letter| {
        let mut text = String::new();
        letter.write_story(&mut text);
        text.replace("\"sequence\":2,", "\"sequence\":0,")
    });
    assert_eq!(texts[0].find("\"at\""), texts[1].find("\"at\""));
    assert_eq!(found.failure.attempts.count(), 9);
    assert_eq!(found.failure.reason, expected.failure.reason);
    assert_eq!(found.at, expected.at);
    assert_eq!(found.event().line(), expected.event().line());
    // Numbers go on.
    assert_eq!(append(&mut store, 3..4, 10), [4]);
}

#[test]
fn a_few_that_stay_do_not_keep_the_log_of_those_that_went() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), 16 * BYTES_MAX);
    let mut all = append(&mut store, 0..2, 10);
    for round in 1..60 {
        all.extend(append(&mut store, round * 500..(round + 1) * 500, 10));
    }
    let before = store.bytes_used();
    let (stay, go): (Vec<u64>, Vec<u64>) = all.iter().partition(|sequence| *sequence % 5_000 == 1);
    assert_eq!(store.remove(&go).unwrap(), go.len());
    for _ in 0..4 {
        store.tidy().unwrap();
    }
    let after = store.bytes_used();
    assert!(after * 4 < before, "{before} before, {after} after");
    let expected = kept(&mut store);
    assert_eq!(expected.keys().copied().collect::<Vec<_>>(), stay);
    drop(store);
    assert_eq!(kept(&mut opened(folder.path(), BYTES_MAX)), expected);
}

#[test]
fn large_ones_are_moved_a_few_at_a_time() {
    const LARGE: usize = 300_000;
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), 256 * BYTES_MAX);
    for id in 0..40 {
        append(&mut store, id..id + 1, LARGE);
    }
    // Places of small ones that went: wasteful enough to move the large ones.
    for round in 1..21 {
        let small = append(&mut store, round * 500..(round + 1) * 500, 10);
        store.remove(&small).unwrap();
    }
    let expected = kept(&mut store);
    assert_eq!(expected.len(), 40);
    let before = store.bytes_used();
    store.tidy().unwrap();
    let moved = store.bytes_used() - before;
    let least = room::MOVED_BYTES_MAX as u64;
    let range = least..least + 2 * LARGE as u64;
    assert!(range.contains(&moved), "{moved} bytes are moved");
    for _ in 0..4 {
        store.tidy().unwrap();
    }
    assert!(store.bytes_used() < before + least);
    assert_eq!(kept(&mut store), expected);
}

#[test]
fn a_page_of_many_is_read_in_parts_and_has_the_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), BYTES_MAX);
    let all = append(&mut store, 0..130, 10);
    for limit in [1, 63, 64, 65, 128, 129, 130, 131] {
        let query = DeadLetterQuery {
            limit,
            ..DeadLetterQuery::default()
        };
        let page = store.page(&query).unwrap();
        let shown: Vec<u64> = page.letters.iter().map(|letter| letter.sequence).collect();
        let newest: Vec<u64> = all.iter().rev().take(limit).copied().collect();
        assert_eq!((shown, page.has_more), (newest, limit < 130), "{limit}");
    }
}

#[test]
fn a_full_store_takes_nothing_until_some_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), BYTES_MAX);
    let mut taken = Vec::new();
    let mut refused = None;
    for id in 0..2_000 {
        match store.append(vec![letter(id, 1_000)]) {
            Ok(letters) => taken.push(letters[0].sequence),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
        store.sync().unwrap();
    }
    assert!(
        matches!(refused, Some(JournalRefusal::Full(_))),
        "{refused:?}"
    );
    assert!((600..1_000).contains(&taken.len()), "{}", taken.len());
    // Every second one, so that no segment goes by itself.
    let half: Vec<u64> = taken.iter().copied().step_by(2).collect();
    store.remove(&half).unwrap();
    for _ in 0..20 {
        store.tidy().unwrap();
    }
    append(&mut store, 5_000..5_100, 1_000);
    let count = taken.len() - half.len() + 100;
    assert_eq!(store.kept(), count);
    drop(store);
    assert_eq!(kept(&mut opened(folder.path(), BYTES_MAX)).len(), count);
}

#[test]
fn pages_and_filters_find_what_a_look_at_each_would() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = opened(folder.path(), BYTES_MAX);
    for round in 0..6 {
        append(&mut store, round * 50..(round + 1) * 50, 10);
    }
    let types = || Some(TypePattern::parse("t.1").unwrap());
    let at = |ms| Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms));
    let all = DeadLetterFilter::default;
    for filter in [
        all(),
        DeadLetterFilter {
            types: types(),
            ..all()
        },
        DeadLetterFilter {
            branch: Some("handler.3".to_owned()),
            ..all()
        },
        DeadLetterFilter {
            class: Some(FailureClass::ALL[1]),
            types: types(),
            ..all()
        },
        DeadLetterFilter {
            from: at(20),
            until: at(171),
            ..all()
        },
        DeadLetterFilter {
            id: Some("77".to_owned()),
            ..all()
        },
        DeadLetterFilter {
            last: Some(33),
            ..all()
        },
    ] {
        let is_wanted = |sequence: &u64| {
            let id = *sequence as usize - 1;
            let mut letter = letter(id, 10);
            letter.sequence = *sequence;
            filter.matches(&letter)
        };
        let expected: Vec<u64> = (1..=300).filter(is_wanted).collect();
        assert!(!expected.is_empty());
        assert_eq!(store.select(&filter).unwrap(), expected, "{filter:?}");
        let mut query = DeadLetterQuery {
            filter: filter.clone(),
            before: None,
            limit: 7,
        };
        let mut found = Vec::new();
        loop {
            let page = store.page(&query).unwrap();
            found.extend(page.letters.iter().map(|letter| letter.sequence));
            query.before = found.last().copied();
            if !page.has_more {
                break;
            }
        }
        found.reverse();
        assert_eq!(found, expected, "{filter:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Remove(u64, u64),
    Tidy,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..60usize).prop_map(Step::Append),
        4 => (0..1_000u64, 1..7u64).prop_map(|(from, step)| Step::Remove(from, step)),
        3 => Just(Step::Tidy),
        2 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn it_keeps_what_was_appended_and_not_removed_whatever_happens_in_between(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = opened(folder.path(), 4 * BYTES_MAX);
        let mut model = BTreeMap::new();
        let mut id = 0;
        for step in steps {
            match step {
                Step::Append(count) => {
                    let sequences = append(&mut store, id..id + count, 200);
                    for sequence in sequences {
                        prop_assert!(model.keys().all(|known| *known < sequence));
                        model.insert(sequence, id.to_string());
                        id += 1;
                    }
                }
                Step::Remove(from, step) => {
                    let wanted = |sequence: &u64| *sequence >= from && sequence.is_multiple_of(step);
                    let gone: Vec<u64> = model.keys().copied().filter(wanted).collect();
                    prop_assert_eq!(store.remove(&gone).unwrap(), gone.len());
                    model.retain(|sequence, _| !gone.contains(sequence));
                }
                Step::Tidy => {
                    // So that it moves what stays.
                    store.note_full();
                    store.tidy().unwrap();
                }
                Step::Reopen => {
                    drop(store);
                    store = opened(folder.path(), 4 * BYTES_MAX);
                }
            }
            prop_assert_eq!(&kept(&mut store), &model);
        }
    }
}

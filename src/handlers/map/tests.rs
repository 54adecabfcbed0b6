//! What a map does to an event, byte for byte, and against a model that edits a tree.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::plan::MapError;
use super::view::RawLine;
use super::*;
use crate::expression::EventView;

fn options(config: Value) -> MapOptions {
    serde_json::from_value(config).expect("valid options")
}

fn plan(config: Value) -> MapPlan {
    MapPlan::compile(&options(config), None).expect("compiles")
}

fn run(plan: &MapPlan, line: &str) -> Result<(Applied, String), MapError> {
    let mut out = b"before".to_vec();
    let view = RawLine::new(line).expect("valid JSON");
    let result = plan.apply(&view, &mut MapScratch::default(), &mut out);
    let written = String::from_utf8(out)
        .expect("UTF-8")
        .strip_prefix("before")
        .expect("only appended")
        .to_owned();
    if result.is_err() {
        assert_eq!(written, "", "an error leaves the buffer as it was");
    }
    result.map(|applied| (applied, written))
}

#[track_caller]
fn gives(config: Value, line: &str, expected: &str) {
    match run(&plan(config.clone()), line) {
        Ok((Applied::Written, written)) => assert_eq!(written, expected, "{config}"),
        other => panic!("{config}: {other:?}"),
    }
}

#[track_caller]
fn on_data(config: Value, data: &str, expected: &str) {
    gives(
        config,
        &format!(r#"{{"id":"1" , "data": {data} ,"z":1}}"#),
        &format!(r#"{{"id":"1" , "data": {expected} ,"z":1}}"#),
    );
}

#[track_caller]
fn fails(config: Value, line: &str, part: &str) {
    match run(&plan(config.clone()), line) {
        Err(error) => assert!(error.to_string().contains(part), "{config}: {error}"),
        other => panic!("{config}: {other:?}"),
    }
}

#[track_caller]
fn refused(config: Value, expected: &[(&str, &str)]) {
    let found = MapPlan::compile(&options(config.clone()), None).expect_err("has problems");
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for ((key, message), (expected_key, part)) in found.iter().zip(expected) {
        assert_eq!(key, expected_key);
        assert!(message.contains(part), "{config}: {message}");
    }
}

#[test]
fn set_replaces_appends_and_creates_parents() {
    on_data(
        json!({"set": {"data.b": "data.a + 1"}}),
        r#"{"a":1,"b":7}"#,
        r#"{"a":1,"b":2}"#,
    );
    on_data(
        json!({"set": {"data.b": "data.a * 2.5"}}),
        r#"{ "a" : 1 }"#,
        r#"{ "a" : 1,"b":2.5 }"#,
    );
    on_data(json!({"set": {"data.b": "'x'"}}), "{}", r#"{"b":"x"}"#);
    on_data(json!({"set": {"data.b": "'x'"}}), "{ }", r#"{"b":"x" }"#);
    on_data(
        json!({"set": {"data.p.q.r": "1", "data.p.s": "2"}}),
        r#"{"a":1}"#,
        r#"{"a":1,"p":{"q":{"r":1},"s":2}}"#,
    );
    on_data(
        json!({"set": {"data.p.q": "1"}}),
        r#"{"p":{"x": [1, 2]},"a":1}"#,
        r#"{"p":{"x": [1, 2],"q":1},"a":1}"#,
    );
    on_data(
        json!({"set": {"data['a \"b']": "data.a"}}),
        r#"{"a":1.10}"#,
        r#"{"a":1.10,"a \"b":1.10}"#,
    );
    on_data(
        json!({"set": {"data": "{'was': data.a}"}}),
        r#"{"a":1}"#,
        r#"{"was":1}"#,
    );
    on_data(
        json!({"set": {"data.a": "data.b", "data.b": "data.a"}}),
        r#"{"a":1,"b":2}"#,
        r#"{"a":2,"b":1}"#,
    );
}

#[test]
fn set_over_duplicate_keys_replaces_the_last_and_leaves_one() {
    on_data(
        json!({"set": {"data.a": "9"}}),
        r#"{"a":1, "b":2, "a":3, "c":4}"#,
        r#"{"b":2, "a":9, "c":4}"#,
    );
    on_data(
        json!({"set": {"data.a": "9"}}),
        r#"{"b":2, "\u0061":1, "a":3}"#,
        r#"{"b":2, "a":9}"#,
    );
    on_data(
        json!({"set": {"data.p.a": "9"}}),
        r#"{"p":{"a":1},"p":{"b":2}}"#,
        r#"{"p":{"a":1},"p":{"b":2,"a":9}}"#,
    );
}

#[test]
fn remove_takes_every_duplicate_and_one_comma() {
    let remove = |paths: &[&str]| json!({"remove": paths});
    on_data(remove(&["data.a"]), r#"{"a":1,"b":2}"#, r#"{"b":2}"#);
    on_data(
        remove(&["data.a"]),
        r#"{ "a" : 1 , "b" : 2 }"#,
        r#"{ "b" : 2 }"#,
    );
    on_data(remove(&["data.b"]), r#"{"a":1, "b":2}"#, r#"{"a":1}"#);
    on_data(
        remove(&["data.b"]),
        r#"{"a":1, "b":2 , "c":3}"#,
        r#"{"a":1 , "c":3}"#,
    );
    on_data(remove(&["data.a", "data.b"]), r#"{"a":1, "b":2}"#, "{}");
    on_data(
        remove(&["data.b", "data.a"]),
        r#"{"a":1, "b":2, "c":3}"#,
        r#"{"c":3}"#,
    );
    on_data(
        remove(&["data.b", "data.c"]),
        r#"{"a":1, "b":2, "c":3}"#,
        r#"{"a":1}"#,
    );
    on_data(
        remove(&["data.a"]),
        r#"{"a":1,"b":2,"a":3,"c":4,"a":5}"#,
        r#"{"b":2,"c":4}"#,
    );
    on_data(
        remove(&["data.p.q"]),
        r#"{"p":{"q":1},"a":[ ]}"#,
        r#"{"p":{},"a":[ ]}"#,
    );
    on_data(remove(&["data.x.y", "data.z"]), r#"{"x":1}"#, r#"{"x":1}"#);
    on_data(remove(&["data.x"]), "[1,2]", "[1,2]");
    on_data(
        json!({"set": {"data.n": "1"}, "remove": ["data.a"]}),
        r#"{ "a":1 }"#,
        r#"{ "n":1 }"#,
    );
    on_data(
        json!({"set": {"data.n": "1"}, "remove": ["data.b"]}),
        r#"{"a":1, "b":2}"#,
        r#"{"a":1,"n":1}"#,
    );
}

#[test]
fn rename_moves_the_value_as_it_stands() {
    on_data(
        json!({"rename": {"data.qty": "data.quantity"}}),
        r#"{"qty":1.10,"x":2}"#,
        r#"{"x":2,"quantity":1.10}"#,
    );
    on_data(
        json!({"rename": {"data.qty": "data.quantity"}}),
        r#"{"qty":1,"quantity":5}"#,
        r#"{"quantity":1}"#,
    );
    on_data(
        json!({"rename": {"data.a.b": "data.c.d"}}),
        r#"{"a":{"b":{"x":[]}}}"#,
        r#"{"a":{},"c":{"d":{"x":[]}}}"#,
    );
    let config = json!({"rename": {"data.qty": "data.quantity"}, "set": {"data.total": "data.price * data.quantity"}, "remove": ["data.price"]});
    on_data(
        config.clone(),
        r#"{"qty":3,"price":2}"#,
        r#"{"quantity":3,"total":6}"#,
    );
    on_data(
        config,
        r#"{"quantity":3,"price":2}"#,
        r#"{"quantity":3,"total":6}"#,
    );
    on_data(
        json!({"rename": {"data.w.a": "data.a"}, "remove": ["data.w"]}),
        r#"{"w":{"a":1,"b":2}}"#,
        r#"{"a":1}"#,
    );
    on_data(
        json!({"rename": {"data.p": "data.old"}, "set": {"data.p": "data.old * 2"}}),
        r#"{"p":4}"#,
        r#"{"old":4,"p":8}"#,
    );
    on_data(
        json!({"rename": {"data.p": "data.q"}, "set": {"data.q.x": "1"}}),
        r#"{"p":{"y":2}}"#,
        r#"{"q":{"y":2,"x":1}}"#,
    );
    assert_eq!(
        run(
            &plan(json!({"rename": {"data.x": "data.y"}})),
            r#"{"data":{"y":1}}"#
        )
        .expect("nothing to do")
        .0,
        Applied::Unchanged
    );
}

#[test]
fn attributes_are_edited_like_members() {
    let line = r#"{"id":"1","subject":"s","tier":"gold","data":{"n":5,"who":"me"}}"#;
    gives(
        json!({"set": {"subject": "data.who + '!'", "count": "data.n", "data.m": "1"}, "remove": ["tier"]}),
        line,
        r#"{"id":"1","subject":"me!","data":{"n":5,"who":"me","m":1},"count":5}"#,
    );
    gives(
        json!({"rename": {"data.who": "customer", "subject": "data.subject"}}),
        line,
        r#"{"id":"1","tier":"gold","data":{"n":5,"subject":"s"},"customer":"me"}"#,
    );
    gives(
        json!({"rename": {"tier": "level"}, "set": {"data.l": "level"}}),
        line,
        r#"{"id":"1","subject":"s","data":{"n":5,"who":"me","l":"gold"},"level":"gold"}"#,
    );
    gives(
        json!({"set": {"time": "timestamp('2026-01-02T03:04:05Z')"}}),
        line,
        r#"{"id":"1","subject":"s","tier":"gold","data":{"n":5,"who":"me"},"time":"2026-01-02T03:04:05Z"}"#,
    );
    fails(
        json!({"set": {"subject": "data.n"}}),
        line,
        "set.subject: the attribute 'subject' cannot be a number",
    );
    fails(json!({"set": {"subject": "''"}}), line, "an empty string");
    fails(json!({"set": {"count": "2147483648"}}), line, "32 bits");
    fails(json!({"set": {"count": "1.5"}}), line, "32 bits");
    fails(json!({"set": {"count": "[1]"}}), line, "cannot be a list");
    fails(json!({"set": {"time": "'soon'"}}), line, "RFC 3339");
    fails(
        json!({"rename": {"data.n": "subject"}}),
        line,
        "rename.data.n: the attribute 'subject' cannot be a number",
    );
}

#[test]
fn data_that_is_no_object_is_an_error_or_left_alone() {
    fails(
        json!({"set": {"data.a": "1"}}),
        r#"{"data":"text"}"#,
        "there is no place for 'data.a': its parent is a string",
    );
    fails(
        json!({"set": {"data.a.b": "1"}}),
        r#"{"data":{"a":[1]}}"#,
        "its parent is a list",
    );
    fails(
        json!({"set": {"data.a": "1"}}),
        r#"{"data_base64":"AA=="}"#,
        "binary",
    );
    fails(
        json!({"rename": {"tier": "data.tier"}}),
        r#"{"tier":"gold","data_base64":"AA=="}"#,
        "binary",
    );
    gives(
        json!({"set": {"data.a": "1"}}),
        r#"{"id":"1"}"#,
        r#"{"id":"1","data":{"a":1}}"#,
    );
    gives(
        json!({"set": {"data.a": "1"}}),
        r#"{"id":"1","data":{}}"#,
        r#"{"id":"1","data":{"a":1}}"#,
    );
    assert_eq!(
        run(
            &plan(json!({"remove": ["data.a"]})),
            r#"{"data_base64":"AA=="}"#
        )
        .expect("left alone")
        .0,
        Applied::Written
    );
}

#[test]
fn when_is_judged_over_the_renamed_event() {
    let config =
        options(json!({"rename": {"data.qty": "data.quantity"}, "set": {"data.seen": "true"}}));
    let judge = |when: &str, line: &str| {
        run(
            &MapPlan::compile(&config, Some(when)).expect("compiles"),
            line,
        )
        .map(|(applied, _)| applied)
    };
    let line = r#"{"type":"t","data":{"qty":3}}"#;
    assert_eq!(judge("data.quantity > 2", line), Ok(Applied::Written));
    assert_eq!(judge("data.quantity > 3", line), Ok(Applied::Refused));
    assert_eq!(judge("type == 'u'", line), Ok(Applied::Refused));
    assert_eq!(
        judge("data.absent > 3", line),
        Ok(Applied::Missing("data.absent".into()))
    );
    assert!(judge("data.quantity", line).is_err_and(|error| {
        error
            .to_string()
            .starts_with("when: a condition needs a bool")
    }));
    fails(
        json!({"set": {"data.b": "data.absent + 1"}}),
        line,
        "set.data.b: the event has no 'data.absent'",
    );
}

#[test]
fn without_edits_the_original_is_the_result() {
    let only_when =
        MapPlan::compile(&MapOptions::default(), Some("subject == 's'")).expect("compiles");
    // Data that is not JSON shows that it is not looked at.
    let event = Unparsed {
        line: r#"{"subject":"s","data":?"#,
        attribute: "\"s\"",
    };
    let mut out = Vec::new();
    assert_eq!(
        only_when.apply(&event, &mut MapScratch::default(), &mut out),
        Ok(Applied::Unchanged)
    );
    assert!(out.is_empty());
}

struct Unparsed {
    line: &'static str,
    attribute: &'static str,
}

impl EventView<'static> for Unparsed {
    fn line(&self) -> &'static str {
        self.line
    }

    fn data_span(&self) -> Option<std::ops::Range<usize>> {
        Some(self.line.len() - 1..self.line.len())
    }

    fn attribute(&self, _: &str) -> Option<&'static str> {
        Some(self.attribute)
    }
}

#[test]
fn a_derived_result_gets_the_data_and_the_attribute_edits() {
    let derive = |config: Value, line: &str| {
        let mut attributes = Vec::new();
        let mut out = Vec::new();
        let view = RawLine::new(line).expect("valid");
        let applied = plan(config).apply_data(
            &view,
            &mut MapScratch::default(),
            |name, value| attributes.push((name.to_owned(), value.map(str::to_owned))),
            &mut out,
        );
        (
            applied.expect("applies"),
            String::from_utf8(out).expect("UTF-8"),
            attributes,
        )
    };
    let line = r#"{"id":"1","subject":"s","data": {"a":1} }"#;
    let (applied, data, attributes) = derive(
        json!({"rename": {"data.a": "data.b"}, "set": {"data.c": "data.b + 1", "subject": "'t'"}, "remove": ["tier"], "emit": "x.y"}),
        line,
    );
    assert_eq!(
        (applied, data.as_str()),
        (Applied::Written, r#"{"b":1,"c":2}"#)
    );
    assert_eq!(
        attributes,
        [
            ("subject".to_owned(), Some("\"t\"".to_owned())),
            ("tier".to_owned(), None)
        ]
    );
    assert_eq!(derive(json!({"emit": "x.y"}), line).0, Applied::Unchanged);
    assert_eq!(
        derive(json!({"set": {"data.a": "1"}}), r#"{"id":"1"}"#).1,
        r#"{"a":1}"#
    );
    let (applied, data, attributes) = derive(
        json!({"rename": {"data.a": "customer"}, "emit": "x.y"}),
        r#"{"data":{"a":"c"}}"#,
    );
    assert_eq!((applied, data.as_str()), (Applied::Written, "{}"));
    assert_eq!(
        attributes,
        [("customer".to_owned(), Some("\"c\"".to_owned()))]
    );
}

#[test]
fn options_that_cannot_work_are_refused_at_their_key() {
    refused(
        json!({"set": {"id": "'x'", "data.a": "1 +", "data.b[0]": "1", "subject.x": "1", "a b": "1", "Subject": "1"}}),
        &[
            ("set.id", "'id' cannot be edited: valid are"),
            ("set.data.a", "of the expression"),
            ("set.data.b[0]", "element of a list"),
            ("set.subject.x", "no members: did you mean data.subject.x"),
            ("set.a b", "is not a path"),
            ("set.Subject", "is not an attribute"),
        ],
    );
    refused(
        json!({"set": {"data.a": "1", "data.a.b": "2"}}),
        &[("set.data.a.b", "overlaps 'data.a'")],
    );
    refused(
        json!({"set": {"data.a.b": "2"}, "remove": ["data.a", "data"]}),
        &[("remove[0]", "overlaps"), ("remove[1]", "as a whole")],
    );
    refused(
        json!({"rename": {"data.a": "data.a.b"}}),
        &[("rename.data.a", "overlaps")],
    );
    refused(
        json!({"rename": {"data.a": "data.b", "data.b": "data.c"}}),
        &[("rename.data.b", "overlaps")],
    );
    refused(
        json!({"rename": {"data.a": "data.b"}, "set": {"data.a.x": "1"}}),
        &[("set.data.a.x", "renamed to 'data.b'")],
    );
    refused(
        json!({"rename": {"data.a": "data.b.c"}, "set": {"data.b": "1"}}),
        &[("set.data.b", "just written")],
    );
    refused(
        json!({"rename": {"data.a": "data.b"}, "set": {"data.c": "data.a.x"}}),
        &[("rename.data.a", "read 'data.b'")],
    );
    refused(
        json!({"rename": {"data.a": "type"}}),
        &[("rename.data.a", "'type' cannot be edited")],
    );
    assert!(
        serde_json::from_value::<MapOptions>(json!({"sets": {}}))
            .expect_err("unknown")
            .to_string()
            .contains("unknown field `sets`")
    );
}

#[test]
fn a_scratch_serves_event_after_event() {
    let plan = plan(json!({"rename": {"data.q": "data.r"}, "set": {"data.s": "data.r + 1"}}));
    let mut scratch = MapScratch::default();
    let mut out = Vec::new();
    for number in 0..100 {
        out.clear();
        let line = format!(r#"{{"data":{{"q":{number}}}}}"#);
        plan.apply(&RawLine::new(&line).expect("valid"), &mut scratch, &mut out)
            .expect("applies");
        assert_eq!(
            String::from_utf8_lossy(&out),
            format!(r#"{{"data":{{"r":{number},"s":{}}}}}"#, number + 1)
        );
    }
}

/// JSON text with free white space, escapes and repeated keys from a small alphabet, so that edits hit.
fn json_text() -> impl Strategy<Value = String> {
    let space = || prop_oneof![5 => Just(""), 1 => Just(" "), 1 => Just("\t ")];
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i32>().prop_map(|value| value.to_string()),
        Just("1.50".to_owned()),
        Just(r#""te}xt,\"{\u00e9""#.to_owned()),
        "[a-c{}\\[\\],: ]{0,6}".prop_map(|text| format!("{text:?}")),
    ];
    scalar.prop_recursive(4, 40, 5, move |inner| {
        let key = prop_oneof![
            4 => Just(r#""a""#), 4 => Just(r#""b""#), 4 => Just(r#""c""#), 1 => Just(r#""\u0061""#), 1 => Just(r#""x\"y""#), 1 => Just(r#""é""#)
        ];
        let member = (space(), key, space(), space(), inner.clone(), space())
            .prop_map(|(before, key, after, gap, value, end)| format!("{before}{key}{after}:{gap}{value}{end}"));
        let element = (space(), inner, space()).prop_map(|(before, value, after)| format!("{before}{value}{after}"));
        prop_oneof![
            4 => (prop::collection::vec(member, 0..6), space()).prop_map(|(members, end)| format!("{{{}{}}}", members.join(","), end)),
            1 => prop::collection::vec(element, 0..4).prop_map(|elements| format!("[{}]", elements.join(","))),
        ]
    })
}

fn path() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("x\"y"), Just("new")],
        1..4,
    )
}

fn spell(path: &[&str]) -> String {
    path.iter().fold("data".to_owned(), |text, key| {
        format!("{text}[{}]", Value::from(*key))
    })
}

fn find<'v>(tree: &'v Value, path: &[&str]) -> Option<&'v Value> {
    path.iter()
        .try_fold(tree, |value, key| value.as_object()?.get(*key))
}

fn remove(tree: &mut Value, path: &[&str]) -> Option<Value> {
    let (last, parents) = path.split_last()?;
    let parent = parents
        .iter()
        .try_fold(tree, |value, key| value.as_object_mut()?.get_mut(*key))?;
    parent.as_object_mut()?.remove(*last)
}

fn put(tree: &mut Value, path: &[&str], value: Value) -> Result<(), ()> {
    let (last, parents) = path.split_last().ok_or(())?;
    let mut parent = tree;
    for key in parents {
        parent = parent
            .as_object_mut()
            .ok_or(())?
            .entry(*key)
            .or_insert_with(|| Value::Object(Map::new()));
    }
    parent
        .as_object_mut()
        .ok_or(())?
        .insert((*last).to_owned(), value);
    Ok(())
}

fn edit_tree(
    mut tree: Value,
    renames: &[(Vec<&'static str>, Vec<&'static str>)],
    sets: &[(Vec<&'static str>, i32)],
    removes: &[Vec<&'static str>],
) -> Result<Value, ()> {
    let moved: Vec<_> = renames
        .iter()
        .map(|(from, to)| (remove(&mut tree, from), to))
        .collect();
    for (value, to) in moved {
        if let Some(value) = value {
            put(&mut tree, to, value)?;
        }
    }
    for (path, value) in sets {
        put(&mut tree, path, Value::from(*value))?;
    }
    for path in removes {
        remove(&mut tree, path);
    }
    Ok(tree)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_splice_equals_the_edit_of_the_tree(
        text in json_text(),
        renames in prop::collection::vec((path(), path()), 0..2),
        sets in prop::collection::vec((path(), any::<i32>()), 0..3),
        removes in prop::collection::vec(path(), 0..3),
    ) {
        let config = MapOptions {
            rename: renames.iter().map(|(from, to)| (spell(from), spell(to))).collect(),
            set: sets.iter().map(|(path, value)| (spell(path), value.to_string())).collect(),
            remove: removes.iter().map(|path| spell(path)).collect(),
            emit: None,
        };
        let Ok(plan) = MapPlan::compile(&config, None) else { return Ok(()) };
        let tree: Value = serde_json::from_str(&text).expect("generated JSON is valid");
        let line = format!(r#"{{"id":"1", "data" :{text} }}"#);
        let expected = edit_tree(tree, &renames, &sets, &removes);
        match run(&plan, &line) {
            Ok((applied, written)) => {
                let written = if applied == Applied::Unchanged { line } else { written };
                let found: Value = serde_json::from_str(&written).expect("the splice is JSON");
                prop_assert_eq!(Ok(&found["data"]), expected.as_ref(), "{}", written);
            }
            Err(error) => prop_assert!(expected.is_err(), "{} on {}", error, line),
        }
    }

    #[test]
    fn untouched_bytes_stay(text in json_text(), path in path()) {
        let line = format!(r#"{{"id":"1", "data" :{text} }}"#);
        let absent = format!("{}.absent.deeper", spell(&path));
        let (_, written) = run(&plan(json!({"remove": [absent]})), &line).expect("nothing to remove");
        prop_assert_eq!(&written, &line);
        let tree: Value = serde_json::from_str(&text).expect("valid");
        if let Some(value) = find(&tree, &path) {
            let same = json!({"set": {spell(&path): spell(&path)}});
            let (_, written) = run(&plan(same), &line).expect("set to itself");
            let found: Value = serde_json::from_str(&written).expect("JSON");
            prop_assert_eq!(find(&found["data"], &path), Some(value));
            if !has_duplicates(&text) {
                prop_assert_eq!(&written, &line);
            }
        }
    }
}

/// More colons outside strings than members in the tree.
fn has_duplicates(text: &str) -> bool {
    fn members(value: &Value) -> usize {
        match value {
            Value::Object(map) => map.len() + map.values().map(members).sum::<usize>(),
            Value::Array(list) => list.iter().map(members).sum(),
            _ => 0,
        }
    }
    let mut quoted = false;
    let mut escaped = false;
    let mut colons = 0;
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b':' if !quoted => colons += 1,
            _ => {}
        }
    }
    colons > members(&serde_json::from_str(text).expect("valid"))
}

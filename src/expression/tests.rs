//! What expressions mean: promotion, missing paths, macros, text, and what is refused when they are compiled.

use super::*;

const EVENT: &str = r#"{"specversion":"1.0","id":"e1","source":"/s","type":"t.a","subject":"sübject","time":"2026-01-02T03:04:05Z","tier":"gold","retries":3,"data":{"price":9.99,"qty":3,"n":-4,"zero":0,"max":9223372036854775807,"big":18446744073709551615,"huge":1e400,"money":1.10,"name":"Zoë \"Q\" \u00e9","ok":true,"none":null,"items":[{"sku":"a","qty":1,"price":2.5},{"sku":"b","qty":2,"price":4}],"tags":["x","y"],"deep":{"er":{"still":"here"}},"a.b":1,"k\"q":2,"\u0041":3,"dup":1,"dup":2,"half":{"x":1},"half":{"y":2}}}"#;

struct Line(&'static str);

impl<'a> EventView<'a> for Line
where
    'static: 'a,
{
    fn line(&self) -> &'a str {
        self.0
    }

    fn data_span(&self) -> Option<std::ops::Range<usize>> {
        let start = self.0.find("\"data\":").map(|at| at + 7)?;
        Some(start..skip_value(self.0.as_bytes(), start).ok()?)
    }

    fn attribute(&self, name: &str) -> Option<&'a str> {
        let key = format!("\"{name}\":");
        let start = self.0.find(&key)? + key.len();
        self.0
            .get(start..skip_value(self.0.as_bytes(), start).ok()?)
    }
}

fn evaluate_over(event: &'static str, text: &str) -> Result<String, EvaluationError> {
    let mut compiler = Compiler::new(Scope::Event);
    let expression = compiler
        .compile(text)
        .unwrap_or_else(|error| panic!("{text}: {error}"));
    let slots = compiler.finish();
    let event = Line(event);
    let mut located = Located::default();
    if let Some(data) = event.data_span() {
        located
            .scan(&slots.trie, Compiler::DATA, event.line(), data.start)
            .expect("valid JSON");
    }
    let bindings = slots.bind(event.line(), Some(&located), |name| event.attribute(name));
    let mut out = b"kept".to_vec();
    expression.write_json(&bindings, &mut out)?;
    Ok(String::from_utf8(out)
        .expect("UTF-8")
        .strip_prefix("kept")
        .expect("appended")
        .to_owned())
}

fn evaluate(text: &str) -> Result<String, EvaluationError> {
    evaluate_over(EVENT, text)
}

#[track_caller]
fn gives(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        assert_eq!(evaluate(text).as_deref(), Ok(*expected), "{text}");
    }
}

#[track_caller]
fn misses(rows: &[(&str, &str)]) {
    for (text, path) in rows {
        assert_eq!(
            evaluate(text),
            Err(EvaluationError::Missing((*path).into())),
            "{text}"
        );
    }
}

#[track_caller]
fn fails(rows: &[(&str, &str)]) {
    for (text, part) in rows {
        match evaluate(text) {
            Err(EvaluationError::Failed(message)) => {
                assert!(message.contains(part), "{text}: {message}")
            }
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[track_caller]
fn refused(rows: &[(&str, &str)]) {
    for (text, part) in rows {
        match Compiler::new(Scope::Event).compile(text) {
            Err(error) => assert!(error.to_string().contains(part), "{text}: {error}"),
            Ok(_) => panic!("{text} compiles"),
        }
    }
}

#[test]
fn int_and_double_promote_and_int_stays_int() {
    gives(&[
        ("data.price * data.qty", "29.97"),
        ("9.99 * 3", "29.97"),
        ("data.qty + 1", "4"),
        ("data.qty * 10.0", "30.0"),
        ("data.qty / 2", "1"),
        ("data.qty / 2.0", "1.5"),
        ("7 % data.qty", "1"),
        ("-data.qty", "-3"),
        ("-data.price", "-9.99"),
        ("data.n - 1.5", "-5.5"),
        ("2 + 3 * 4 - 1", "13"),
        ("data.qty > 2.5", "true"),
        ("data.qty == 3.0", "true"),
        ("data.qty != 3.0", "false"),
        ("3.0 <= data.qty && data.price < 10", "true"),
        ("data.big > data.max", "true"),
        ("data.big - data.max", "9223372036854775808"),
        ("1e21 * 1", "1e+21"),
        ("0.1 + 0.2", "0.30000000000000004"),
        ("double(data.qty)", "3.0"),
        ("int(data.price)", "9"),
    ]);
}

#[test]
fn what_has_no_result_is_an_error() {
    fails(&[
        ("data.max + 1", "overflow in 9223372036854775807 + 1"),
        ("-data.max - 2", "overflow"),
        ("data.big + 1", "overflow"),
        ("data.qty / 0", "division by zero"),
        ("data.qty % data.zero", "division by zero"),
        ("data.price % 2", "two ints"),
        ("data.price / 0", "no JSON form"),
        ("0.0 / 0", "no JSON form"),
        ("data.huge * 1", "no JSON form"),
        ("data.name + 1", "no operator + for string and int"),
        ("data.name * 2", "no operator *"),
        ("data.name < 1", "cannot order string and int"),
        ("!data.qty", "! needs a bool, not int"),
        ("data.qty.matches('1')", "matches needs a string, not int"),
        ("data.qty && true", "&& needs a bool"),
        ("data.qty ? 1 : 2", "needs a bool"),
        ("data.items.map(i, i.sku * 2)", "no operator *"),
        ("int('x')", "int"),
    ]);
}

#[test]
fn a_path_alone_is_copied_as_it_stands() {
    gives(&[
        ("data.money", "1.10"),
        ("data.huge", "1e400"),
        ("data.name", r#""Zoë \"Q\" \u00e9""#),
        ("data.tags", r#"["x","y"]"#),
        ("data.none", "null"),
        ("subject", r#""sübject""#),
        ("retries", "3"),
    ]);
}

#[test]
fn paths_reach_members_elements_and_odd_keys() {
    gives(&[
        ("data.deep.er.still + '!'", r#""here!""#),
        ("data['deep'].er['still']", r#""here""#),
        ("data.items[1].sku", r#""b""#),
        ("data.items[0]['qty'] + 1", "2"),
        ("data['a.b'] + 0", "1"),
        ("data['k\\\"q'] + 0", "2"),
        ("data.A + 0", "3"),
        ("data.`a.b` + 0", "1"),
        ("data.dup", "2"),
        ("data.half.y", "2"),
        ("data.items[data.qty - 2].sku", r#""b""#),
        ("size(data.items)", "2"),
        ("data.qty in [1, 2, 3]", "true"),
        ("'deep' in data", "true"),
    ]);
    misses(&[("data.half.x", "data.half.x")]);
}

#[test]
fn what_is_absent_is_missing_and_has_tells() {
    misses(&[
        ("data.absent > 0", "data.absent"),
        ("data.price.unit == 'EUR'", "data.price.unit"),
        ("data.none.x", "data.none.x"),
        ("data.items[7].sku", "data.items[7].sku"),
        ("data['x y'].z + 1", "data[\"x y\"].z"),
        ("missingextension == 'x'", "missingextension"),
        ("size(data.absent)", "data.absent"),
        ("data.absent.startsWith('x')", "data.absent"),
        ("data.items.exists(i, i.colour == 'red')", "colour"),
        ("data.absent || false", "data.absent"),
        ("data.absent && true", "data.absent"),
        ("{'a': data.absent}", "data.absent"),
    ]);
    gives(&[
        ("has(data.price)", "true"),
        ("has(data.none)", "true"),
        ("has(data.absent)", "false"),
        ("has(data.absent.deeper)", "false"),
        ("has(data.items[0].sku)", "true"),
        ("has(data.absent) ? data.absent : 'default'", r#""default""#),
        ("has(data.qty) && data.qty > 2", "true"),
        ("data.absent > 1 || data.qty > 2", "true"),
        ("data.absent > 1 && data.qty > 5", "false"),
        ("data.items.filter(i, has(i.colour))", "[]"),
        (
            "data.items.exists(i, has(data.absent) || i.qty == 2)",
            "true",
        ),
    ]);
}

#[test]
fn macros_and_functions_work_with_arithmetic_inside() {
    gives(&[
        ("data.items.exists(i, i.qty > 1)", "true"),
        ("data.items.all(i, i.qty * i.price < 9)", "true"),
        ("data.items.map(i, i.qty * i.price)", "[2.5,8]"),
        ("data.items.map(i, i.price + 1)", "[3.5,5]"),
        (
            "data.items.filter(i, i.price > data.qty).map(i, i.sku)",
            r#"["b"]"#,
        ),
        ("data.items.exists_one(i, i.price >= 4)", "true"),
        ("data.items.map(data, data.qty)", "[1,2]"),
        ("data.tags.map(t, t + '-' + type)", r#"["x-t.a","y-t.a"]"#),
        (
            "data.tags.map(t, data.tags.map(u, t + u))",
            r#"[["xx","xy"],["yx","yy"]]"#,
        ),
        ("data.tags + ['z']", r#"["x","y","z"]"#),
        ("data.tags == ['x', 'y']", "true"),
        (
            "data.name.startsWith('Zo') && data.name.size() == 9",
            "true",
        ),
        ("data.name.upperAscii().contains('Q')", "true"),
        ("data.tags.join('/')", r#""x/y""#),
        ("'a,b'.split(',')", r#"["a","b"]"#),
        ("string(data.qty * 2) + 'x'", r#""6x""#),
        ("type(data.qty) == int", "true"),
        ("base64.encode(b'hi')", r#""aGk=""#),
        ("b'hi'", r#""aGk=""#),
        ("math.greatest(data.qty, 7)", "7"),
        (
            "timestamp(time) > timestamp('2025-01-01T00:00:00Z')",
            "true",
        ),
        (
            "timestamp(time) + duration('90s')",
            r#""2026-01-02T03:05:35Z""#,
        ),
        (
            "timestamp(time) - timestamp('2026-01-02T03:04:00Z')",
            r#""5s""#,
        ),
        ("data.name.matches('^Zo.*')", "true"),
        ("!data.name.matches('^zo') && type.matches('.')", "true"),
        ("matches(data.name, 'Q')", "true"),
        ("data.name.matches('^' + 'Zo')", "true"),
        ("data.tags.exists(tag, tag.matches('^y$'))", "true"),
        (
            "{'b': data.qty, 'a': [1, 2.5, null, 'x\"y'], 1: true}",
            r#"{"1":true,"a":[1,2.5,null,"x\"y"],"b":3}"#,
        ),
        (
            "[data.deep, data.tags]",
            r#"[{"er":{"still":"here"}},["x","y"]]"#,
        ),
        ("data.?absent.orValue(5)", "5"),
    ]);
}

#[test]
fn text_is_unicode_and_escapes_are_read() {
    gives(&[
        ("data.name + '✓'", r#""Zoë \"Q\" é✓""#),
        ("subject == 'sübject'", "true"),
        ("subject < 'sz'", "false"),
        (r#""tab\t" + 'nul\u0001'"#, r#""tab\tnul\u0001""#),
        ("tier + source", r#""gold/s""#),
    ]);
}

#[test]
fn what_does_not_compile_says_where_and_what_is_valid() {
    refused(&[
        ("data.qty >", "at character 11"),
        (
            "foo_bar > 1",
            "unknown variable 'foo_bar': an expression reads type, id, source, subject, time, data, and extension",
        ),
        (
            "1 + Data.x",
            "at character 5 of the expression: unknown variable 'Data'",
        ),
        ("dat.price * 2", "unknown variable 'dat'"),
        ("subject.name", "unknown variable 'subject'"),
        ("data.items.exists(i, j_x > 1)", "unknown variable 'j_x'"),
        ("price(data.qty)", "unknown function 'price'"),
        ("data.name.shout()", "unknown function 'shout'"),
        (
            "data.name.matches('[')",
            "at character 19 of the expression: `[` is not a regular expression: unclosed character class",
        ),
        ("matches(data.name, '[')", "unclosed character class"),
        (
            "data.name.matches('(a{999}){9999}')",
            "the regular expression `(a{999}){9999}` needs more than 10485760 bytes",
        ),
        (
            "data.tags.exists(tag, tag.matches('('))",
            "`(` is not a regular expression: unclosed group",
        ),
        ("maths.greatest(1, 2)", "unknown function 'greatest'"),
        ("Foo{a: 1}", "messages cannot be built"),
        ("", ""),
        ("has(subject)", "has()"),
        (&"data.abcdefgh ".repeat(300), "longer than 4096"),
        (&format!("data{}", ".a".repeat(40)), "deeper than 32"),
    ]);
    let error = Compiler::new(Scope::Line)
        .compile("data.x")
        .expect_err("line scope");
    assert!(
        error.to_string().contains("an expression reads line"),
        "{error}"
    );
}

#[test]
fn a_line_of_plain_json_is_read_through_line() {
    let mut compiler = Compiler::new(Scope::Line);
    let kind = compiler.compile("'log.' + line.level").expect("compiles");
    let id = compiler.compile("line.id").expect("compiles");
    let slots = compiler.finish();
    assert_eq!(slots.paths().collect::<Vec<_>>(), ["line.level", "line.id"]);
    let line = r#" {"level":"warn","id":7,"rest":[1]} "#;
    let mut located = Located::default();
    located
        .scan(&slots.trie, PathTrie::ROOT, line, 1)
        .expect("valid");
    let bindings = slots.bind(line, Some(&located), |_| None);
    let mut out = Vec::new();
    kind.write_json(&bindings, &mut out).expect("level");
    id.write_json(&bindings, &mut out).expect("id");
    assert_eq!(out, br#""log.warn"7"#);
}

#[test]
fn slots_are_shared_and_named() {
    let mut compiler = Compiler::new(Scope::Event);
    for text in [
        "data.a > 1",
        "data.a + data.b.c",
        "size(data.a)",
        "subject",
        "data",
    ] {
        compiler.compile(text).expect(text);
    }
    assert_eq!(
        compiler.finish().paths().collect::<Vec<_>>(),
        ["data.a", "data.b.c", "subject", "data"]
    );
}

#[test]
fn a_condition_over_a_missing_path_is_false_and_says_so() {
    let mut located = Located::default();
    let mut judge = |text: &str| {
        Condition::compile(text)
            .expect(text)
            .judge(&Line(EVENT), &mut located)
    };
    assert_eq!(judge("data.qty > 1"), Ok(Verdict::Holds));
    assert_eq!(judge("type == 'other'"), Ok(Verdict::Fails));
    assert_eq!(
        judge("data.absent > 1"),
        Ok(Verdict::Missing("data.absent".into()))
    );
    assert!(judge("data.qty").is_err_and(|error| {
        error
            .to_string()
            .contains("a condition needs a bool, not int")
    }));
}

#[test]
fn more_slots_than_fit_inline_are_bound_too() {
    let event = Box::leak(
        format!(
            r#"{{"data":{{{}}}}}"#,
            (0..40)
                .map(|n| format!("\"f{n}\":{n}"))
                .collect::<Vec<_>>()
                .join(",")
        )
        .into_boxed_str(),
    );
    let sum = (0..40)
        .map(|n| format!("data.f{n}"))
        .collect::<Vec<_>>()
        .join(" + ");
    assert_eq!(evaluate_over(event, &sum).as_deref(), Ok("780"));
    assert_eq!(
        evaluate_over(event, &format!("size([{}])", sum.replace('+', ","))).as_deref(),
        Ok("40")
    );
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let deep = |depth: usize| {
        format!(
            r#"{{"data":{{"x":{}1{},"y":2}}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    let event: &'static str = Box::leak(deep(120).into_boxed_str());
    assert_eq!(
        evaluate_over(event, "size(data.x) + data.y").as_deref(),
        Ok("3")
    );
    assert_eq!(evaluate_over(event, "[data.x].size()").as_deref(), Ok("1"));
    let bomb: &'static str = Box::leak(deep(100_000).into_boxed_str());
    assert_eq!(evaluate_over(bomb, "data.y").as_deref(), Ok("2"));
    assert!(matches!(
        evaluate_over(bomb, "size(data.x)"),
        Err(EvaluationError::Failed(_))
    ));
}

#[test]
fn an_expression_with_the_most_operators_does_not_overflow_the_stack() {
    let sum = |terms: usize| vec!["1"; terms].join("+");
    assert_eq!(evaluate(&sum(257)).as_deref(), Ok("257"));
    assert_eq!(
        evaluate(&format!("size([{}])", sum(46))).as_deref(),
        Ok("1")
    );
    refused(&[(&format!("size([{}])", sum(60)), "nests deeper than 48")]);
    refused(&[
        (&sum(258), "more than 256 operators"),
        (
            &format!("{}1{}", "(".repeat(2000), ")".repeat(2000)),
            "more than 256",
        ),
    ]);
    assert_eq!(
        evaluate("size('++++') + size(\"\\\"((\")").as_deref(),
        Ok("7")
    );
    let nested = format!("{}1{}", "(".repeat(256), ")".repeat(256));
    assert!(Compiler::new(Scope::Event).compile(&nested).is_err());
}

#[test]
fn text_that_is_not_json_is_an_error_not_a_panic() {
    let mut compiler = Compiler::new(Scope::Event);
    compiler
        .compile("data.a.b[1].c + data.d")
        .expect("compiles");
    let slots = compiler.finish();
    let whole = r#"{"a":{"b":[1,{"c":"x\"y"}]},"d":1e5}"#;
    let mut located = Located::default();
    for cut in 0..whole.len() {
        assert!(
            located
                .scan(&slots.trie, Compiler::DATA, &whole[..cut], 0)
                .is_err(),
            "{cut}"
        );
    }
    for text in [
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":}",
        "{,}",
        "{\"a\":1 \"d\":2}",
        "]",
        ":",
        "{\"a\":{\"b\":[,]}}",
    ] {
        assert!(
            located.scan(&slots.trie, Compiler::DATA, text, 0).is_err(),
            "{text}"
        );
    }
}

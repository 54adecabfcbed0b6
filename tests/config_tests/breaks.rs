//! Every way to break one thing in the wiring of a config: a token of an expression, a pattern, a path, a type.

use serde_json::{Value, json};

/// A file to lay over the config for each break.
pub(crate) fn breaks(config: &Value) -> Vec<Value> {
    let mut breaks = Vec::new();
    for (name, handler) in members(&config["handlers"]) {
        for change in breaks_of_handler(&handler) {
            breaks.push(json!({ "handlers": { &name: change } }));
        }
    }
    for (name, source) in members(&config["sources"]) {
        for (attribute, value) in members(&source["envelope"]) {
            for broken in mutants(text(&value)) {
                let change = json!({ "envelope": { &attribute: broken } });
                breaks.push(json!({ "sources": { &name: change } }));
            }
        }
    }
    breaks
}

fn breaks_of_handler(handler: &Value) -> Vec<Value> {
    let mut breaks = Vec::new();
    if let Some(when) = handler["when"].as_str() {
        let whole = ["true".to_owned(), "false".to_owned()];
        breaks.extend(
            whole
                .into_iter()
                .chain(mutants(when))
                .map(|when| json!({ "when": when })),
        );
    }
    for (field, value) in members(&handler["set"]) {
        for broken in mutants(text(&value)) {
            breaks.push(json!({ "set": { &field: broken } }));
        }
    }
    for (field, _) in members(&handler["rename"]) {
        breaks.push(json!({ "rename": { field: "data.broken" } }));
    }
    for key in ["on", "remove"] {
        let all = match &handler[key] {
            Value::Array(all) => all.clone(),
            Value::Null => Vec::new(),
            one => vec![one.clone()],
        };
        for index in 0..all.len() {
            let mut broken = all.clone();
            broken[index] = json!(if key == "on" { "broken" } else { "data.broken" });
            breaks.push(json!({ key: broken }));
        }
    }
    if handler["emit"].is_string() {
        breaks.push(json!({ "emit": "broken" }));
    }
    breaks
}

fn members(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("an expression")
}

/// The expression with one of its tokens broken, for each that can be.
pub(crate) fn mutants(expression: &str) -> Vec<String> {
    let tokens = tokens(expression);
    let mut mutants = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let is_call = tokens.get(index + 1) == Some(&"(");
        if let Some(other) = other(token).filter(|_| !is_call) {
            let mut all: Vec<&str> = tokens.clone();
            all[index] = &other;
            mutants.push(all.concat());
        }
    }
    assert!(!mutants.is_empty(), "`{expression}` has nothing to break");
    mutants
}

/// Another token in the place of this one; none for brackets and spaces.
fn other(token: &str) -> Option<String> {
    let swapped = match token {
        "&&" => "||",
        "||" => "&&",
        ">" => ">=",
        ">=" => ">",
        "<" => "<=",
        "<=" => "<",
        "==" => "!=",
        "!=" => "==",
        "+" => "-",
        "-" | "*" => "+",
        "/" => "*",
        "true" => "false",
        "false" => "true",
        "type" => "id",
        _ => "",
    };
    if !swapped.is_empty() {
        return Some(swapped.to_owned());
    }
    let first = token.chars().next()?;
    if first.is_ascii_digit() {
        let (whole, rest) = token
            .split_once('.')
            .map_or((token, None), |(a, b)| (a, Some(b)));
        let next = whole.parse::<u64>().expect("a number") + 1;
        return Some(rest.map_or(next.to_string(), |rest| format!("{next}.{rest}")));
    }
    if let Some(end) = token.strip_prefix('\'') {
        return Some(format!("'broken {end}"));
    }
    match token.split_once('.') {
        Some((root, _)) => Some(format!("{root}.broken")),
        None => first.is_ascii_alphabetic().then(|| "type".to_owned()),
    }
}

/// The expression in pieces: strings, numbers, paths and names, operators, and whatever is between them.
fn tokens(expression: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let is_in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        let end = match first {
            '\'' => rest[1..].find('\'').map(|at| at + 2),
            c if c.is_ascii_alphanumeric() => rest.find(|c| !is_in_name(c)),
            _ => {
                let two = ["&&", "||", ">=", "<=", "==", "!="];
                let is_two = two.iter().any(|operator| rest.starts_with(operator));
                Some(if is_two { 2 } else { first.len_utf8() })
            }
        };
        let (token, behind) = rest.split_at(end.unwrap_or(rest.len()));
        tokens.push(token);
        rest = behind;
    }
    tokens
}

#[test]
fn each_token_is_broken_once() {
    assert_eq!(
        mutants("has(data.a) && data.a >= 10 ? 'b' : subject"),
        [
            "has(data.broken) && data.a >= 10 ? 'b' : subject",
            "has(data.a) || data.a >= 10 ? 'b' : subject",
            "has(data.a) && data.broken >= 10 ? 'b' : subject",
            "has(data.a) && data.a > 10 ? 'b' : subject",
            "has(data.a) && data.a >= 11 ? 'b' : subject",
            "has(data.a) && data.a >= 10 ? 'broken b' : subject",
            "has(data.a) && data.a >= 10 ? 'b' : type",
        ]
    );
}

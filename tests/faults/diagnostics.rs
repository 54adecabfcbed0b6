//! What is said of a `faults` section that is wrong.

use veltrix_actors::FaultAction;

use crate::config::load;

const PIPELINE: &str = "sources: { in: { type: stdin } }\n\
                        handlers: { price: { on: t, type: pass, to: out } }\n\
                        sinks: { out: { type: stdout } }\n";

/// What is said of these injections: the errors' messages and helps.
fn said(inject: &str) -> String {
    let config = format!("{PIPELINE}faults: {{ inject: [ {inject} ] }}\n");
    match load(&[("a.yaml", &config)], &[]) {
        Ok((_, warnings)) => warnings.join("\n"),
        Err(failure) => failure.text,
    }
}

#[test]
fn the_example_of_the_design_is_valid() {
    let config = format!(
        "{PIPELINE}faults: {{ seed: 42, inject: [ {{ at: handler.price, panic: 0.001 }}, {{ at: \"sink.*\", delay: 20ms, every: 100 }} ] }}\n"
    );
    let (config, warnings) = load(&[("a.yaml", &config)], &[]).expect("it is valid");
    assert!(warnings.is_empty(), "{warnings:?}");
    let plan = config.faults.expect("faults").plan;
    assert_eq!(plan.seed, 42);
    assert_eq!(plan.injections[0].action, FaultAction::Panic);
    assert_eq!(plan.injections[0].when.probability, Some(0.001));
    assert_eq!(plan.injections[1].when.every, Some(100));
}

#[test]
fn each_mistake_is_told_with_the_valid_choices() {
    let cases: &[(&str, &[&str])] = &[
        (
            "{ at: handler.prise, panic: true }",
            &[
                "unknown point `handler.prise`",
                "did you mean `handler.price`?",
                "`router`, `source.in`",
            ],
        ),
        (
            "{ at: router, panik: true }",
            &["unknown key `panik`", "did you mean `panic`?"],
        ),
        (
            "{ at: router }",
            &["has no action", "add one of `panic`, `error`, `hang`"],
        ),
        (
            "{ at: sink.out, panic: true, error: true }",
            &["more than one action: `panic` and `error`"],
        ),
        (
            "{ at: sink.out, panic: 1.5 }",
            &["1.5", "`true` or a number from 0 to 1"],
        ),
        (
            "{ at: sink.out, delay: 1s, probability: 7 }",
            &["a number from 0 to 1"],
        ),
        (
            "{ at: sink.out, panic: 0.5, probability: 0.5 }",
            &["`panic` has a probability already"],
        ),
        (
            "{ at: sink.out, error: often }",
            &["`retryable`, `permanent`"],
        ),
        (
            "{ at: router, corrupt: true }",
            &["the router has no `corrupt`", "it takes `panic`"],
        ),
        (
            "{ at: router, error: true }",
            &["the router has no `error`"],
        ),
        ("{ at: router, hang: 0s }", &["must be more than zero"]),
        ("{ at: router, slow: 0 }", &["events per second"]),
        (
            "{ at: router, panic: true, from: 20s, until: 10s }",
            &["`until` (10s) must be later than `from` (20s)"],
        ),
        (
            "{ at: router, panic: true, every: 0 }",
            &["a whole number of at least 1"],
        ),
        (
            "{ at: router, panic: true, only: {} }",
            &["names no attribute", "`subject`"],
        ),
        ("{ panic: true }", &["`at`"]),
    ];
    for (inject, expected) in cases {
        let said = said(inject);
        for part in *expected {
            assert!(said.contains(part), "{inject}: `{part}` is not in\n{said}");
        }
        assert!(said.contains("a.yaml:4:"), "{inject}: no place in\n{said}");
    }
}

#[test]
fn a_pattern_that_means_nothing_is_a_warning() {
    let said = said("{ at: \"handler.x*\", panic: true }");
    assert!(said.contains("warning"), "{said}");
    assert!(said.contains("`handler.x*` means no point"), "{said}");
}

//! The options of an exec handler, and what is left of them once they are checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{DurationText, Secret};

/// Options of an exec handler.
///
/// Each lane has one child process, started with the lane's first event. It reads one event (CloudEvents JSON) a line
/// from its standard input and answers each with exactly one line of at most 16 MiB on its standard output: an event is
/// the result, an array of events any number of results, `null` none, and an object without `specversion` is the `data`
/// of a derived result. It must flush after each line, and end with its input. What it writes to standard error is
/// logged. If it ends, answers something else or not in time, its process group (it and all that it started, unless in a
/// group of their own) is killed and the event tried again with a fresh child. The group is killed with its lane and when
/// Veltrix ends, too. Where Veltrix itself is killed (SIGKILL) it cannot do so: the child's input ends then, and with it
/// the child.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExecOptions {
    /// The program and its arguments, started without a shell.
    #[schemars(length(min = 1))]
    pub(crate) command: Vec<String>,
    /// Environment variables for the child, beside those of Veltrix itself. Values are secrets: they are never printed.
    #[serde(default)]
    pub(crate) env: Environment,
    /// Time for the answer to one event, at least 1 ms.
    #[serde(default = "default_timeout")]
    pub(crate) timeout: DurationText,
    /// The type of results made from plain JSON; left out, that of the event.
    #[serde(default)]
    pub(crate) emit: Option<String>,
}

/// Environment variables by name.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct Environment(pub(super) BTreeMap<String, Secret>);

fn default_timeout() -> DurationText {
    DurationText(Duration::from_secs(10))
}

/// Makes exec handlers.
#[derive(Debug)]
pub(crate) struct ExecFactory {
    pub(super) command: Arc<Command>,
}

/// What to start, and what to expect of it.
#[derive(Debug)]
pub(super) struct Command {
    /// The handler's name, for its child's log lines.
    pub(super) handler: String,
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Environment,
    pub(super) timeout: Duration,
    pub(super) emit: Option<String>,
}

/// Validates the options of the handler called `name`.
pub(crate) fn prepare(
    options: ExecOptions,
    name: &str,
) -> Result<ExecFactory, Vec<(String, String)>> {
    let mut problems = Vec::new();
    let mut problem =
        |key: &str, message: &str| problems.push((key.to_owned(), message.to_owned()));
    let ExecOptions {
        mut command,
        env,
        timeout,
        emit,
    } = options;
    if command.first().is_none_or(String::is_empty) {
        problem("command", "it needs a program: `[program, argument, ...]`");
    }
    if command.iter().any(|argument| argument.contains('\0')) {
        problem("command", "an argument must not have a NUL character");
    }
    for (variable, value) in &env.0 {
        if variable.is_empty() || variable.contains(['=', '\0']) || value.expose().contains('\0') {
            let message =
                "the name must not be empty or have `=`, and neither part a NUL character";
            problem(&format!("env.{variable}"), message);
        }
    }
    if timeout.0 < Duration::from_millis(1) {
        problem("timeout", "it must be at least `1ms`");
    }
    if emit.as_deref() == Some("") {
        problem("emit", "a type must not be empty");
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let arguments = command.split_off(1);
    Ok(ExecFactory {
        command: Arc::new(Command {
            handler: name.to_owned(),
            program: command.remove(0),
            arguments,
            environment: env,
            timeout: timeout.0,
            emit,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_with_its_key_and_no_value() {
        let json = r#"{"command":[],"env":{"A=B":"s3cret","C":"d"},"timeout":"0s","emit":""}"#;
        let options: ExecOptions = serde_json::from_str(json).unwrap();
        assert!(!format!("{options:?}").contains("s3cret"));
        let problems = prepare(options, "score").unwrap_err();
        let keys: Vec<&str> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["command", "env.A=B", "timeout", "emit"]);
        assert!(!format!("{problems:?}").contains("s3cret"));
    }

    #[test]
    fn program_and_arguments_are_told_apart() {
        let options = serde_json::from_str(r#"{"command":["a","b","c"]}"#).unwrap();
        let command = prepare(options, "score").unwrap().command;
        assert_eq!(
            (command.program.as_str(), command.arguments.len()),
            ("a", 2)
        );
        assert_eq!(command.timeout, Duration::from_secs(10));
    }
}

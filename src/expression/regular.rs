//! Regular expressions that stand in an expression: found, and compiled once.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue};
use regex::Regex;

/// The regular expression of `x.matches('...')` or `matches(x, '...')`. `None` for any other call.
///
/// # Errors
/// Which part of the expression is none, and why.
pub(super) fn of_call(call: &CallExpr) -> Option<Result<Regex, (u64, String)>> {
    if call.func_name != "matches" || call.args.len() + usize::from(call.target.is_some()) != 2 {
        return None;
    }
    let IdedExpr { id, expr } = call.args.last()?;
    let Expr::Literal(LiteralValue::String(text)) = expr else {
        return None;
    };
    Some(Regex::new(text.inner()).map_err(|error| (*id, why(text.inner(), &error))))
}

/// What is matched by such a call.
///
/// # Panics
/// If it is none: it has neither a target nor an argument.
pub(super) fn operand(mut call: CallExpr) -> IdedExpr {
    match call.target {
        Some(target) => *target,
        None => call.args.swap_remove(0),
    }
}

fn why(text: &str, error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(bytes) => {
            format!("the regular expression `{text}` needs more than {bytes} bytes")
        }
        other => {
            // Several lines that show the place in the text, and then the reason.
            let told = other.to_string();
            let reason = told.rsplit("error: ").next().unwrap_or(&told);
            format!("`{text}` is not a regular expression: {reason}")
        }
    }
}

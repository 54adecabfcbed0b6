//! What names in an expression mean: select chains on the event, CloudEvents attributes, CEL's functions.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, LiteralValue, operators};
use cel::{Context, ExecutionError, IdedExpr};

use super::environment::environment;
use super::path::Segment;

/// `root.field["field"][0]` as it stands in the expression.
pub(super) struct Chain<'e> {
    /// Of the root, for its position.
    pub(super) root_id: u64,
    pub(super) root: &'e str,
    pub(super) segments: Vec<Segment>,
}

/// The chain that this expression spells, if it spells one.
pub(super) fn chain_of(expression: &IdedExpr) -> Option<Chain<'_>> {
    match &expression.expr {
        Expr::Ident(root) => Some(Chain {
            root_id: expression.id,
            root,
            segments: Vec::new(),
        }),
        Expr::Select(select) if !select.test => {
            let mut chain = chain_of(&select.operand)?;
            chain
                .segments
                .push(Segment::Key(select.field.as_str().into()));
            Some(chain)
        }
        Expr::Call(call) if call.func_name == operators::INDEX && call.target.is_none() => {
            let [container, index] = call.args.as_slice() else {
                return None;
            };
            let segment = match &index.expr {
                Expr::Literal(LiteralValue::String(key)) => Segment::Key(key.inner().into()),
                Expr::Literal(LiteralValue::Int(at)) => {
                    Segment::Index(usize::try_from(*at.inner()).ok()?)
                }
                _ => return None,
            };
            let mut chain = chain_of(container)?;
            chain.segments.push(segment);
            Some(chain)
        }
        _ => None,
    }
}

/// CloudEvents attribute names are lowercase letters and digits.
pub(crate) fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// `base64` of `base64.encode(x)`.
pub(super) fn chain_name(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Ident(name) => Some(name),
        _ => None,
    }
}

/// Whether CEL has a function of this name. Its tables are private, but a call on nulls tells: a function that is there complains
/// about its arguments, one that is not about its name.
pub(super) fn is_function(name: &str, member: bool, argument_count: usize) -> bool {
    let null = || IdedExpr {
        id: 0,
        expr: Expr::Literal(LiteralValue::Null),
    };
    let call = CallExpr {
        func_name: name.to_owned(),
        target: member.then(|| Box::new(null())),
        args: (0..argument_count).map(|_| null()).collect(),
    };
    let context = Context::with_env(Arc::clone(environment()));
    let probe = IdedExpr {
        id: 0,
        expr: Expr::Call(call),
    };
    !matches!(
        cel::Value::resolve_val(&probe, &context),
        Err(ExecutionError::UndeclaredReference(_))
    )
}

//! Lowers CEL's syntax tree: select chains on the event become slots, operators become nodes, and what is left for CEL to evaluate has
//! its arithmetic replaced by the promoting functions.

use std::sync::Arc;

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use regex::Regex;

use super::arithmetic::{Number, Operator};
use super::bindings::{Slot, SlotSource, Slots, Variable};
use super::chain::{Chain, chain_name, chain_of, is_attribute_name, is_function};
use super::compile::{Compiler, Scope};
use super::environment::promoted_name;
use super::error::ExpressionError;
use super::locate::PathTrie;
use super::node::{Constant, Node};
use super::operator::Binary;
use super::path::{MAX_SEGMENTS, Path, Segment};
use super::regular;

/// How deep functions, macros and literals may nest: CEL evaluates them on the lane's stack.
const MAX_CALL_DEPTH: usize = 48;

/// Names of CEL's types, which expressions such as `type(x) == int` use like variables.
const TYPE_NAMES: [&str; 9] = [
    "int",
    "uint",
    "double",
    "bool",
    "string",
    "bytes",
    "list",
    "map",
    "null_type",
];

/// The lowering of one expression.
pub(super) struct Lowering<'c> {
    scope: Scope,
    slots: &'c mut Slots,
    source: &'c SourceInfo,
    /// The variables of the macros around, innermost last.
    locals: Vec<String>,
    reads_paths: bool,
    call_depth: usize,
}

impl<'c> Lowering<'c> {
    pub(super) fn new(scope: Scope, slots: &'c mut Slots, source: &'c SourceInfo) -> Self {
        Self {
            scope,
            slots,
            source,
            locals: Vec::new(),
            reads_paths: false,
            call_depth: 0,
        }
    }

    /// Whether anything lowered so far reads more than attributes.
    pub(super) fn reads_paths(&self) -> bool {
        self.reads_paths
    }

    pub(super) fn node(&mut self, expression: IdedExpr) -> Result<Node, ExpressionError> {
        if let Some(slot) = self.slot(&expression)? {
            return Ok(Node::Slot(slot));
        }
        if let Some(slot) = self.tested_slot(&expression)? {
            return Ok(Node::Present(slot));
        }
        match expression.expr {
            Expr::Literal(literal) => match constant(&literal) {
                Some(constant) => Ok(Node::Constant(constant)),
                None => self.cel(IdedExpr {
                    id: expression.id,
                    expr: Expr::Literal(literal),
                }),
            },
            Expr::Call(call) => self.call(expression.id, call),
            other => self.cel(IdedExpr {
                id: expression.id,
                expr: other,
            }),
        }
    }

    fn operator(&mut self, id: u64, call: CallExpr) -> Result<Node, ExpressionError> {
        let CallExpr {
            func_name,
            target,
            args,
        } = call;
        let args = match <[IdedExpr; 2]>::try_from(args) {
            Ok(args) => match Binary::named(&func_name) {
                Some(binary) => {
                    let [left, right] = args;
                    let sides = Box::new([self.node(left)?, self.node(right)?]);
                    return Ok(binary.node(sides));
                }
                None => args.into(),
            },
            Err(args) => args,
        };
        match (func_name.as_str(), <[IdedExpr; 1]>::try_from(args)) {
            (operators::LOGICAL_NOT, Ok([operand])) => Ok(Node::Not(Box::new(self.node(operand)?))),
            (operators::NEGATE, Ok([operand])) => self.negation(operand),
            (_, Ok(args)) => self.cel(IdedExpr {
                id,
                expr: Expr::Call(CallExpr {
                    func_name,
                    target,
                    args: args.into(),
                }),
            }),
            (operators::CONDITIONAL, Err(args)) => match <[IdedExpr; 3]>::try_from(args) {
                Ok([condition, then, otherwise]) => Ok(Node::Conditional(Box::new([
                    self.node(condition)?,
                    self.node(then)?,
                    self.node(otherwise)?,
                ]))),
                Err(args) => self.cel(IdedExpr {
                    id,
                    expr: Expr::Call(CallExpr {
                        func_name,
                        target,
                        args,
                    }),
                }),
            },
            (_, Err(args)) => self.cel(IdedExpr {
                id,
                expr: Expr::Call(CallExpr {
                    func_name,
                    target,
                    args,
                }),
            }),
        }
    }

    fn call(&mut self, id: u64, call: CallExpr) -> Result<Node, ExpressionError> {
        if let Some(pattern) = self.pattern(&call)? {
            let operand = self.node(regular::operand(call))?;
            return Ok(Node::Matches(Box::new((operand, pattern))));
        }
        match call.target {
            None => self.operator(id, call),
            Some(_) => self.cel(IdedExpr {
                id,
                expr: Expr::Call(call),
            }),
        }
    }

    fn pattern(&self, call: &CallExpr) -> Result<Option<Regex>, ExpressionError> {
        let pattern = regular::of_call(call).transpose();
        pattern.map_err(|(id, why)| self.error_at(id, why))
    }

    /// `-x` is `0 - x`, except that `-(0.0)` keeps its sign: multiply by minus one.
    fn negation(&mut self, operand: IdedExpr) -> Result<Node, ExpressionError> {
        let sides = Box::new([
            self.node(operand)?,
            Node::Constant(Constant::Number(Number::Int(-1))),
        ]);
        Ok(Node::Arithmetic(Operator::Multiply, sides))
    }

    fn cel(&mut self, mut expression: IdedExpr) -> Result<Node, ExpressionError> {
        self.rewrite(&mut expression)?;
        self.slots.calls_cel = true;
        Ok(Node::Cel(Box::new(expression)))
    }

    fn rewrite(&mut self, expression: &mut IdedExpr) -> Result<(), ExpressionError> {
        self.call_depth += 1;
        if self.call_depth > MAX_CALL_DEPTH {
            return Err(self.error_at(
                expression.id,
                format!("it nests deeper than {MAX_CALL_DEPTH} levels"),
            ));
        }
        let result = self.rewrite_level(expression);
        self.call_depth -= 1;
        result
    }

    /// Replaces chains by slots and arithmetic by the promoting functions, in place.
    fn rewrite_level(&mut self, expression: &mut IdedExpr) -> Result<(), ExpressionError> {
        if let Some(slot) = self.slot(expression)? {
            expression.expr = Expr::Ident(Variable::Value(slot).name());
            return Ok(());
        }
        if let Some(slot) = self.tested_slot(expression)? {
            expression.expr = Expr::Ident(Variable::Presence(slot).name());
            return Ok(());
        }
        let id = expression.id;
        match &mut expression.expr {
            Expr::Call(call) => self.rewrite_call(id, call),
            Expr::Comprehension(comprehension) => {
                self.rewrite(&mut comprehension.iter_range)?;
                self.rewrite(&mut comprehension.accu_init)?;
                let outside = self.locals.len();
                self.locals.push(comprehension.accu_var.clone());
                self.locals.push(comprehension.iter_var.clone());
                self.locals.extend(comprehension.iter_var2.clone());
                self.rewrite(&mut comprehension.loop_cond)?;
                self.rewrite(&mut comprehension.loop_step)?;
                self.locals.truncate(outside + 1);
                self.rewrite(&mut comprehension.result)?;
                self.locals.truncate(outside);
                Ok(())
            }
            Expr::List(list) => list
                .elements
                .iter_mut()
                .try_for_each(|element| self.rewrite(element)),
            Expr::Map(map) => map
                .entries
                .iter_mut()
                .try_for_each(|entry| match &mut entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.rewrite(&mut entry.key)?;
                        self.rewrite(&mut entry.value)
                    }
                    EntryExpr::StructField(field) => self.rewrite(&mut field.value),
                }),
            Expr::Select(select) => self.rewrite(&mut select.operand),
            Expr::Struct(_) => Err(self.error_at(
                id,
                "messages cannot be built here: write a map, {'key': value}",
            )),
            Expr::Ident(_) | Expr::Literal(_) => Ok(()),
            Expr::Unspecified => Err(self.error_at(id, "the expression is empty")),
        }
    }

    fn rewrite_call(&mut self, id: u64, call: &mut CallExpr) -> Result<(), ExpressionError> {
        // Only whether it is one: in a macro or an argument it is CEL that matches.
        self.pattern(call)?;
        // A macro collects its results with `@result + [x]`, which CEL recognises and runs without copying: leave that one.
        let collects = matches!(call.args.first(), Some(IdedExpr { expr: Expr::Ident(name), .. }) if name.starts_with('@'));
        call.args
            .iter_mut()
            .try_for_each(|argument| self.rewrite(argument))?;
        if let Some(target) = &mut call.target {
            let qualified = chain_name(target).map(|prefix| format!("{prefix}.{}", call.func_name));
            if !qualified.is_some_and(|name| is_function(&name, false, call.args.len())) {
                self.rewrite(target)?;
                if !is_function(&call.func_name, true, call.args.len()) {
                    return Err(self.error_at(id, format!("unknown function '{}'", call.func_name)));
                }
            }
            return Ok(());
        }
        if let (Some(promoted), false) = (promoted_name(&call.func_name), collects) {
            promoted.clone_into(&mut call.func_name);
        } else if call
            .func_name
            .starts_with(|first: char| first.is_ascii_alphabetic())
            && !is_function(&call.func_name, false, call.args.len())
        {
            return Err(self.error_at(id, format!("unknown function '{}'", call.func_name)));
        }
        Ok(())
    }

    /// The slot of `has(chain)`.
    fn tested_slot(&mut self, expression: &IdedExpr) -> Result<Option<usize>, ExpressionError> {
        let Expr::Select(select) = &expression.expr else {
            return Ok(None);
        };
        if !select.test {
            return Ok(None);
        }
        let Some(mut chain) = chain_of(&select.operand) else {
            return Ok(None);
        };
        chain
            .segments
            .push(Segment::Key(select.field.as_str().into()));
        self.slot_of(expression.id, chain)
    }

    fn slot(&mut self, expression: &IdedExpr) -> Result<Option<usize>, ExpressionError> {
        match chain_of(expression) {
            Some(chain) => self.slot_of(expression.id, chain),
            None => Ok(None),
        }
    }

    /// The slot of a chain on a variable of the scope; `None` if its root is a macro's variable or a type.
    fn slot_of(&mut self, id: u64, chain: Chain<'_>) -> Result<Option<usize>, ExpressionError> {
        let root = chain.root;
        if self.locals.iter().any(|local| local == root) || TYPE_NAMES.contains(&root) {
            return Ok(None);
        }
        if chain.segments.len() > MAX_SEGMENTS {
            return Err(self.error_at(
                id,
                format!("the path is deeper than {MAX_SEGMENTS} segments"),
            ));
        }
        let source = match (self.scope, root) {
            (Scope::Event, "data") => {
                SlotSource::Path(self.slots.trie.insert(Compiler::DATA, &chain.segments))
            }
            (Scope::Line, "line") => {
                SlotSource::Path(self.slots.trie.insert(PathTrie::ROOT, &chain.segments))
            }
            (Scope::Event, name) if is_attribute_name(name) && chain.segments.is_empty() => {
                SlotSource::Attribute(name.into())
            }
            _ => return Err(self.unknown_variable(&chain)),
        };
        self.reads_paths |= matches!(source, SlotSource::Path(_));
        if let Some(known) = self
            .slots
            .slots
            .iter()
            .position(|slot| slot.source == source)
        {
            return Ok(Some(known));
        }
        let path = Path {
            root: root.into(),
            segments: chain.segments,
        };
        self.slots.slots.push(Slot {
            name: Arc::from(path.to_string()),
            source,
        });
        Ok(Some(self.slots.slots.len() - 1))
    }

    fn unknown_variable(&self, chain: &Chain<'_>) -> ExpressionError {
        let root = chain.root;
        let valid = match self.scope {
            Scope::Event => {
                "type, id, source, subject, time, data, and extension attributes (lowercase letters and digits, no fields)"
            }
            Scope::Line => "line and its members, such as line.kind",
        };
        self.error_at(
            chain.root_id,
            format!("unknown variable '{root}': an expression reads {valid}"),
        )
    }

    fn error_at(&self, id: u64, message: impl Into<String>) -> ExpressionError {
        let position = self.source.offset_for(id).map(|(start, _)| {
            let before: String = self
                .source
                .source
                .chars()
                .take(usize::try_from(start).unwrap_or(usize::MAX))
                .collect();
            let line = before.matches('\n').count() + 1;
            let column = before
                .chars()
                .rev()
                .take_while(|character| *character != '\n')
                .count()
                + 1;
            (line, column)
        });
        ExpressionError {
            message: message.into(),
            position,
        }
    }
}

fn constant(literal: &LiteralValue) -> Option<Constant> {
    Some(match literal {
        LiteralValue::Boolean(value) => Constant::Bool(*value.inner()),
        LiteralValue::Double(value) => Constant::Number(Number::Double(*value.inner())),
        LiteralValue::Int(value) => Constant::Number(Number::Int(*value.inner())),
        LiteralValue::UInt(value) => Constant::Number(Number::Unsigned(*value.inner())),
        LiteralValue::Null => Constant::Null,
        LiteralValue::String(value) => Constant::Text(value.inner().into()),
        LiteralValue::Bytes(_) => return None,
    })
}

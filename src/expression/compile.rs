//! Compiles the text of an expression: CEL parses it, select chains on the event become slots, operators become nodes, and what is
//! left for CEL to evaluate has its arithmetic replaced by the promoting functions.

use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};
use cel::{Context, ExecutionError, IdedExpr, ParseErrors};

use super::Expression;
use super::arithmetic::{Number, Operator};
use super::bindings::{Slot, SlotSource, Slots, Variable};
use super::environment::{environment, promoted_name};
use super::error::ExpressionError;
use super::locate::{NodeId, PathTrie};
use super::node::{Comparison, Constant, Node};
use super::path::{MAX_SEGMENTS, Path, Segment};

/// The longest expression, in bytes.
const MAX_EXPRESSION_BYTES: usize = 4096;

/// The most operators, dots and brackets; CEL's parser and evaluation recurse over them, so this bounds the stack.
const MAX_OPERATORS: usize = 256;

/// How deep functions, macros and literals may nest: CEL evaluates them on the lane's stack.
const MAX_CALL_DEPTH: usize = 48;

/// The stack of the thread that compiles.
const COMPILER_STACK_BYTES: usize = 16 * 1024 * 1024;

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

/// What an expression can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The attributes and the `data` of an event.
    Event,
    /// `line`: a line of plain JSON that a source wraps into an event.
    Line,
}

/// Compiles the expressions of one component, which share their slots.
#[derive(Debug)]
pub(crate) struct Compiler {
    scope: Scope,
    slots: Slots,
}

impl Compiler {
    /// The node of `data` in the path tree of [`Scope::Event`], whose root is the whole line.
    pub(crate) const DATA: NodeId = PathTrie::ROOT + 1;

    pub(crate) fn new(scope: Scope) -> Self {
        let mut trie = PathTrie::new();
        if scope == Scope::Event {
            trie.insert(PathTrie::ROOT, &[Segment::Key("data".into())]);
        }
        Self {
            scope,
            slots: Slots {
                trie,
                slots: Vec::new(),
                calls_cel: false,
            },
        }
    }

    pub(crate) fn compile(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        if text.len() > MAX_EXPRESSION_BYTES {
            return Err(ExpressionError::new(format!(
                "the expression is longer than {MAX_EXPRESSION_BYTES} bytes"
            )));
        }
        if operator_count(text) > MAX_OPERATORS {
            return Err(ExpressionError::new(format!(
                "the expression has more than {MAX_OPERATORS} operators"
            )));
        }
        // CEL's parser takes 10 KiB of stack a level in a debug build: give it a stack that its caller may not have.
        std::thread::scope(|scope| {
            let compiling = std::thread::Builder::new()
                .stack_size(COMPILER_STACK_BYTES)
                .spawn_scoped(scope, || self.compile_here(text))
                .map_err(|error| {
                    ExpressionError::new(format!("cannot start a thread to compile it: {error}"))
                })?;
            compiling.join().unwrap_or_else(|_| {
                Err(ExpressionError::new(
                    "CEL's parser failed on the expression",
                ))
            })
        })
    }

    fn compile_here(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        let parser = environment().parser().enable_ident_escape_syntax(true);
        let (parsed, source) = parser.parse_with_source_info(text).map_err(parse_error)?;
        let mut pass = Pass {
            scope: self.scope,
            slots: &mut self.slots,
            source: &source,
            locals: Vec::new(),
            reads_paths: false,
            call_depth: 0,
        };
        let root = pass.node(parsed)?;
        Ok(Expression {
            reads_paths: pass.reads_paths,
            root,
        })
    }

    /// The path tree, for edits that are to be located in the same pass.
    pub(crate) fn trie_mut(&mut self) -> &mut PathTrie {
        &mut self.slots.trie
    }

    pub(crate) fn finish(self) -> Slots {
        self.slots
    }
}

/// Counts what can nest, before anything recurses over it; text in quotes does not count.
fn operator_count(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    let mut count = 0;
    for byte in text.bytes() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (
                None,
                b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=' | b'!' | b'&' | b'|' | b'?'
                | b'(' | b'[' | b'{' | b'.',
            ) => count += 1,
            (None, _) => {}
        }
    }
    count
}

fn parse_error(errors: ParseErrors) -> ExpressionError {
    let Some(first) = errors.errors.into_iter().next() else {
        return ExpressionError::new("the expression is not CEL");
    };
    let position = match first.pos {
        (line, column) if line > 0 => Some((line.unsigned_abs(), column.unsigned_abs())),
        _ => None,
    };
    ExpressionError {
        message: first.msg,
        position,
    }
}

/// `root.field["field"][0]` as it stands in the expression.
struct Chain<'e> {
    /// Of the root, for its position.
    root_id: u64,
    root: &'e str,
    segments: Vec<Segment>,
}

/// The chain that this expression spells, if it spells one.
fn chain_of(expression: &IdedExpr) -> Option<Chain<'_>> {
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

struct Pass<'c> {
    scope: Scope,
    slots: &'c mut Slots,
    source: &'c SourceInfo,
    /// The variables of the macros around, innermost last.
    locals: Vec<String>,
    reads_paths: bool,
    call_depth: usize,
}

impl Pass<'_> {
    fn node(&mut self, expression: IdedExpr) -> Result<Node, ExpressionError> {
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
            Expr::Call(call) if call.target.is_none() => self.operator(expression.id, call),
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
            Scope::Line => "line",
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

enum Binary {
    Arithmetic(Operator),
    Order(Comparison),
    Equals(bool),
    And,
    Or,
}

impl Binary {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            operators::ADD => Self::Arithmetic(Operator::Add),
            operators::SUBSTRACT => Self::Arithmetic(Operator::Subtract),
            operators::MULTIPLY => Self::Arithmetic(Operator::Multiply),
            operators::DIVIDE => Self::Arithmetic(Operator::Divide),
            operators::MODULO => Self::Arithmetic(Operator::Remainder),
            operators::LESS => Self::Order(Comparison::Less),
            operators::LESS_EQUALS => Self::Order(Comparison::LessEquals),
            operators::GREATER => Self::Order(Comparison::Greater),
            operators::GREATER_EQUALS => Self::Order(Comparison::GreaterEquals),
            operators::EQUALS => Self::Equals(true),
            operators::NOT_EQUALS => Self::Equals(false),
            operators::LOGICAL_AND => Self::And,
            operators::LOGICAL_OR => Self::Or,
            _ => return None,
        })
    }

    fn node(self, sides: Box<[Node; 2]>) -> Node {
        match self {
            Self::Arithmetic(operator) => Node::Arithmetic(operator, sides),
            Self::Order(comparison) => Node::Order(comparison, sides),
            Self::Equals(expected) => Node::Equals { expected, sides },
            Self::And => Node::And(sides),
            Self::Or => Node::Or(sides),
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

/// CloudEvents attribute names are lowercase letters and digits.
pub(crate) fn is_attribute_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// `base64` of `base64.encode(x)`.
fn chain_name(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Ident(name) => Some(name),
        _ => None,
    }
}

/// Whether CEL has a function of this name. Its tables are private, but a call on nulls tells: a function that is there complains
/// about its arguments, one that is not about its name.
fn is_function(name: &str, member: bool, argument_count: usize) -> bool {
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

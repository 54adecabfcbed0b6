//! Compiles the text of an expression: CEL parses it, within limits that keep CEL's recursion in its stack.

use cel::ParseErrors;

use super::Expression;
use super::bindings::Slots;
use super::environment::environment;
use super::error::ExpressionError;
use super::locate::{NodeId, PathTrie};
use super::lower::Lowering;
use super::path::Segment;
use super::static_type::{self, StaticType};
use crate::deep_stack;

/// The longest expression, in bytes.
const MAX_EXPRESSION_BYTES: usize = 4096;

/// The most operators, dots and brackets; CEL's parser and evaluation recurse over them, so this bounds the stack.
const MAX_OPERATORS: usize = 256;

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

    /// Compiles what must be a bool.
    pub(crate) fn compile_condition(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        let expression = self.compile(text)?;
        match self.static_type(&expression)? {
            None | Some(StaticType::Bool) => Ok(expression),
            Some(other) => {
                let message = format!(
                    "a condition must be a bool, and this is {}",
                    other.in_words()
                );
                Err(ExpressionError::new(message))
            }
        }
    }

    /// Compiles what an envelope makes an attribute of: a string, a number or a bool.
    pub(crate) fn compile_attribute(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        let expression = self.compile(text)?;
        match self.static_type(&expression)? {
            None | Some(StaticType::Text | StaticType::Number | StaticType::Bool) => Ok(expression),
            Some(other) => {
                let what = other.in_words();
                let message = format!(
                    "an attribute must be a string, a number or a bool, and this is {what}"
                );
                Err(ExpressionError::new(message))
            }
        }
    }

    fn static_type(&self, expression: &Expression) -> Result<Option<StaticType>, ExpressionError> {
        static_type::of(&expression.root, &self.slots.slots).map_err(ExpressionError::new)
    }

    /// Compiles what may be anything; operators that can never work are refused all the same.
    pub(crate) fn compile_value(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        let expression = self.compile(text)?;
        self.static_type(&expression)?;
        Ok(expression)
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
        // CEL's parser and the lowering recurse: give them a stack that the caller may not have.
        let compiled = deep_stack::run(|| self.compile_here(text)).map_err(|error| {
            ExpressionError::new(format!("cannot start a thread to compile it: {error}"))
        })?;
        compiled.unwrap_or_else(|_| {
            Err(ExpressionError::new(
                "CEL's parser failed on the expression",
            ))
        })
    }

    fn compile_here(&mut self, text: &str) -> Result<Expression, ExpressionError> {
        let parser = environment().parser().enable_ident_escape_syntax(true);
        let (parsed, source) = parser.parse_with_source_info(text).map_err(parse_error)?;
        let mut lowering = Lowering::new(self.scope, &mut self.slots, &source);
        let root = lowering.node(parsed)?;
        Ok(Expression {
            reads_paths: lowering.reads_paths(),
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
        message: in_words(&first.msg),
        position,
    }
}

/// What CEL's parser says, in words for people who do not know its grammar.
fn in_words(message: &str) -> String {
    let text = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let quoted = |text: &str| match text.trim().trim_matches('\'') {
        "<EOF>" => None,
        token => Some(format!("`{token}`")),
    };
    let unexpected = |token: &str| match quoted(token) {
        Some(token) => format!("{token} is not expected here"),
        None => "the expression ends too early".to_owned(),
    };
    let (what, rest) = text.split_once(' ').unwrap_or((text, ""));
    match (what, rest.split_once(" at ")) {
        ("missing", Some((wanted, token))) => {
            let before = quoted(token).map_or_else(
                || " at the end".to_owned(),
                |token| format!(" before {token}"),
            );
            format!("{} is missing{before}", quoted(wanted).unwrap_or_default())
        }
        ("mismatched" | "extraneous", _) => {
            let token = rest.strip_prefix("input ").unwrap_or(rest);
            unexpected(token.split(" expecting ").next().unwrap_or(token))
        }
        ("no", _) => unexpected(
            rest.strip_prefix("viable alternative at input ")
                .unwrap_or(rest),
        ),
        ("token", _) => unexpected(rest.strip_prefix("recognition error at: ").unwrap_or(rest)),
        _ => text.to_owned(),
    }
}

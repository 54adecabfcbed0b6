//! Where each value of the merged config came from: file, line and column, or an environment variable.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, OnceLock},
};

use super::path::{KeyPath, Step};

/// What stands for a secret.
const MASK: &str = "***";

/// Shorter values (`4`, `yes`) are no secrets, and masking them would tear holes into the rest of a message.
pub(crate) const MIN_MASKED: usize = 4;

/// One config file's name and text, shared by all that points into it.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// As it was given on the command line.
    pub(crate) name: String,
    pub(crate) text: String,
    /// Position in the order of layers, for sorting.
    pub(crate) rank: usize,
    /// Known once all files are, and needed by the problems that have pointed here before: so it is filled in later.
    pub(crate) secrets: OnceLock<FileSecrets>,
}

/// What of a file must not be shown.
#[derive(Debug, Default)]
pub(crate) struct FileSecrets {
    pub(crate) spans: Vec<Span>,
    /// Words of secrets that may go on over several lines.
    pub(crate) texts: Vec<String>,
}

impl SourceFile {
    pub(crate) fn new(name: String, text: String, rank: usize) -> Self {
        Self {
            name,
            text,
            rank,
            secrets: OnceLock::new(),
        }
    }
}

/// A piece of one line. Line and column count from 1, column and length in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// Characters on that line; 0 points at the line as a whole.
    pub length: usize,
}

impl Span {
    /// The beginning of a file.
    pub(crate) const START: Self = Self {
        line: 1,
        column: 1,
        length: 0,
    };
}

/// The place that a problem points at.
#[derive(Clone, Debug)]
pub enum Location {
    /// In a config file.
    File(FileLocation),
    /// In the value of an environment variable.
    Environment(Arc<str>),
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(at) => {
                let Span { line, column, .. } = at.span;
                write!(formatter, "{}:{line}:{column}", at.file.name)
            }
            Self::Environment(name) => write!(formatter, "environment variable {name}"),
        }
    }
}

/// A place in a config file.
#[derive(Clone, Debug)]
pub struct FileLocation {
    pub(crate) file: Arc<SourceFile>,
    pub(crate) span: Span,
}

impl FileLocation {
    /// The file as it was named on the command line.
    pub fn file(&self) -> &str {
        &self.file.name
    }

    /// The piece of text.
    pub fn span(&self) -> Span {
        self.span
    }
}

/// Where one value (and the key that names it) came from.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    File {
        file: Arc<SourceFile>,
        key: Option<Span>,
        value: Span,
    },
    Environment(Arc<str>),
}

impl Origin {
    fn location(&self, of_key: bool) -> Location {
        match self {
            Self::Environment(name) => Location::Environment(Arc::clone(name)),
            Self::File { file, key, value } => {
                let span = if of_key {
                    key.unwrap_or(*value)
                } else {
                    *value
                };
                Location::File(FileLocation {
                    file: Arc::clone(file),
                    span,
                })
            }
        }
    }
}

/// The origins of a value and of all below it.
#[derive(Clone, Debug)]
pub(crate) struct OriginNode {
    pub(crate) origin: Origin,
    /// The text that the value was read from, where another reading (number or string) may be meant.
    pub(crate) text: Option<String>,
    pub(crate) children: OriginChildren,
}

#[derive(Clone, Debug)]
pub(crate) enum OriginChildren {
    None,
    Map(HashMap<String, OriginNode>),
    List(Vec<OriginNode>),
}

impl OriginNode {
    pub(crate) fn new(origin: Origin, children: OriginChildren) -> Self {
        Self {
            origin,
            text: None,
            children,
        }
    }

    fn child(&self, step: &Step) -> Option<&Self> {
        match (&self.children, step) {
            (OriginChildren::Map(map), Step::Key(key)) => map.get(key),
            (OriginChildren::List(list), Step::Index(index)) => list.get(*index),
            _ => None,
        }
    }

    /// What stands at `path` below.
    pub(crate) fn at(&self, path: &KeyPath) -> Option<&Self> {
        let mut steps = path.steps().iter();
        steps.try_fold(self, |node, step| node.child(step))
    }

    fn child_mut(&mut self, step: &Step) -> Option<&mut Self> {
        match (&mut self.children, step) {
            (OriginChildren::Map(map), Step::Key(key)) => map.get_mut(key),
            (OriginChildren::List(list), Step::Index(index)) => list.get_mut(*index),
            _ => None,
        }
    }

    /// Lays `over` on top: mappings are merged and stay where they were first written, all else is replaced.
    pub(crate) fn overlay(&mut self, over: Self) {
        match (&mut self.children, over.children) {
            (OriginChildren::Map(below), OriginChildren::Map(above)) => {
                for (key, node) in above {
                    match below.get_mut(&key) {
                        Some(existing) => existing.overlay(node),
                        None => {
                            below.insert(key, node);
                        }
                    }
                }
            }
            (_, children) => {
                *self = Self {
                    origin: over.origin,
                    text: over.text,
                    children,
                }
            }
        }
    }
}

/// The origins of every value of the merged config.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    root: Option<OriginNode>,
    secrets: Vec<(KeyPath, String)>,
    /// Values whose `${...}` could not be filled in, which has been reported.
    unknown: HashSet<KeyPath>,
}

impl Origins {
    pub(crate) fn overlay(&mut self, layer: OriginNode) {
        match &mut self.root {
            Some(root) => root.overlay(layer),
            None => self.root = Some(layer),
        }
    }

    /// The key that names `path`, or of the nearest place above it that exists.
    pub(crate) fn key(&self, path: &KeyPath) -> Option<Location> {
        self.nearest(path).map(|node| node.origin.location(true))
    }

    /// The value at `path`; for a mapping the key that names it, since a mapping has no text of its own. Where
    /// nothing is at `path`, the nearest key above.
    pub(crate) fn value(&self, path: &KeyPath) -> Option<Location> {
        let node = self.nearest(path)?;
        let is_scalar = matches!(node.children, OriginChildren::None);
        Some(
            node.origin
                .location(!(is_scalar && self.node(path).is_some())),
        )
    }

    /// The text that the value at `path` was read from, where it may also be read otherwise.
    pub(crate) fn text(&self, path: &KeyPath) -> Option<&str> {
        self.node(path)?.text.as_deref()
    }

    pub(crate) fn set_text(&mut self, path: &KeyPath, text: String) {
        let mut node = self.root.as_mut();
        for step in path.steps() {
            node = node.and_then(|node| node.child_mut(step));
        }
        if let Some(node) = node {
            node.text = Some(text);
        }
    }

    /// Remembers that `secret` stands in the value at `path`.
    pub(crate) fn add_secret(&mut self, path: KeyPath, secret: String) {
        if !secret.is_empty() {
            self.secrets.push((path, secret));
        }
    }

    /// Remembers that nobody knows what stands at `path`.
    pub(crate) fn add_unknown(&mut self, path: KeyPath) {
        self.unknown.insert(path);
    }

    /// Whether what stands at `path`, or all that it stands in, is not known.
    pub(crate) fn is_unknown(&self, path: &KeyPath) -> bool {
        let mut here = path.clone();
        while !self.unknown.is_empty() {
            if self.unknown.contains(&here) {
                return true;
            }
            match here.split_last() {
                Some((above, _)) => here = above,
                None => break,
            }
        }
        false
    }

    /// Whether the value at `path` is a secret, or came from the environment or a file by `${...}`.
    pub(crate) fn is_secret(&self, path: &KeyPath) -> bool {
        self.secrets.iter().any(|(secret, _)| secret == path)
    }

    /// `message` without the secrets that stand at, above or below `path`.
    pub(crate) fn mask(&self, path: &KeyPath, mut message: String) -> String {
        for (_, secret) in self.secrets.iter().filter(|(at, _)| at.is_related(path)) {
            if secret.len() >= MIN_MASKED {
                let quoted = format!("{secret:?}");
                message = message
                    .replace(secret, MASK)
                    .replace(quoted.trim_matches('"'), MASK);
            }
        }
        message
    }

    fn node(&self, path: &KeyPath) -> Option<&OriginNode> {
        self.root.as_ref()?.at(path)
    }

    fn nearest(&self, path: &KeyPath) -> Option<&OriginNode> {
        let mut node = self.root.as_ref()?;
        for step in path.steps() {
            match node.child(step) {
                Some(child) => node = child,
                None => break,
            }
        }
        Some(node)
    }
}

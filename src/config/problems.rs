//! What is wrong with a config: collected whole, sorted, and told with the place and the way out.

use std::{borrow::Cow, cell::RefCell, cmp::Ordering, collections::HashMap, fmt, rc::Rc};

use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{
    excerpt,
    origins::{Location, Origins},
    path::KeyPath,
};

/// Problems reported at most, so that a hostile config cannot fill the memory or the screen.
pub(crate) const MAX_PROBLEMS: usize = 1000;

/// Whether a problem stops the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The config cannot be run.
    Error,
    /// The config runs, but hardly as meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// The value at fault.
    pub path: KeyPath,
    /// What is wrong, lowercase, without full stop.
    pub message: String,
    /// The place; `None` where no file is at fault (a file that is missing).
    pub origin: Option<Location>,
    /// What to do: the valid choices, "did you mean".
    pub help: Option<String>,
}

impl Problem {
    /// An error that no place in a file explains.
    pub(crate) fn without_place(message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            severity: Severity::Error,
            path: KeyPath::ROOT,
            message: message.into(),
            origin: None,
            help,
        }
    }

    /// An error at a place that is known before the tree is.
    pub(crate) fn at(origin: Location, message: impl Into<String>, help: Option<String>) -> Self {
        let origin = Some(origin);
        Self {
            severity: Severity::Error,
            path: KeyPath::ROOT,
            message: message.into(),
            origin,
            help,
        }
    }

    fn place(&self) -> (usize, usize, usize) {
        match &self.origin {
            Some(Location::File(at)) => (at.file.rank, at.span.line, at.span.column),
            Some(Location::Environment(_)) => (usize::MAX - 1, 0, 0),
            None => (usize::MAX, 0, 0),
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |problem: &Self| (problem.place(), problem.severity);
        key(self)
            .cmp(&key(other))
            .then_with(|| self.message.cmp(&other.message))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(formatter, "{origin}: ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(formatter, "{severity}: {}", on_one_line(&self.message))?;
        if let Some(Location::File(at)) = &self.origin {
            excerpt::write(formatter, &at.file, at.span)?;
        }
        if let Some(help) = &self.help {
            writeln!(formatter, "  help: {}", on_one_line(help))?;
        }
        Ok(())
    }
}

/// Values may have line ends in them, and what steers a terminal.
fn on_one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let shown = |letter: char| match letter.is_control() {
        true => letter.escape_default().to_string(),
        false => letter.to_string(),
    };
    Cow::Owned(text.chars().map(shown).collect())
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Problem", 9)?;
        out.serialize_field("severity", &self.severity)?;
        out.serialize_field("path", &self.path.to_string())?;
        out.serialize_field("message", &self.message)?;
        let (file, variable) = match &self.origin {
            Some(Location::File(at)) => (Some(at), None),
            Some(Location::Environment(name)) => (None, Some(&**name)),
            None => (None, None),
        };
        out.serialize_field("file", &file.map(|at| at.file()))?;
        out.serialize_field("line", &file.map(|at| at.span.line))?;
        out.serialize_field("column", &file.map(|at| at.span.column))?;
        out.serialize_field("length", &file.map(|at| at.span.length))?;
        out.serialize_field("variable", &variable)?;
        out.serialize_field("help", &self.help)?;
        out.end()
    }
}

/// All problems of one config, sorted by place.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Problems {
    items: Vec<Problem>,
    /// Problems beyond [`MAX_PROBLEMS`].
    #[serde(skip)]
    omitted: usize,
    /// Kept apart from `items`, so that no error is lost among the omitted.
    #[serde(skip)]
    has_errors: bool,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.has_errors |= problem.severity == Severity::Error;
        if self.items.len() >= MAX_PROBLEMS {
            self.omitted += 1;
        } else {
            let at = self
                .items
                .partition_point(|item| item.order(&problem) != Ordering::Greater);
            self.items.insert(at, problem);
        }
    }

    pub(crate) fn extend(&mut self, problems: impl IntoIterator<Item = Problem>) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }

    /// In the order of files and lines.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.items.iter()
    }

    /// Whether any of them stops the start.
    pub fn has_errors(&self) -> bool {
        self.has_errors
    }

    /// Whether there is none, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How many there are beyond those that are kept.
    pub(crate) fn omitted(&self) -> usize {
        self.omitted
    }

    /// Errors and warnings.
    pub fn len(&self) -> usize {
        self.items.len()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        let mut problems = Self::default();
        problems.push(problem);
        problems
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.items
            .iter()
            .try_for_each(|problem| problem.fmt(formatter))?;
        match self.omitted {
            0 => Ok(()),
            omitted => writeln!(formatter, "and {omitted} more problems"),
        }
    }
}

impl std::error::Error for Problems {}

/// Takes problems by path, finds their place and keeps secrets out of them.
///
/// A cell, since components report while they borrow their section.
#[derive(Debug, Default)]
pub(crate) struct Reporter {
    pub(crate) origins: Origins,
    problems: RefCell<Problems>,
    /// Schemas made so far by their id: thousands of components share a few.
    schemas: RefCell<HashMap<Cow<'static, str>, Rc<Schema>>>,
}

impl Reporter {
    /// Goes on from what has been found so far.
    pub(crate) fn new(origins: Origins, found: Problems) -> Self {
        Self {
            origins,
            problems: RefCell::new(found),
            ..Self::default()
        }
    }

    /// An error of the value at `path`.
    pub(crate) fn value(&self, path: &KeyPath, message: impl Into<String>, help: Option<String>) {
        self.report(
            Severity::Error,
            path,
            self.origins.value(path),
            message.into(),
            help,
        );
    }

    /// An error of the key that names `path`.
    pub(crate) fn key(&self, path: &KeyPath, message: impl Into<String>, help: Option<String>) {
        self.report(
            Severity::Error,
            path,
            self.origins.key(path),
            message.into(),
            help,
        );
    }

    /// A warning about what the key at `path` names.
    pub(crate) fn warn(&self, path: &KeyPath, message: impl Into<String>, help: Option<String>) {
        self.report(
            Severity::Warning,
            path,
            self.origins.key(path),
            message.into(),
            help,
        );
    }

    /// A warning about the value at `path`.
    pub(crate) fn warn_value(
        &self,
        path: &KeyPath,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        let origin = self.origins.value(path);
        self.report(Severity::Warning, path, origin, message.into(), help);
    }

    pub(crate) fn schema<T: JsonSchema>(&self) -> Rc<Schema> {
        let mut schemas = self.schemas.borrow_mut();
        Rc::clone(
            schemas
                .entry(T::schema_id())
                .or_insert_with(|| Rc::new(schema_for!(T))),
        )
    }

    /// Whether something below `path` has been reported.
    pub(crate) fn has_problem_below(&self, path: &KeyPath) -> bool {
        let problems = self.problems.borrow();
        problems.iter().any(|problem| {
            problem.path.steps().len() > path.steps().len() && problem.path.is_related(path)
        })
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.borrow().has_errors()
    }

    pub(crate) fn into_problems(self) -> Problems {
        self.problems.into_inner()
    }

    fn report(
        &self,
        severity: Severity,
        path: &KeyPath,
        origin: Option<Location>,
        message: String,
        help: Option<String>,
    ) {
        if self.origins.is_unknown(path) {
            return;
        }
        let message = self.origins.mask(path, message);
        let help = help.map(|help| self.origins.mask(path, help));
        self.problems.borrow_mut().push(Problem {
            severity,
            path: path.clone(),
            message,
            origin,
            help,
        });
    }
}

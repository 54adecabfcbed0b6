//! A compiled map and what it does to one event: rename, judge, compute, splice.

use std::borrow::Cow;
use std::sync::Arc;

use super::attribute::{attribute_text, check_attribute};
use super::rename::{NewData, Rename};
use super::splice::{Edits, NoPlace, Splice, Values};
use super::view::RawLine;
use crate::expression::{
    Bindings, Compiler, EvaluationError, EventView, Expression, Located, Malformed, PathTrie,
    Slots, Span, Verdict, skip_whitespace,
};

/// An event that this map cannot handle; it would fail again however often it is tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MapError {
    #[error("when: {0}")]
    When(EvaluationError),
    #[error("{rule}: {error}")]
    Set {
        rule: String,
        error: EvaluationError,
    },
    #[error("{rule}: the attribute '{attribute}' cannot be {found}")]
    Attribute {
        rule: String,
        attribute: String,
        found: Cow<'static, str>,
    },
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    #[error("the event's data is binary (data_base64), not JSON")]
    Binary,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The result is in the caller's buffer.
    Written,
    /// There was nothing to change: the original is the result, and nothing was written.
    Unchanged,
    /// `when` does not hold.
    Refused,
    /// `when` reads this path, which the event does not have: it counts as false.
    Missing(Arc<str>),
}

/// What a map needs while it works, kept by its lane from event to event so that the work allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct MapScratch {
    located: Located,
    renamed: Vec<u8>,
    values: Vec<u8>,
    spans: Vec<Span>,
}

/// One `set`.
#[derive(Debug)]
pub(super) struct SetRule {
    pub(super) key: String,
    /// The attribute it sets; `None` for data.
    pub(super) attribute: Option<Box<str>>,
    pub(super) expression: Expression,
}

/// A compiled map; lanes share it.
#[derive(Debug)]
pub(crate) struct MapPlan {
    pub(super) rename: Option<Rename>,
    pub(super) slots: Slots,
    pub(super) when: Option<Expression>,
    pub(super) sets: Vec<SetRule>,
    pub(super) edits: Edits,
    /// Attributes that `remove` takes away.
    pub(super) removed_attributes: Vec<Box<str>>,
    /// An attribute is edited, so the whole line must be scanned to write it.
    pub(super) edits_attributes: bool,
    pub(super) looks_into_data: bool,
}

impl MapPlan {
    /// Whether a result may differ from its event in more than the value of `data`.
    pub(crate) fn changes_envelope(&self) -> bool {
        let is_envelope =
            |path: &crate::expression::Path| path.segments.is_empty() || &*path.root != "data";
        let renames = self.rename.iter().flat_map(|rename| &rename.moves);
        self.edits_attributes || renames.flat_map(|(from, to)| [from, to]).any(is_envelope)
    }

    /// Appends the whole line with its edits to `out`: the event as itself. On an error `out` is as it was.
    pub(crate) fn apply<'a>(
        &self,
        event: &impl EventView<'a>,
        scratch: &mut MapScratch,
        out: &mut Vec<u8>,
    ) -> Result<Applied, MapError> {
        let before = out.len();
        let mut renamed = std::mem::take(&mut scratch.renamed);
        let result = match self.rename(event, scratch, &mut renamed) {
            Ok(None) => self.write_line(event, false, scratch, out),
            Ok(Some(line)) => self.write_line(&line, true, scratch, out),
            Err(error) => Err(error),
        };
        scratch.renamed = renamed;
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// Appends the edited data alone to `out`, for a derived result (`emit`). Reports each edited attribute with its JSON text, or
    /// `None` if it is taken away; of two reports on one attribute the later counts. On an error `out` is as it was.
    pub(crate) fn apply_data<'a>(
        &self,
        event: &impl EventView<'a>,
        scratch: &mut MapScratch,
        mut attribute: impl FnMut(&str, Option<&str>),
        out: &mut Vec<u8>,
    ) -> Result<Applied, MapError> {
        let before = out.len();
        let mut renamed = std::mem::take(&mut scratch.renamed);
        let result = match self.rename(event, scratch, &mut renamed) {
            Ok(None) => self.write_data(event, false, scratch, &mut attribute, out),
            Ok(Some(line)) => self.write_data(&line, true, scratch, &mut attribute, out),
            Err(error) => Err(error),
        };
        scratch.renamed = renamed;
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    /// The event under its new names, if any of them is new to it.
    fn rename<'a, 'b>(
        &self,
        event: &impl EventView<'a>,
        scratch: &mut MapScratch,
        renamed: &'b mut Vec<u8>,
    ) -> Result<Option<RawLine<'b>>, MapError> {
        let Some(rename) = &self.rename else {
            return Ok(None);
        };
        renamed.clear();
        let Some(data) = rename.apply(event, &mut scratch.located, &mut scratch.spans, renamed)?
        else {
            return Ok(None);
        };
        let line = std::str::from_utf8(renamed).map_err(|error| Malformed {
            offset: error.valid_up_to(),
        })?;
        Ok(Some(match data {
            NewData::At(span) => RawLine::with_data(line, span),
            NewData::Unknown => RawLine::new(line)?,
        }))
    }

    fn write_line<'a>(
        &self,
        event: &impl EventView<'a>,
        altered: bool,
        scratch: &mut MapScratch,
        out: &mut Vec<u8>,
    ) -> Result<Applied, MapError> {
        let (line, data) = (event.line(), event.data_span());
        let whole = self.edits_attributes || (data.is_none() && self.edits.touch(Compiler::DATA));
        if let Some(applied) = self.compute(event, whole, scratch)? {
            return Ok(applied);
        }
        let node = if whole {
            PathTrie::ROOT
        } else {
            Compiler::DATA
        };
        let span = scratch.located.span(node);
        if span.is_absent() || !self.edits.touch(node) {
            if !altered {
                return Ok(Applied::Unchanged);
            }
            out.extend_from_slice(line.as_bytes());
            return Ok(Applied::Written);
        }
        let splice = self.splice(line, scratch);
        if data.is_none()
            && splice.creates(Compiler::DATA)
            && event.attribute("data_base64").is_some()
        {
            return Err(MapError::Binary);
        }
        out.extend_from_slice(&line.as_bytes()[..span.start]);
        splice.write(node, out)?;
        out.extend_from_slice(&line.as_bytes()[span.end..]);
        Ok(Applied::Written)
    }

    fn write_data<'a>(
        &self,
        event: &impl EventView<'a>,
        altered: bool,
        scratch: &mut MapScratch,
        attribute: &mut impl FnMut(&str, Option<&str>),
        out: &mut Vec<u8>,
    ) -> Result<Applied, MapError> {
        if let Some(applied) = self.compute(event, false, scratch)? {
            return Ok(applied);
        }
        let splice = self.splice(event.line(), scratch);
        match event.data_span() {
            Some(_) if self.edits.touch(Compiler::DATA) => splice.write(Compiler::DATA, out)?,
            Some(data) if altered => out.extend_from_slice(&event.line().as_bytes()[data]),
            None if splice.creates(Compiler::DATA) => {
                if event.attribute("data_base64").is_some() {
                    return Err(MapError::Binary);
                }
                splice.write(Compiler::DATA, out)?;
            }
            _ => {
                self.report_attributes(event, altered, splice.values, attribute)?;
                return Ok(Applied::Unchanged);
            }
        }
        self.report_attributes(event, altered, splice.values, attribute)?;
        Ok(Applied::Written)
    }

    fn splice<'s>(&'s self, line: &'s str, scratch: &'s MapScratch) -> Splice<'s> {
        let values = Values {
            text: &scratch.values,
            spans: &scratch.spans,
        };
        Splice {
            text: line,
            located: &scratch.located,
            edits: &self.edits,
            values,
        }
    }

    /// Judges the event and computes all values into the scratch; `Some` if the event is not wanted.
    fn compute<'a>(
        &self,
        event: &impl EventView<'a>,
        whole_line: bool,
        scratch: &mut MapScratch,
    ) -> Result<Option<Applied>, MapError> {
        let line = event.line();
        if let Some(when) = self.when.as_ref().filter(|when| !when.reads_paths()) {
            // A condition on attributes alone is judged before the data is touched.
            let bindings = self.slots.bind(line, None, |name| event.attribute(name));
            if let Some(unwanted) = judge(when, &bindings)? {
                return Ok(Some(unwanted));
            }
        }
        self.locate(event, whole_line, &mut scratch.located)?;
        let bindings = self
            .slots
            .bind(line, Some(&scratch.located), |name| event.attribute(name));
        if let Some(when) = self.when.as_ref().filter(|when| when.reads_paths())
            && let Some(unwanted) = judge(when, &bindings)?
        {
            return Ok(Some(unwanted));
        }
        scratch.values.clear();
        scratch.spans.clear();
        for rule in &self.sets {
            let start = scratch.values.len();
            rule.expression
                .write_json(&bindings, &mut scratch.values)
                .map_err(|error| MapError::Set {
                    rule: rule.key.clone(),
                    error,
                })?;
            if let Some(name) = &rule.attribute {
                let found = attribute_text(&scratch.values[start..])
                    .and_then(|text| check_attribute(name, text));
                found.map_err(|found| MapError::Attribute {
                    rule: rule.key.clone(),
                    attribute: name.to_string(),
                    found,
                })?;
            }
            scratch.spans.push(Span {
                start,
                end: scratch.values.len(),
            });
        }
        Ok(None)
    }

    /// Finds all that is read or edited, in one pass over the least text that has it.
    fn locate<'a>(
        &self,
        event: &impl EventView<'a>,
        whole_line: bool,
        located: &mut Located,
    ) -> Result<(), MapError> {
        let line = event.line();
        if whole_line {
            located.scan(
                &self.slots.trie,
                PathTrie::ROOT,
                line,
                skip_whitespace(line.as_bytes(), 0),
            )?;
            return Ok(());
        }
        match event.data_span() {
            Some(data) if self.looks_into_data => located
                .scan(&self.slots.trie, Compiler::DATA, line, data.start)
                .map(drop)?,
            _ => located.forget_all(&self.slots.trie),
        }
        Ok(())
    }

    fn report_attributes<'a>(
        &self,
        event: &impl EventView<'a>,
        altered: bool,
        values: Values<'_>,
        attribute: &mut impl FnMut(&str, Option<&str>),
    ) -> Result<(), MapError> {
        if let (true, Some(rename)) = (altered, &self.rename) {
            let ends = rename.moves.iter().flat_map(|(from, to)| [from, to]);
            for name in ends.map(|path| &*path.root).filter(|root| *root != "data") {
                attribute(name, event.attribute(name));
            }
        }
        for (number, rule) in self.sets.iter().enumerate() {
            if let (Some(name), Some(value)) = (&rule.attribute, values.get(number)) {
                let text = std::str::from_utf8(value).map_err(|error| Malformed {
                    offset: error.valid_up_to(),
                })?;
                attribute(name, Some(text));
            }
        }
        for name in &self.removed_attributes {
            attribute(name, None);
        }
        Ok(())
    }
}

fn judge(when: &Expression, bindings: &Bindings<'_>) -> Result<Option<Applied>, MapError> {
    match Verdict::of(when.holds(bindings)).map_err(MapError::When)? {
        Verdict::Holds => Ok(None),
        Verdict::Fails => Ok(Some(Applied::Refused)),
        Verdict::Missing(path) => Ok(Some(Applied::Missing(path))),
    }
}

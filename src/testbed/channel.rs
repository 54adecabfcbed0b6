//! One place where events end, what is expected there and what came: compared and told.

use veltrix_actors::FailureClass;

use super::Failure;
use super::compare::{
    Came, Difference, EventExpectation, Expectation, LetterExpectation, event_of,
};
use super::matching::assign;
use crate::config::{Expected, ExpectedDeadLetter, ExpectedEvent};

/// Lines that are told of one place at most.
const LINES_MAX: usize = 100;

/// A sink, the dead letters, or what no handler wants.
pub(super) struct Channel<'a> {
    title: String,
    expected: Expectations<'a>,
    came: Vec<Came>,
}

enum Expectations<'a> {
    Any,
    Count(usize),
    Each(Vec<Box<dyn Expectation + 'a>>),
}

/// The dead letters of a run.
pub(super) struct DeadLetters {
    /// What was given up by whoever should have handled or delivered it.
    pub(super) failed: Vec<Came>,
    /// Events that no handler wants, where those become dead letters.
    pub(super) unmatched: Vec<Came>,
}

impl DeadLetters {
    /// Out of the copies that were recorded.
    pub(super) fn read(copies: &[Came]) -> Result<Self, String> {
        let mut letters = Self {
            failed: Vec::new(),
            unmatched: Vec::new(),
        };
        for copy in copies {
            let letter = &copy.value["data"];
            if letter["class"] == FailureClass::Unroutable.as_str() {
                letters.unmatched.push(event_of(letter)?);
            } else {
                letters.failed.push(Came::of(letter.clone()));
            }
        }
        Ok(letters)
    }
}

impl<'a> Channel<'a> {
    /// What came to a sink; nothing may come if nothing is said.
    pub(super) fn of_sink(
        title: String,
        expected: Option<&'a Expected<ExpectedEvent>>,
        came: Vec<Came>,
    ) -> Result<Self, String> {
        Ok(Self {
            title,
            came,
            expected: match expected {
                None => Expectations::Each(Vec::new()),
                Some(expected) => {
                    Expectations::of(expected, |one| Ok(Box::new(EventExpectation::new(one)?)))?
                }
            },
        })
    }

    /// The dead letters but for unmatched events.
    pub(super) fn of_dead_letters(
        expected: &'a Expected<ExpectedDeadLetter>,
        letters: &DeadLetters,
    ) -> Result<Self, String> {
        Ok(Self {
            title: "dead letters".to_owned(),
            came: letters.failed.clone(),
            expected: Expectations::of(expected, |one| Ok(Box::new(LetterExpectation::new(one)?)))?,
        })
    }

    /// What is wrong here, if anything.
    pub(super) fn failure(&self, in_order: bool) -> Option<Failure> {
        let lines = match &self.expected {
            Expectations::Any => Vec::new(),
            Expectations::Count(count) if *count == self.came.len() => Vec::new(),
            Expectations::Count(count) => {
                vec![format!("{count} expected, {} came", self.came.len())]
            }
            Expectations::Each(expected) => self.compare(expected, in_order),
        };
        (!lines.is_empty()).then(|| Failure {
            title: self.title.clone(),
            lines: shortened(lines),
        })
    }

    fn compare(&self, expected: &[Box<dyn Expectation + 'a>], in_order: bool) -> Vec<String> {
        let fits = |wanted: usize, found: usize| {
            expected[wanted].differences(&self.came[found]).is_empty()
        };
        let pairs = assign(expected.len(), self.came.len(), in_order, fits);
        let mut extra: Vec<usize> = (0..self.came.len())
            .filter(|found| !pairs.contains(&Some(*found)))
            .collect();
        let missing: Vec<usize> = (0..expected.len())
            .filter(|wanted| pairs[*wanted].is_none())
            .collect();
        let is_only_one = missing.len() == 1 && extra.len() == 1;
        let mut lines = Vec::new();
        for wanted in missing {
            let expectation = expected[wanted].as_ref();
            let is_like = |differences: &[Difference]| {
                is_only_one || differences.len() < expectation.demands().max(2)
            };
            match self.nearest(expectation, &extra) {
                Some((place, differences)) if differences.is_empty() => {
                    let (wanted, found) = (wanted + 1, extra.remove(place) + 1);
                    lines.push(format!(
                        "event {wanted} came out of order, as number {found}:"
                    ));
                    lines.push(format!("    {}", expectation.written()));
                }
                Some((place, differences)) if is_like(&differences) => {
                    let found = extra.remove(place);
                    lines.push(format!("event {} differs:", wanted + 1));
                    lines.extend(told(&differences));
                    lines.push(format!("    of {}", self.came[found].line));
                }
                _ => lines.push(format!("missing:      {}", expectation.written())),
            }
        }
        let extra = extra.iter().map(|found| &self.came[*found].line);
        lines.extend(extra.map(|line| format!("not expected: {line}")));
        lines
    }

    /// Which of those that are left over is least different, and how it differs.
    fn nearest(
        &self,
        expectation: &dyn Expectation,
        extra: &[usize],
    ) -> Option<(usize, Vec<Difference>)> {
        let differences = extra
            .iter()
            .map(|found| expectation.differences(&self.came[*found]));
        differences
            .enumerate()
            .min_by_key(|(_, differences)| differences.len())
    }
}

impl<'a> Expectations<'a> {
    fn of<T>(
        expected: &'a Expected<T>,
        expectation: impl Fn(&'a T) -> Result<Box<dyn Expectation + 'a>, String>,
    ) -> Result<Self, String> {
        Ok(match expected {
            Expected::Any => Self::Any,
            Expected::Count(count) => Self::Count(*count),
            Expected::Each(items) => {
                Self::Each(items.iter().map(expectation).collect::<Result<_, _>>()?)
            }
        })
    }
}

fn told(differences: &[Difference]) -> Vec<String> {
    let width = differences
        .iter()
        .map(|one| one.path.len())
        .max()
        .unwrap_or_default();
    let told = |one: &Difference| {
        [
            format!("    {:width$}  expected {}", one.path, one.expected),
            format!("    {:width$}  came     {}", "", one.came),
        ]
    };
    differences.iter().flat_map(told).collect()
}

fn shortened(mut lines: Vec<String>) -> Vec<String> {
    let rest = lines.len().saturating_sub(LINES_MAX);
    if rest > 0 {
        lines.truncate(LINES_MAX);
        lines.push(format!("and {rest} more lines"));
    }
    lines
}

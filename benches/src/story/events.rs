//! The events of a run: lines to be numbered, the groups of types that components want, and what each component must
//! answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use veltrix_actors::{Intake, detached_types};
use veltrix_story_system::expected_sum;

use super::setting::Setting;
use crate::generate_small;

/// Components, and groups of types. With fan-out `f`, component `c` wants the groups `c` to `c + f - 1`, round the end.
pub(crate) const COMPONENTS: usize = 6;
/// Lines that the built-in generator makes; they are repeated.
const BUILT_IN_LINES: u64 = 1_000;

/// A line of CloudEvents JSON around its id.
#[derive(Debug)]
pub(crate) struct Template {
    pub(crate) before_id: String,
    pub(crate) after_id: String,
    pub(crate) event_type: String,
    /// The group of its type.
    pub(crate) group: usize,
    data: String,
}

impl Template {
    /// Appends the event with this number.
    pub(crate) fn write(&self, number: u32, is_malformed: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before_id.as_bytes());
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        let rest = self.after_id.as_bytes();
        out.extend_from_slice(&rest[..rest.len() - usize::from(is_malformed)]);
    }

    /// Bytes of the event with this number.
    pub(crate) fn bytes(&self, number: u32, is_malformed: bool) -> usize {
        let digits = itoa::Buffer::new().format(number).len();
        self.before_id.len() + digits + self.after_id.len() - usize::from(is_malformed)
    }
}

/// All lines, and the types in their groups.
#[derive(Debug)]
pub(crate) struct Events {
    /// What they are, for the reader of the figures.
    pub(crate) name: String,
    pub(crate) templates: Vec<Template>,
    /// The types of each group.
    pub(crate) groups: [Vec<String>; COMPONENTS],
}

impl Events {
    /// The lines of a file, or of the built-in generator.
    pub(crate) fn load(data: Option<&Path>) -> anyhow::Result<Self> {
        let (name, text) = match data {
            Some(path) => {
                let text = fs::read_to_string(path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                (name.into_owned(), text)
            }
            None => (
                "built-in shop events".to_owned(),
                generate_small::events_of_many_types(BUILT_IN_LINES)?,
            ),
        };
        let mut templates = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            templates.push(template(line)?);
        }
        if templates.is_empty() {
            bail!("{name} has no events");
        }
        let groups = group_types(&mut templates);
        Ok(Self {
            name,
            templates,
            groups,
        })
    }

    /// Mean bytes of a line.
    pub(crate) fn mean_bytes(&self) -> usize {
        let sum: usize = self
            .templates
            .iter()
            .map(|line| line.bytes(10_000, false))
            .sum();
        sum / self.templates.len()
    }

    /// What each component answers to each line.
    pub(crate) fn expected_sums(&self, setting: &Setting) -> Vec<[u64; COMPONENTS]> {
        let rounds = setting.rounds;
        self.templates
            .iter()
            .map(|line| {
                if setting.is_passing {
                    return [passed_sum(line.after_id.as_bytes()); COMPONENTS];
                }
                std::array::from_fn(|component| {
                    let component = u8::try_from(component).expect("there are six");
                    expected_sum(line.data.as_bytes(), component, rounds)
                })
            })
            .collect()
    }
}

/// The sum of an event that is passed on: over all that comes after its id.
pub(crate) fn passed_sum(after_id: &[u8]) -> u64 {
    expected_sum(after_id, 0, 0)
}

/// The groups that a component wants.
pub(crate) fn groups_of(component: usize, fan_out: usize) -> impl Iterator<Item = usize> {
    (component..component + fan_out).map(|group| group % COMPONENTS)
}

/// Whether a component wants a group.
pub(crate) fn wants(component: usize, group: usize, fan_out: usize) -> bool {
    (group + COMPONENTS - component) % COMPONENTS < fan_out
}

fn template(line: &str) -> anyhow::Result<Template> {
    let mut intake = Intake::over(String::new());
    intake
        .push_line(line, &mut detached_types())
        .with_context(|| format!("no event: {line}"))?;
    let event = intake.event(0);
    // The id borrows from the line.
    let start = event.raw_id().as_ptr().addr() - event.line().as_ptr().addr();
    let end = start + event.raw_id().len();
    Ok(Template {
        before_id: event.line()[..start].to_owned(),
        after_id: event.line()[end..].to_owned(),
        event_type: event.event_type().into_owned(),
        group: 0,
        data: event.data().unwrap_or_default().to_owned(),
    })
}

/// Puts the types, the most frequent first, into the group that has the fewest events so far.
fn group_types(templates: &mut [Template]) -> [Vec<String>; COMPONENTS] {
    let mut counts = BTreeMap::<String, usize>::new();
    for line in &*templates {
        *counts.entry(line.event_type.clone()).or_default() += 1;
    }
    let mut types: Vec<_> = counts.into_iter().collect();
    types.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut groups: [Vec<String>; COMPONENTS] = Default::default();
    let mut sizes = [0; COMPONENTS];
    for (event_type, count) in types {
        let (group, _) = sizes
            .iter()
            .enumerate()
            .min_by_key(|(_, size)| **size)
            .expect("there are groups");
        sizes[group] += count;
        for line in templates.iter_mut() {
            if line.event_type == event_type {
                line.group = group;
            }
        }
        groups[group].push(event_type);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_wanted_by_as_many_components_as_the_fan_out_says() {
        for fan_out in 1..=COMPONENTS {
            for group in 0..COMPONENTS {
                let wanting = (0..COMPONENTS).filter(|component| wants(*component, group, fan_out));
                assert_eq!(wanting.count(), fan_out);
            }
            for component in 0..COMPONENTS {
                assert!(
                    groups_of(component, fan_out).all(|group| wants(component, group, fan_out))
                );
                assert_eq!(groups_of(component, fan_out).count(), fan_out);
            }
        }
    }

    #[test]
    fn a_numbered_event_is_the_line_with_another_id() {
        let line =
            template(r#"{"specversion":"1.0","id":"abc","source":"/s","type":"t"}"#).unwrap();
        let mut out = Vec::new();
        line.write(17, false, &mut out);
        assert_eq!(
            out,
            br#"{"specversion":"1.0","id":"17","source":"/s","type":"t"}"#
        );
        assert_eq!(line.bytes(17, false), out.len());
        out.clear();
        line.write(17, true, &mut out);
        assert!(veltrix_actors::check_line(std::str::from_utf8(&out).unwrap()).is_err());
        assert_eq!(line.bytes(17, true), out.len());
    }

    #[test]
    fn the_built_in_events_fill_every_group() {
        let events = Events::load(None).unwrap();
        assert!(events.groups.iter().all(|types| !types.is_empty()));
        let of_group = |group| {
            events
                .templates
                .iter()
                .filter(|line| line.group == group)
                .count()
        };
        assert!((0..COMPONENTS).all(|group| of_group(group) > 100));
    }
}

//! Compiles the options of a map into its plan, or says all that is wrong with them.

use super::MapOptions;
use super::plan::{MapPlan, SetRule};
use super::problems::{Problems, line_segments};
use super::rename::Rename;
use super::splice::{Action, Edits};
use crate::expression::{Compiler, Expression, Path, Scope, Slots};

impl MapPlan {
    /// Compiles a map; on failure, all problems as (key path, message).
    pub(crate) fn compile(
        options: &MapOptions,
        when: Option<&str>,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems = Problems::default();
        let mut compiler = Compiler::new(Scope::Event);
        let rename = Rename::compile(&options.rename, &mut problems);
        let when = when.and_then(|text| {
            compiler
                .compile(text)
                .map_err(|error| problems.add("when", error.to_string()))
                .ok()
        });
        let mut edits = Edits::default();
        let mut edited: Vec<Path> = Vec::new();
        let mut sets = Vec::new();
        for (target, text) in &options.set {
            let key = format!("set.{target}");
            let expression = compiler
                .compile(text)
                .map_err(|error| problems.add(key.as_str(), error.to_string()))
                .ok();
            let Some(path) = problems.editable(&key, target) else {
                continue;
            };
            if !apart(&key, &path, &edited, rename.as_ref(), &mut problems) {
                continue;
            }
            if let Some(expression) = expression {
                let action = Action::Put(sets.len());
                edits.add(
                    compiler.trie_mut(),
                    &line_segments(&path),
                    &path.to_string(),
                    action,
                );
                let attribute = (&*path.root != "data").then(|| path.root.clone());
                sets.push(SetRule {
                    key,
                    attribute,
                    expression,
                });
            }
            edited.push(path);
        }
        let mut removed_attributes = Vec::new();
        for (index, text) in options.remove.iter().enumerate() {
            let key = format!("remove[{index}]");
            let Some(path) = problems.editable_part(&key, text) else {
                continue;
            };
            if !apart(&key, &path, &edited, rename.as_ref(), &mut problems) {
                continue;
            }
            edits.add(
                compiler.trie_mut(),
                &line_segments(&path),
                &path.to_string(),
                Action::Remove,
            );
            if &*path.root != "data" {
                removed_attributes.push(path.root.clone());
            }
            edited.push(path);
        }
        let slots = compiler.finish();
        if let Some(rename) = &rename {
            refuse_stale_reads(rename, &slots, &mut problems);
        }
        if !problems.is_empty() {
            return Err(problems.into_found());
        }
        let edits_attributes = edited.iter().any(|path| &*path.root != "data");
        let mut expressions = when.iter().chain(sets.iter().map(|rule| &rule.expression));
        let looks_into_data =
            edits.touch(Compiler::DATA) || expressions.any(Expression::reads_paths);
        Ok(Self {
            rename,
            slots,
            when,
            sets,
            edits,
            removed_attributes,
            edits_attributes,
            looks_into_data,
        })
    }
}

/// Whether `path` may be edited beside the other edits and the renames; adds the problem if not.
fn apart(
    key: &str,
    path: &Path,
    edited: &[Path],
    rename: Option<&Rename>,
    problems: &mut Problems,
) -> bool {
    if let Some(other) = edited
        .iter()
        .find(|other| other.covers(path) || path.covers(other))
    {
        problems.add(
            key,
            format!("'{path}' overlaps '{other}', which is edited too"),
        );
        return false;
    }
    for (from, to) in rename.map_or(&[][..], |rename| &rename.moves) {
        if from.covers(path) && from != path {
            problems.add(
                key,
                format!("'{from}' is renamed to '{to}' before this: name the new path"),
            );
            return false;
        }
        if path.covers(to) && to != path {
            problems.add(
                key,
                format!("'{path}' would take the place of '{to}', which rename has just written"),
            );
            return false;
        }
    }
    true
}

/// Expressions that read what has been renamed away would only ever find it missing.
fn refuse_stale_reads(rename: &Rename, slots: &Slots, problems: &mut Problems) {
    for read in slots.paths().filter_map(|name| name.parse::<Path>().ok()) {
        if let Some((from, to)) = rename.moves.iter().find(|(from, _)| from.covers(&read)) {
            problems.add(
                format!("rename.{from}"),
                format!("an expression reads '{read}', but expressions see the event after rename: read '{to}'"),
            );
        }
    }
}

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
        let mut draft = Draft::new(&options.rename);
        let when = when.and_then(|text| draft.condition(text));
        for (target, text) in &options.set {
            draft.set(target, text);
        }
        for (index, text) in options.remove.iter().enumerate() {
            draft.remove(index, text);
        }
        draft.finish(when)
    }
}

/// A plan in the making.
struct Draft {
    problems: Problems,
    compiler: Compiler,
    rename: Option<Rename>,
    edits: Edits,
    /// What is edited so far.
    edited: Vec<Path>,
    sets: Vec<SetRule>,
    removed_attributes: Vec<Box<str>>,
}

impl Draft {
    fn new(rename: &[(String, String)]) -> Self {
        let mut problems = Problems::default();
        Self {
            rename: Rename::compile(rename, &mut problems),
            problems,
            compiler: Compiler::new(Scope::Event),
            edits: Edits::default(),
            edited: Vec::new(),
            sets: Vec::new(),
            removed_attributes: Vec::new(),
        }
    }

    fn condition(&mut self, text: &str) -> Option<Expression> {
        let compiled = self.compiler.compile_condition(text);
        compiled
            .map_err(|error| self.problems.add("when", error.to_string()))
            .ok()
    }

    fn expression(&mut self, key: &str, text: &str) -> Option<Expression> {
        let compiled = self.compiler.compile_value(text);
        compiled
            .map_err(|error| self.problems.add(key, error.to_string()))
            .ok()
    }

    fn set(&mut self, target: &str, text: &str) {
        let key = format!("set.{target}");
        // Both are looked at, so that both are reported.
        let expression = self.expression(&key, text);
        let Some(path) = self.problems.editable(&key, target) else {
            return;
        };
        if !self.is_apart(&key, &path) {
            return;
        }
        if let Some(expression) = expression {
            self.edit(&path, Action::Put(self.sets.len()));
            self.sets.push(SetRule {
                key,
                attribute: (&*path.root != "data").then(|| path.root.clone()),
                expression,
            });
        }
        self.edited.push(path);
    }

    fn remove(&mut self, index: usize, text: &str) {
        let key = format!("remove[{index}]");
        let Some(path) = self.problems.editable_part(&key, text) else {
            return;
        };
        if !self.is_apart(&key, &path) {
            return;
        }
        self.edit(&path, Action::Remove);
        if &*path.root != "data" {
            self.removed_attributes.push(path.root.clone());
        }
        self.edited.push(path);
    }

    fn edit(&mut self, path: &Path, action: Action) {
        let trie = self.compiler.trie_mut();
        self.edits
            .add(trie, &line_segments(path), &path.to_string(), action);
    }

    fn is_apart(&mut self, key: &str, path: &Path) -> bool {
        apart(
            key,
            path,
            &self.edited,
            self.rename.as_ref(),
            &mut self.problems,
        )
    }

    fn finish(mut self, when: Option<Expression>) -> Result<MapPlan, Vec<(String, String)>> {
        let slots = self.compiler.finish();
        if let Some(rename) = &self.rename {
            refuse_stale_reads(rename, &slots, &mut self.problems);
        }
        if !self.problems.is_empty() {
            return Err(self.problems.into_found());
        }
        let edits_attributes = self.edited.iter().any(|path| &*path.root != "data");
        let mut expressions = when
            .iter()
            .chain(self.sets.iter().map(|rule| &rule.expression));
        let looks_into_data =
            self.edits.touch(Compiler::DATA) || expressions.any(Expression::reads_paths);
        Ok(MapPlan {
            rename: self.rename,
            slots,
            when,
            sets: self.sets,
            edits: self.edits,
            removed_attributes: self.removed_attributes,
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

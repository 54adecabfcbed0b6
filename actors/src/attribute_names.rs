//! The names of an event's further attributes, to find duplicates without an allocation.

use std::borrow::Cow;

/// A few distinct names; an event with no more of them than usual allocates nothing.
#[derive(Default)]
pub(crate) struct Names<'a> {
    first: [Option<Cow<'a, str>>; 6],
    rest: Vec<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Keeps the name, or gives it back if it is known.
    pub(crate) fn insert(&mut self, name: Cow<'a, str>) -> Result<(), Cow<'a, str>> {
        for slot in &mut self.first {
            match slot {
                None => {
                    *slot = Some(name);
                    return Ok(());
                }
                Some(known) if *known == name => return Err(name),
                Some(_) => {}
            }
        }
        if self.rest.contains(&name) {
            return Err(name);
        }
        self.rest.push(name);
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first[0].is_none()
    }
}

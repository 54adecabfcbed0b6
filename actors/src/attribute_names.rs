//! The names of an event's further attributes, to find duplicates: an event with no more of them than usual allocates nothing.

use std::borrow::Cow;

/// Names that are kept without an allocation.
const INLINE: usize = 6;

/// The names, in the order in which they came.
#[derive(Default)]
pub(crate) struct AttributeNames<'a> {
    inline: [Option<Cow<'a, str>>; INLINE],
    rest: Vec<Cow<'a, str>>,
    len: usize,
}

impl<'a> AttributeNames<'a> {
    pub(crate) fn push(&mut self, name: Cow<'a, str>) {
        match self.inline.get_mut(self.len) {
            Some(slot) => *slot = Some(name),
            None => self.rest.push(name),
        }
        self.len += 1;
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        let kept = self.inline[..self.len.min(INLINE)].iter().flatten();
        kept.chain(&self.rest).any(|kept| kept == name)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_name_however_many_there_are() {
        let mut names = AttributeNames::default();
        for number in 0..20 {
            let name = format!("n{number}");
            assert!(!names.contains(&name));
            names.push(name.clone().into());
            assert!(names.contains(&name) && names.contains("n0"));
        }
        assert_eq!(names.len(), 20);
    }
}

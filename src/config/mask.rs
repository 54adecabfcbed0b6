//! Secrets in what others say, who may repeat what they were told: answers of receivers, what a child writes to its log.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// Characters of the shortest text that is hidden: shorter ones stand in any text by chance.
const HIDDEN_CHARS_MIN: usize = 4;
const MASK: &str = "***";

/// Texts that are not to be shown.
#[derive(Clone, Default)]
pub(crate) struct Mask(Arc<[String]>);

impl Mask {
    /// Hides these, and each word of them: the token of `Bearer TOKEN` as well.
    pub(crate) fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let words = |secret: &'a str| std::iter::once(secret).chain(secret.split_whitespace());
        let mut hidden: Vec<_> = secrets
            .into_iter()
            .flat_map(words)
            .filter(|text| text.chars().count() >= HIDDEN_CHARS_MIN && *text != "Bearer")
            .map(str::to_owned)
            .collect();
        // A part of another one would leave the other's rest.
        hidden.sort_by_key(|text| std::cmp::Reverse(text.len()));
        Self(hidden.into())
    }

    /// The text without them.
    pub(crate) fn hide<'t>(&self, text: impl Into<Cow<'t, str>>) -> Cow<'t, str> {
        let hide = |text: Cow<'t, str>, secret: &String| match text.contains(secret) {
            true => Cow::Owned(text.replace(secret, MASK)),
            false => text,
        };
        self.0.iter().fold(text.into(), hide)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_and_its_words_are_hidden_wherever_they_stand() {
        let mask = Mask::of(["Bearer hunter2", "x", "hunter", "two words"]);
        let shown = mask.hide("Bearer hunter2 hunter2! x=hunter a Bearer: words");
        assert_eq!(shown, "*** ***! x=*** a Bearer: ***");
        assert_eq!(mask.hide("nothing"), "nothing");
        assert_eq!(format!("{mask:?}"), "***");
    }
}

//! Type patterns: what a handler's `on` says about the event types it wants.

use std::fmt;

/// The forms that a pattern may take, as every pattern error names them.
const VALID_FORMS: &str = "valid forms are `order.created` (one type), `order.*.paid` (`*` stands for one whole segment) \
                           and `order.>` (`>` stands for all the rest and comes last)";

/// A pattern over dot-separated event types.
///
/// `*` stands for exactly one whole segment, `>` for one or more segments at the end; nothing else is special.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TypePattern {
    text: Box<str>,
}

/// One segment of a [`TypePattern`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Segment<'a> {
    /// Matches the same text, case by case.
    Literal(&'a str),
    /// `*`: matches any one segment.
    Any,
    /// `>`: matches all that is left, at least one segment. Always the last segment.
    Rest,
}

/// Why a text is not a type pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The text is empty.
    #[error("a type pattern cannot be empty; {VALID_FORMS}")]
    Empty,
    /// Two dots follow one another, or a dot stands at an end.
    #[error("type pattern `{pattern}` has an empty segment; {VALID_FORMS}")]
    EmptySegment {
        /// The whole pattern.
        pattern: String,
    },
    /// `*` or `>` is only a part of a segment, as in `issue*`.
    #[error(
        "type pattern `{pattern}`: in segment `{segment}` the wildcard is not a whole segment; {VALID_FORMS}"
    )]
    PartialWildcard {
        /// The whole pattern.
        pattern: String,
        /// The segment at fault.
        segment: String,
    },
    /// `>` stands before the last segment.
    #[error("type pattern `{pattern}`: `>` may only be the last segment; {VALID_FORMS}")]
    RestNotLast {
        /// The whole pattern.
        pattern: String,
    },
}

impl TypePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A [`PatternError`], whose text names the valid forms.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        let mut segments = text.split('.').peekable();
        while let Some(segment) = segments.next() {
            let pattern = || text.to_owned();
            match segment {
                "" => return Err(PatternError::EmptySegment { pattern: pattern() }),
                "*" => {}
                ">" if segments.peek().is_none() => {}
                ">" => return Err(PatternError::RestNotLast { pattern: pattern() }),
                part if part.contains(['*', '>']) => {
                    let segment = part.to_owned();
                    return Err(PatternError::PartialWildcard {
                        pattern: pattern(),
                        segment,
                    });
                }
                _ => {}
            }
        }
        Ok(Self { text: text.into() })
    }

    /// The segments in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.text.split('.').map(|segment| match segment {
            "*" => Segment::Any,
            ">" => Segment::Rest,
            literal => Segment::Literal(literal),
        })
    }

    /// Whether `event_type` is one that the pattern stands for.
    pub fn matches(&self, event_type: &str) -> bool {
        let mut parts = event_type.split('.');
        for segment in self.segments() {
            match (segment, parts.next()) {
                (Segment::Rest, part) => return part.is_some(),
                (Segment::Any, Some(_)) => {}
                (Segment::Literal(literal), Some(part)) if literal == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// Whether it stands for one type only.
    pub fn is_one_type(&self) -> bool {
        self.segments()
            .all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// Whether it matches every type that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        let mut others = other.segments();
        for segment in self.segments() {
            match (segment, others.next()) {
                (Segment::Rest, covered) => return covered.is_some(),
                (Segment::Any, Some(Segment::Literal(_) | Segment::Any)) => {}
                (Segment::Literal(wanted), Some(Segment::Literal(text))) if wanted == text => {}
                _ => return false,
            }
        }
        others.next().is_none()
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for TypePattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, event_type: &str) -> bool {
        TypePattern::parse(pattern).unwrap().matches(event_type)
    }

    #[test]
    fn a_pattern_covers_what_matches_nothing_else() {
        let covers = |a: &str, b: &str| {
            TypePattern::parse(a)
                .unwrap()
                .covers(&TypePattern::parse(b).unwrap())
        };
        for (a, b) in [
            (">", "a"),
            (">", "a.*"),
            (">", ">"),
            ("a.>", "a.b"),
            ("a.>", "a.*.c"),
            ("a.>", "a.>"),
            ("a.*", "a.b"),
            ("*.*", "a.*"),
            ("*.>", "a.>"),
            ("a", "a"),
        ] {
            assert!(covers(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("a", "*"),
            ("a.*", "a.>"),
            ("a.>", "a"),
            ("a.>", ">"),
            ("*.>", ">"),
            ("a.*", "a.b.c"),
            ("a.b", "a.*"),
            ("a.*.c", "a.>"),
        ] {
            assert!(!covers(a, b), "{a} {b}");
        }
    }

    #[test]
    fn a_literal_matches_only_itself() {
        assert!(matches("order.created", "order.created"));
        assert!(!matches("order.created", "order.Created"));
        assert!(!matches("order.created", "order"));
        assert!(!matches("order.created", "order.created.v2"));
    }

    #[test]
    fn a_star_stands_for_exactly_one_segment() {
        assert!(matches("order.*.amended", "order.item.amended"));
        assert!(!matches("order.*.amended", "order.amended"));
        assert!(!matches("order.*.amended", "order.a.b.amended"));
        assert!(matches("*", "order"));
        assert!(!matches("*", "order.created"));
    }

    #[test]
    fn a_rest_stands_for_one_or_more_segments() {
        assert!(matches("com.github.>", "com.github.push"));
        assert!(matches("com.github.>", "com.github.issues.opened"));
        assert!(!matches("com.github.>", "com.github"));
        assert!(matches(">", "anything.at.all"));
        assert!(matches("*.>", "a.b"));
    }

    #[test]
    fn what_is_not_a_pattern_is_refused_with_the_valid_forms() {
        let cases = [
            ("", PatternError::Empty),
            (
                "a..b",
                PatternError::EmptySegment {
                    pattern: "a..b".into(),
                },
            ),
            (
                ".a",
                PatternError::EmptySegment {
                    pattern: ".a".into(),
                },
            ),
            (
                "a.",
                PatternError::EmptySegment {
                    pattern: "a.".into(),
                },
            ),
            (
                "com.github.issue*",
                PatternError::PartialWildcard {
                    pattern: "com.github.issue*".into(),
                    segment: "issue*".into(),
                },
            ),
            (
                "a.**",
                PatternError::PartialWildcard {
                    pattern: "a.**".into(),
                    segment: "**".into(),
                },
            ),
            (
                "a.>.b",
                PatternError::RestNotLast {
                    pattern: "a.>.b".into(),
                },
            ),
        ];
        for (text, expected) in cases {
            let error = TypePattern::parse(text).unwrap_err();
            assert_eq!(error, expected);
            assert!(error.to_string().contains("`order.*.paid`"), "{error}");
        }
    }

    #[test]
    fn segments_and_display_give_the_pattern_back() {
        let pattern = TypePattern::parse("a.*.>").unwrap();
        assert_eq!(
            pattern.segments().collect::<Vec<_>>(),
            [Segment::Literal("a"), Segment::Any, Segment::Rest]
        );
        assert_eq!(pattern.to_string(), "a.*.>");
    }
}

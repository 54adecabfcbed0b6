//! "Did you mean": the known name nearest to a misspelt one.

/// Longest text that is compared; a longer one is no typing mistake.
const MAX_LENGTH: usize = 64;

/// The candidate that a misspelling most likely stands for.
pub(crate) fn nearest<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = fold(wrong);
    let allowed = (wrong.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&wrong, &fold(candidate)), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The help of an unknown name: the nearest candidate if there is one, then all.
pub(crate) fn help(wrong: &str, noun: &str, candidates: &[&str]) -> String {
    let valid = match candidates {
        [] => format!("there are no {noun}"),
        [one] => format!("there is only `{one}`"),
        many => format!("{noun} are {}", list(many)),
    };
    match nearest(wrong, candidates.iter().copied()) {
        Some(only) if candidates.len() == 1 => format!("did you mean `{only}`?"),
        Some(candidate) => format!("did you mean `{candidate}`? {valid}"),
        None => valid,
    }
}

/// "`a`, `b` and `c`".
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        other => other.join(""),
    }
}

fn fold(text: &str) -> String {
    text.chars()
        .take(MAX_LENGTH)
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Edit distance in which two swapped neighbours count as one mistake (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
    let mut rows = [
        vec![0; b.len() + 1],
        (0..=b.len()).collect::<Vec<_>>(),
        vec![0; b.len() + 1],
    ];
    for i in 1..=a.len() {
        let [before, above, row] = &mut rows;
        row[0] = i;
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        rows.rotate_left(1);
    }
    rows[1][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits_and_swaps() {
        for (a, b, expected) in [
            ("", "", 0),
            ("lanes", "lanes", 0),
            ("lenes", "lanes", 1),
            ("alnes", "lanes", 1),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = ["ledger", "audit", "screen"];
        assert_eq!(nearest("legder", known), Some("ledger"));
        assert_eq!(nearest("AUDIT", known), Some("audit"));
        assert_eq!(nearest("kafka", known), None);
        assert_eq!(
            nearest("drain-timeout", ["drain_timeout"]),
            Some("drain_timeout")
        );
    }

    #[test]
    fn help_names_all_choices() {
        assert_eq!(
            help("flie", "sink types", &["file", "http"]),
            "did you mean `file`? sink types are `file` and `http`"
        );
        assert_eq!(help("x", "sinks", &[]), "there are no sinks");
    }
}

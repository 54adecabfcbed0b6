//! Where events come in: one file or folder a kind of source.

pub(crate) mod file;
pub(crate) mod generate;
pub(crate) mod http;
mod listening;
pub(crate) mod stdin;
pub(crate) mod tcp;

#[cfg(test)]
mod testing;

/// An option with a wrong value: its key, and what is wrong.
pub(crate) type Problem = (String, String);

/// Keeps a limit on event sizes within what events can be held.
fn check_max_event(max_event: crate::config::ByteSize, problems: &mut Vec<Problem>) {
    const RANGE: std::ops::RangeInclusive<usize> = 1024..=1 << 29;
    if !RANGE.contains(&max_event.0) {
        let message = format!("`{max_event}` is out of range, give 1KiB to 512MiB");
        problems.push(("max_event".to_owned(), message));
    }
}

/// `Ok` of `value` unless there are problems.
fn unless<T>(problems: Vec<Problem>, value: T) -> Result<T, Vec<Problem>> {
    match problems.is_empty() {
        true => Ok(value),
        false => Err(problems),
    }
}

//! Writes into the newest segment of a dead process, behind its last record: what a torn write might have left there.
//!
//! Only there, since a process may have synced every record that is whole, and a disk keeps what was synced.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::dice::Dice;
use crate::journal::Journal;
use crate::layout::{last_record, next_record};

/// A torn write rarely leaves more.
const NOISE_BYTES: u64 = 4_096;

/// Noise, a record that was begun, or the end of the file, behind the last record; false if there is none.
pub(crate) fn mutilate(journal: &Journal, dice: &mut Dice) -> anyhow::Result<bool> {
    let Some((path, length)) = journal.segments()?.pop() else {
        return Ok(false);
    };
    let segment = std::fs::read(&path)?;
    let Some(last) = last_record(&segment) else {
        return Ok(false);
    };
    let file = OpenOptions::new().write(true).open(&path)?;
    let end = last.end as u64;
    match dice.below(3) {
        0 => {
            let count = 1 + dice.below(NOISE_BYTES);
            let noise: Vec<u8> = (0..count).map(|_| dice.next() as u8).collect();
            file.write_all_at(&noise, end)?;
        }
        1 => {
            let mut begun = next_record(&segment, last);
            let count = 1 + dice.below(begun.len() as u64 - 1);
            begun.truncate(usize::try_from(count)?);
            file.write_all_at(&begun, end)?;
        }
        _ => file.set_len(end + dice.below(length.saturating_sub(end) + 1))?,
    }
    Ok(true)
}

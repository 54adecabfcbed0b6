//! The judge, a pure function over what clients noted and what arrived at a sink.
//!
//! **Order.** A client sends a key's events one after the other, the next one only after the one before was answered, or
//! its process was dead. So the *first* arrivals of a key's events come in the order of their numbers, whatever comes
//! again later. An event that was given up while the process lived has no place in that order.
//!
//! **Duplicates.** An event may arrive as often as it was sent without being refused. What arrives beyond that is a
//! duplicate, of which the crashes so far allow a number each.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::arrivals::Arrivals;
use crate::client::Note;

/// Events that are named in a violation.
const SHOWN: usize = 5;

/// What is allowed at one sink.
#[derive(Clone, Debug, Default)]
pub(crate) struct Allowed {
    /// Duplicates that each crash allows, by the epoch of the process after it. `None`: any number.
    pub(crate) duplicates: Option<BTreeMap<u16, u64>>,
}

/// What was found at one sink.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Finding {
    /// Events that were acknowledged and go to this sink.
    pub(crate) acked: u64,
    /// Events that were sent, go to this sink, and were never answered.
    pub(crate) unknown: u64,
    /// Deliveries.
    pub(crate) arrived: u64,
    /// Of `unknown`, those that arrived.
    pub(crate) unknown_arrived: u64,
    /// By the epoch of the process that delivered them.
    pub(crate) duplicates: BTreeMap<u16, u64>,
    /// Of those, the ones that all their sinks had got before: what the cursor was behind.
    pub(crate) done_before: BTreeMap<u16, u64>,
    /// Arrivals of an older event of a key after a newer one, where both had come before.
    pub(crate) repeats_out_of_turn: u64,
    /// What must not be.
    pub(crate) violations: Vec<String>,
}

/// Compares what arrived at a sink with what was noted.
pub(crate) fn check(
    notes: &[Vec<Note>],
    arrivals: &Arrivals,
    goes_there: impl Fn(u16) -> bool,
    allowed: &Allowed,
) -> Finding {
    let mut finding = Finding {
        arrived: arrivals.whole.len() as u64 + arrivals.broken,
        ..Finding::default()
    };
    if arrivals.broken > 0 {
        let shown = arrivals.shown.join("\n    ");
        finding
            .violations
            .push(format!("{} broken events:\n    {shown}", arrivals.broken));
    }
    let counts = count(notes, arrivals, &goes_there, &mut finding);
    check_lost(notes, &counts, &goes_there, &mut finding);
    check_order(notes, arrivals, &mut finding);
    check_duplicates(allowed, &mut finding);
    finding
}

/// How often each event arrived.
fn count(
    notes: &[Vec<Note>],
    arrivals: &Arrivals,
    goes_there: impl Fn(u16) -> bool,
    finding: &mut Finding,
) -> Vec<Vec<u32>> {
    let mut counts: Vec<Vec<u32>> = notes.iter().map(|own| vec![0; own.len()]).collect();
    let mut strange = Vec::new();
    for arrival in &arrivals.whole {
        let own = notes.get(usize::from(arrival.client));
        let note = own.and_then(|own| own.get(arrival.number as usize));
        let Some(note) = note.filter(|note| goes_there(note.key)) else {
            strange.push(name(arrival.client, arrival.number));
            continue;
        };
        let count = &mut counts[usize::from(arrival.client)][arrival.number as usize];
        *count += 1;
        if *count > u32::from(note.sent).max(1) {
            *finding.duplicates.entry(arrival.epoch).or_default() += 1;
        }
    }
    if !strange.is_empty() {
        let what = format!("{} that were not sent there", strange.len());
        finding.violations.push(shown(&what, &strange));
    }
    counts
}

fn check_lost(
    notes: &[Vec<Note>],
    counts: &[Vec<u32>],
    goes_there: impl Fn(u16) -> bool,
    finding: &mut Finding,
) {
    let mut lost = Vec::new();
    for (client, (own, counts)) in notes.iter().zip(counts).enumerate() {
        for (number, (note, count)) in own.iter().zip(counts).enumerate() {
            match (goes_there(note.key), note.is_acked) {
                (false, _) => {}
                (true, true) => {
                    finding.acked += 1;
                    if *count == 0 {
                        let event = name(client as u16, number as u32);
                        lost.push(format!("{event} (process {})", note.epoch));
                    }
                }
                (true, false) => {
                    finding.unknown += 1;
                    finding.unknown_arrived += u64::from(*count > 0);
                }
            }
        }
    }
    if !lost.is_empty() {
        let what = format!("{} acknowledged events lost", lost.len());
        finding.violations.push(shown(&what, &lost));
    }
}

fn check_order(notes: &[Vec<Note>], arrivals: &Arrivals, finding: &mut Finding) {
    let mut seen: Vec<Vec<bool>> = notes.iter().map(|own| vec![false; own.len()]).collect();
    /// The newest event of a key that has arrived, and the one that came last.
    #[derive(Clone, Copy)]
    struct Key {
        newest: u32,
        last: u32,
    }
    let mut keys: BTreeMap<(u16, u16), Key> = BTreeMap::new();
    let mut late = Vec::new();
    for arrival in &arrivals.whole {
        let client = usize::from(arrival.client);
        let number = arrival.number as usize;
        let Some(note) = notes.get(client).and_then(|own| own.get(number)) else {
            continue;
        };
        let is_first = !std::mem::replace(&mut seen[client][number], true);
        if note.is_loose {
            continue;
        }
        let fresh = Key {
            newest: arrival.number,
            last: arrival.number,
        };
        let key = keys.entry((arrival.client, note.key)).or_insert(fresh);
        if is_first && arrival.number < key.newest {
            let after = name(arrival.client, key.newest);
            let event = name(arrival.client, arrival.number);
            late.push(format!(
                "{event} (process {}) after {after} of its key k{}",
                arrival.epoch, note.key
            ));
        }
        finding.repeats_out_of_turn += u64::from(!is_first && arrival.number < key.last);
        key.newest = key.newest.max(arrival.number);
        key.last = arrival.number;
    }
    if !late.is_empty() {
        let what = format!("{} out of order within their key", late.len());
        finding.violations.push(shown(&what, &late));
    }
}

fn check_duplicates(allowed: &Allowed, finding: &mut Finding) {
    let Some(bounds) = &allowed.duplicates else {
        return;
    };
    let epochs: BTreeSet<u16> = bounds
        .keys()
        .chain(finding.duplicates.keys())
        .copied()
        .collect();
    let at = |counts: &BTreeMap<u16, u64>, epoch| counts.get(&epoch).copied().unwrap_or_default();
    let mut left = 0;
    for epoch in epochs {
        // What one process took from its journal again may wait on disk for a sink, and be the next one's to deliver.
        left += at(bounds, epoch);
        let count = at(&finding.duplicates, epoch);
        if count > left {
            finding.violations.push(format!(
                "process {epoch} delivered {count} events again, at most {left} are allowed"
            ));
        }
        left = left.saturating_sub(count);
    }
}

/// Of the duplicates at a sink, those of events that all sinks of theirs had got before the crash, by epoch: delivered, and
/// not yet known to the cursor. `everywhere` has, by client and number, the epoch in which the last sink got an event.
pub(crate) fn done_before(
    notes: &[Vec<Note>],
    arrivals: &Arrivals,
    everywhere: &[Vec<Option<u16>>],
) -> BTreeMap<u16, u64> {
    let mut seen: Vec<Vec<u32>> = notes.iter().map(|own| vec![0; own.len()]).collect();
    let mut done = BTreeMap::new();
    for arrival in &arrivals.whole {
        let (client, number) = (usize::from(arrival.client), arrival.number as usize);
        let Some(note) = notes.get(client).and_then(|own| own.get(number)) else {
            continue;
        };
        let count = &mut seen[client][number];
        *count += 1;
        let is_again = *count > u32::from(note.sent).max(1);
        if is_again && everywhere[client][number].is_some_and(|epoch| epoch < arrival.epoch) {
            *done.entry(arrival.epoch).or_default() += 1;
        }
    }
    done
}

/// What arrived at a sink, and which keys go there.
pub(crate) type Deliveries<'a> = (&'a Arrivals, fn(u16) -> bool);

/// By client and number, the epoch in which the last of its sinks first got an event; none if one never did.
pub(crate) fn everywhere(notes: &[Vec<Note>], sinks: &[Deliveries<'_>]) -> Vec<Vec<Option<u16>>> {
    let mut all: Vec<Vec<Option<u16>>> = notes.iter().map(|own| vec![Some(0); own.len()]).collect();
    for (arrivals, goes_there) in sinks {
        let mut firsts: Vec<Vec<Option<u16>>> =
            notes.iter().map(|own| vec![None; own.len()]).collect();
        for arrival in &arrivals.whole {
            let own = firsts.get_mut(usize::from(arrival.client));
            if let Some(first) = own.and_then(|own| own.get_mut(arrival.number as usize)) {
                first.get_or_insert(arrival.epoch);
            }
        }
        for ((all, firsts), notes) in all.iter_mut().zip(firsts).zip(notes) {
            for ((all, first), note) in all.iter_mut().zip(firsts).zip(notes) {
                if goes_there(note.key) {
                    *all = all.zip(first).map(|(all, first)| all.max(first));
                }
            }
        }
    }
    all
}

fn name(client: u16, number: u32) -> String {
    format!("c{client}-{number}")
}

fn shown(what: &str, events: &[String]) -> String {
    let first: Vec<&str> = events.iter().take(SHOWN).map(String::as_str).collect();
    let more = if events.len() > SHOWN { ", ..." } else { "" };
    format!("{what}: {}{more}", first.join(", "))
}

#[cfg(test)]
mod tests;

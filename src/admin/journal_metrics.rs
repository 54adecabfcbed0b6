//! The journal's metrics, where there is one.

use super::Observed;
use super::open_metrics::{Page, one};

pub(super) fn journal(page: &mut Page, observed: &Observed) {
    let journal = &observed.registry.journal;
    if !journal.is_open() {
        return;
    }
    page.counter(
        "veltrix_journal_events",
        "Events written",
        one(journal.events.get()),
    );
    page.counter(
        "veltrix_journal_bytes",
        "Bytes of the events written",
        one(journal.bytes.get()),
    );
    page.counter(
        "veltrix_journal_refused",
        "Events refused because the journal had no room",
        one(journal.refused.get()),
    );
    page.gauge(
        "veltrix_journal_backlog",
        "Stored events to be read back and handled",
        one(journal.backlog.get()),
    );
    page.counter(
        "veltrix_journal_replayed",
        "Finished events that were sent once more",
        one(journal.replayed.get()),
    );
    page.gauge(
        "veltrix_journal_replaying",
        "1 while events are sent once more",
        one(u8::from(journal.is_replaying())),
    );
    page.gauge(
        "veltrix_journal_finished",
        "Stored events written down as finished; a crash has the others handled again",
        one(journal.finished()),
    );
    page.gauge(
        "veltrix_journal_full",
        "1 while the journal has no room",
        one(u8::from(journal.is_full())),
    );
    page.histogram(
        "veltrix_journal_sync_seconds",
        "Until a group of events was on disk",
        one(&journal.sync_time),
    );
}

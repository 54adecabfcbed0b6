//! The metrics of the dead letters that are kept.

use super::Observed;
use super::open_metrics::{Page, one};

pub(super) fn write(page: &mut Page, observed: &Observed) {
    let store = &observed.registry.dead_letter_store;
    page.gauge(
        "veltrix_dead_letters_kept",
        "Dead letters that are kept",
        one(store.kept()),
    );
    page.gauge(
        "veltrix_dead_letters_bytes",
        "What the dead letters that are kept take, in memory or on disk",
        one(store.bytes()),
    );
    page.gauge(
        "veltrix_dead_letters_full",
        "1 while there is no room for more dead letters",
        one(u8::from(store.is_full())),
    );
    page.gauge(
        "veltrix_dead_letters_replaying",
        "Dead letters of a replay that are not finished again",
        one(store.waiting_for_replay()),
    );
    page.counter(
        "veltrix_dead_letters_replayed",
        "Dead letters that were sent once more",
        one(store.replayed.get()),
    );
    page.counter(
        "veltrix_dead_letters_purged",
        "Dead letters that were purged",
        one(store.purged.get()),
    );
}

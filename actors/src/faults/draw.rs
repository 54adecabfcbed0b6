//! The dice: pure functions of the seed, the injection, the point and the event, the same on every machine.

use crate::event::Event;

/// FNV-1a, then a finalizer that spreads the bits: short ids that differ in one digit are nothing alike.
fn hash(start: u64, parts: &[&[u8]]) -> u64 {
    let mut hash = start ^ 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in *part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        // Between two parts, so that "a" + "bc" is not "ab" + "c".
        hash = (hash ^ 0xff).wrapping_mul(0x0100_0000_01b3);
    }
    mix(hash)
}

/// The finalizer of SplitMix64.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// What all draws of one injection at one point have in common.
pub(crate) fn salt(seed: u64, injection: usize, point: &str) -> u64 {
    hash(
        mix(seed),
        &[&(injection as u64).to_le_bytes(), point.as_bytes()],
    )
}

/// What an event is known by: its source and id.
pub(crate) fn identity(event: &Event<'_>) -> u64 {
    let (source, id) = (event.raw_source(), event.raw_id());
    hash(0, &[source.as_bytes(), id.as_bytes()])
}

/// The draw for one event.
pub(crate) fn draw(salt: u64, identity: u64) -> u64 {
    mix(salt ^ identity)
}

/// A further draw out of one.
pub(crate) fn further(draw: u64) -> u64 {
    mix(draw)
}

/// Whether a draw falls within a probability.
pub(crate) fn is_within(draw: u64, probability: f64) -> bool {
    // The upper 53 bits are what a double holds.
    ((draw >> 11) as f64) * (0.5f64).powi(53) < probability
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_same_in_every_version() {
        // A seed in a bug report must mean the same faults for whoever reads it.
        let salt = salt(42, 0, "handler.price-order");
        assert_eq!(salt, 0xfab9_b893_cb5e_7877);
    }

    #[test]
    fn the_bounds_are_never_and_always() {
        for number in 0..1_000 {
            let draw = draw(salt(1, 0, "router"), number);
            assert!(!is_within(draw, 0.0) && is_within(draw, 1.0));
        }
    }
}

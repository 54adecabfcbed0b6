//! Writes small shop events (about 215 bytes a line), the same for the same seed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

const CUSTOMERS: u64 = 10_000;
const BUFFER_BYTES: usize = 256 * 1024;

/// The types of the small events, drawn with equal weight.
pub(crate) const TYPES: [&str; 4] = [
    "order.created",
    "order.paid",
    "order.shipped",
    "order.returned",
];
/// The types of the events that the benchmark `story` makes for itself.
const MANY_TYPES: [&str; 12] = [
    "order.created",
    "order.paid",
    "order.shipped",
    "order.returned",
    "order.cancelled",
    "cart.filled",
    "cart.left",
    "payment.failed",
    "payment.refunded",
    "stock.low",
    "stock.filled",
    "customer.joined",
];

/// Write small shop events as CloudEvents, one a line.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many events.
    #[arg(long, default_value_t = 1_000_000)]
    count: u64,
    /// The file to write.
    #[arg(long)]
    out: PathBuf,
    /// The same seed gives the same file.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let bytes = write_events(&options.out, options.count, options.seed)?;
    let mean = bytes as f64 / options.count.max(1) as f64;
    println!(
        "{}: {} events, {bytes} bytes, {mean:.0} a line",
        options.out.display(),
        options.count
    );
    Ok(())
}

/// Writes `count` events to `path` and gives the bytes written.
pub(crate) fn write_events(path: &Path, count: u64, seed: u64) -> anyhow::Result<u64> {
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
    let mut draw = SplitMix64 { state: seed };
    let mut bytes = 0;
    let mut line = Vec::new();
    for number in 1..=count {
        line.clear();
        write_event(&mut line, number, &TYPES, &mut draw)?;
        bytes += line.len() as u64;
        out.write_all(&line)?;
    }
    out.flush()?;
    Ok(bytes)
}

/// The lines of `count` events.
pub(crate) fn lines(count: u64, seed: u64) -> anyhow::Result<Vec<String>> {
    let mut draw = SplitMix64 { state: seed };
    let line = |number| {
        let mut line = Vec::new();
        write_event(&mut line, number, &TYPES, &mut draw)?;
        Ok(String::from_utf8(line)?)
    };
    (1..=count).map(line).collect()
}

/// `count` events of twelve types, one a line.
pub(crate) fn events_of_many_types(count: u64) -> anyhow::Result<String> {
    let mut draw = SplitMix64 { state: 7 };
    let mut lines = Vec::new();
    for number in 1..=count {
        write_event(&mut lines, number, &MANY_TYPES, &mut draw)?;
    }
    Ok(String::from_utf8(lines)?)
}

fn write_event(
    line: &mut Vec<u8>,
    number: u64,
    types: &[&str],
    draw: &mut SplitMix64,
) -> std::io::Result<()> {
    let event_type = types[draw.below(types.len() as u64) as usize];
    let customer = draw.below(CUSTOMERS);
    let price_cents = 100 + draw.below(20_000);
    let quantity = 1 + draw.below(9);
    let amount_cents = price_cents * quantity;
    writeln!(
        line,
        r#"{{"specversion":"1.0","id":"{number:08}","source":"/shop/{shop}","type":"{event_type}","subject":"customer-{customer:08}","time":"2026-01-01T00:00:00Z","data":{{"order":"order-{number:08}","price":{price_cents},"quantity":{quantity},"amount":{amount_cents}}}}}"#,
        shop = customer % 10,
    )
}

/// Vigna's SplitMix64: enough for test data, and no dependency.
pub(crate) struct SplitMix64 {
    pub(crate) state: u64,
}

impl SplitMix64 {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_events(seed: u64) -> Vec<u8> {
        let mut draw = SplitMix64 { state: seed };
        let mut lines = Vec::new();
        for number in 1..=1000 {
            write_event(&mut lines, number, &TYPES, &mut draw).unwrap();
        }
        lines
    }

    #[test]
    fn the_same_seed_gives_the_same_events() {
        assert_eq!(some_events(7), some_events(7));
        assert_ne!(some_events(7), some_events(8));
    }

    #[test]
    fn events_are_small_and_of_every_type() {
        let text = String::from_utf8(some_events(7)).unwrap();
        let mean = text.len() / 1000;
        assert!((210..=220).contains(&mean), "{mean} bytes a line");
        for event_type in TYPES {
            let count = text
                .lines()
                .filter(|line| line.contains(event_type))
                .count();
            assert!((200..300).contains(&count), "{count} of {event_type}");
        }
    }
}

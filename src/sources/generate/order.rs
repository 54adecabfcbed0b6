//! What a generated event says. Each depends on the seed and its number alone, so that batches and restarts change nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Goods and their price in cents.
const GOODS: [(&str, u32); 8] = [
    ("tea-green-100g", 475),
    ("tea-black-250g", 890),
    ("coffee-500g", 1250),
    ("mug-blue", 999),
    ("kettle-1l", 3490),
    ("filter-paper-80", 320),
    ("honey-350g", 780),
    ("biscuits-200g", 265),
];
/// Customers of the shop.
const CUSTOMERS: u64 = 100;
/// Pieces in an order at most.
const QUANTITY_MAX: u64 = 5;

/// The shop's orders.
pub(super) struct Orders {
    seed: u64,
    /// Up to the type in each event's line, without the id: `{"specversion":"1.0","id":"demo-`.
    head: String,
    /// Each type's JSON text behind the source, and the sum of all weights up to it.
    types: Vec<(String, u64)>,
}

impl Orders {
    pub(super) fn new(name: &str, seed: u64, types: &BTreeMap<String, u32>) -> Self {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let source = quoted(&format!("/generate/{name}"));
        let mut sum = 0;
        let weighted = |(name, weight): (&String, &u32)| {
            sum += u64::from(*weight);
            (
                format!(r#"","source":{source},"type":{}"#, quoted(name)),
                sum,
            )
        };
        let id = quoted(&format!("{name}-"));
        Self {
            seed,
            head: format!(r#"{{"specversion":"1.0","id":{}"#, &id[..id.len() - 1]),
            types: types.iter().map(weighted).collect(),
        }
    }

    /// Appends the event with that number.
    pub(super) fn write(&self, number: u64, out: &mut String) {
        let mut random = Random(self.seed ^ number.wrapping_mul(0xd134_2543_de82_ef95));
        let all = self.types.last().map_or(1, |(_, sum)| *sum);
        let pick = random.below(all);
        let event_type = self.types.iter().find(|(_, sum)| pick < *sum);
        let customer = random.below(CUSTOMERS) + 1;
        let (sku, cents) = GOODS[random.below(GOODS.len() as u64) as usize];
        let quantity = random.below(QUANTITY_MAX) + 1;
        out.push_str(&self.head);
        out.push_str(itoa::Buffer::new().format(number));
        out.push_str(event_type.map_or("", |(text, _)| text));
        let written = write!(
            out,
            r#","subject":"c-{customer}","datacontenttype":"application/json","data":{{"order":{number},"customer":"c-{customer}","sku":"{sku}","price":{}.{:02},"quantity":{quantity}}}}}"#,
            cents / 100,
            cents % 100,
        );
        written.expect("a string takes everything");
    }
}

/// splitmix64 (Steele, Lea and Flood 2014): small, and good enough from any seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; the bias is below 2^-32 for the limits used here.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

//! What is sent: numbered events whose content follows from the seed, so that whoever sees one knows what it must be.

use crate::dice::Dice;

/// Text that payloads are cut from.
const TEXT_BYTES: usize = 128 * 1024;
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The events of all clients. A client has keys of its own, so that each key's order is one client's.
#[derive(Debug)]
pub(crate) struct Workload {
    seed: u64,
    clients: u16,
    keys: u16,
    /// The size that most payloads stay below; one in 50 has up to eight times as much, one in 1,000 up to 60 KiB.
    payload_bytes: usize,
    text: String,
}

impl Workload {
    /// Events of `clients` clients over `keys` keys.
    pub(crate) fn new(seed: u64, clients: u16, keys: u16, payload_bytes: usize) -> Self {
        assert!(keys >= clients, "each client has a key of its own");
        let mut dice = Dice::of(seed, 1);
        let letters = (0..TEXT_BYTES).map(|_| char::from(LETTERS[(dice.next() % 64) as usize]));
        Self {
            seed,
            clients,
            keys,
            payload_bytes,
            text: letters.collect(),
        }
    }

    /// How many clients there are.
    pub(crate) fn clients(&self) -> u16 {
        self.clients
    }

    fn dice(&self, client: u16, number: u32) -> Dice {
        let part = (u64::from(client) << 32 | u64::from(number)) + 2;
        Dice::of(self.seed, part)
    }

    /// The key of an event, one of its client's.
    pub(crate) fn key(&self, client: u16, number: u32) -> u16 {
        let own = (self.keys - client).div_ceil(self.clients);
        let choice = self.dice(client, number).below(u64::from(own)) as u16;
        client + choice * self.clients
    }

    /// The payload of an event.
    pub(crate) fn payload(&self, client: u16, number: u32) -> &str {
        let mut dice = self.dice(client, number);
        dice.next();
        let bytes_max = match dice.below(1_000) {
            0 => 60 * 1024,
            1..20 => self.payload_bytes * 8,
            _ => self.payload_bytes,
        };
        let length = dice.below(bytes_max.min(60 * 1024) as u64) as usize;
        let start = dice.below((TEXT_BYTES - length) as u64) as usize;
        &self.text[start..start + length]
    }

    /// Whether a key's events take the second hop as well: half of each client's keys.
    pub(crate) fn has_second_hop(key: u16) -> bool {
        key / 64 % 2 == 1
    }

    /// The type of a key's events.
    pub(crate) fn event_type(key: u16) -> &'static str {
        match Self::has_second_hop(key) {
            true => "load.twice",
            false => "load.once",
        }
    }

    /// An event as one line of JSON.
    pub(crate) fn event(&self, client: u16, number: u32) -> String {
        let key = self.key(client, number);
        let payload = self.payload(client, number);
        format!(
            r#"{{"specversion":"1.0","id":"c{client}-{number}","source":"/crash/c{client}","type":"{}","subject":"k{key}","data":{{"client":{client},"number":{number},"hash":"{:016x}","payload":"{payload}"}}}}"#,
            Self::event_type(key),
            hash(payload)
        )
    }
}

/// FNV-1a, for whoever looks at an event without the seed.
pub(crate) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_belongs_to_one_client() {
        let workload = Workload::new(7, 64, 1_000, 500);
        let mut seen = BTreeSet::new();
        for client in 0..64 {
            let keys: BTreeSet<u16> = (0..500).map(|n| workload.key(client, n)).collect();
            assert!(keys.iter().all(|key| key % 64 == client && *key < 1_000));
            seen.extend(keys);
        }
        assert_eq!(seen.len(), 1_000);
    }

    #[test]
    fn the_seed_decides_the_content() {
        let (one, same) = (Workload::new(7, 4, 10, 500), Workload::new(7, 4, 10, 500));
        let other = Workload::new(8, 4, 10, 500);
        let events = |workload: &Workload| (0..50).map(|n| workload.event(3, n)).collect();
        let lines: Vec<String> = events(&one);
        assert_eq!(lines, events(&same));
        assert_ne!(lines, events(&other));
    }
}

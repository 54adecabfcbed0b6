//! Invented events of a small shop, for demos, tests and load: the same for the same seed.

mod order;
mod pace;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::LocalBoxFuture;
use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{
    BATCH_EVENTS_MAX, DurabilityKind, Intake, Source, SourceFactory, SourcePort, StartError,
    TypeCache,
};

use super::{Problem, unless};
use order::Orders;
use pace::{Pace, Rate};

/// Seeded events with the orders of a small shop as data: `{"order":7,"customer":"c-17","sku":"tea-green-100g","price":4.75,"quantity":2}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GenerateOptions {
    /// Events per second, or `max` for as many as the handlers and sinks can take (default 10).
    #[serde(default)]
    rate: Rate,
    /// How many events, after which the source ends; without it, it has no end.
    count: Option<u64>,
    /// The same seed makes the same events (default 1).
    #[serde(default = "seed")]
    seed: u64,
    /// Event types and how often each comes in proportion to the others (default `order.created: 1`).
    #[serde(default = "types")]
    types: BTreeMap<String, u32>,
}

fn seed() -> u64 {
    1
}

fn types() -> BTreeMap<String, u32> {
    BTreeMap::from([("order.created".to_owned(), 1)])
}

/// Makes the source; one that is started again goes on with the next event.
pub(crate) struct GenerateFactory {
    orders: Arc<Orders>,
    rate: Rate,
    count: u64,
    /// Events made so far, over all starts.
    made: Arc<AtomicU64>,
}

/// Checks the options of the source called `name`.
pub(crate) fn prepare(
    options: GenerateOptions,
    name: &str,
) -> Result<GenerateFactory, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut problem =
        |key: &str, message: &str| problems.push((key.to_owned(), message.to_owned()));
    if let Rate::PerSecond(rate) = options.rate
        && !(rate > 0.0 && rate <= 1e9)
    {
        let message =
            format!("`{rate}` is no rate: give more than 0 and at most 1000000000, or `max`");
        problem("rate", &message);
    }
    if options.types.contains_key("") {
        problem("types", "an event type may not be empty");
    }
    if options.types.values().all(|weight| *weight == 0) {
        problem("types", "at least one type needs a weight of 1 or more");
    }
    unless(
        problems,
        GenerateFactory {
            orders: Arc::new(Orders::new(name, options.seed, &options.types)),
            rate: options.rate,
            count: options.count.unwrap_or(u64::MAX),
            made: Arc::default(),
        },
    )
}

impl SourceFactory for GenerateFactory {
    fn build(&self) -> Result<Box<dyn Source>, StartError> {
        Ok(Box::new(Generator {
            orders: self.orders.clone(),
            rate: self.rate,
            count: self.count,
            made: self.made.clone(),
        }))
    }

    fn durabilities(&self) -> &'static [DurabilityKind] {
        &[DurabilityKind::None, DurabilityKind::Journal]
    }
}

struct Generator {
    orders: Arc<Orders>,
    rate: Rate,
    count: u64,
    made: Arc<AtomicU64>,
}

impl Source for Generator {
    fn run(self: Box<Self>, port: SourcePort) -> LocalBoxFuture<'static, Result<(), StartError>> {
        Box::pin(async move {
            port.report_ready();
            let mut types = port.types();
            let mut pace = Pace::new(self.rate);
            loop {
                let first = self.made.load(Ordering::Relaxed);
                if first >= self.count {
                    return Ok(());
                }
                let due = tokio::select! {
                    biased;
                    () = port.draining() => return Ok(()),
                    due = pace.due(BATCH_EVENTS_MAX as u64) => due.min(self.count - first),
                };
                if !port.room().await {
                    return Ok(());
                }
                let intake = self.intake(first, due, &mut types)?;
                self.made.fetch_add(due, Ordering::Relaxed);
                port.stats().received.add(intake.len());
                port.submit(intake);
                pace.made(due);
            }
        })
    }
}

impl Generator {
    fn intake(&self, first: u64, count: u64, types: &mut TypeCache) -> Result<Intake, StartError> {
        let mut text = String::with_capacity(usize::try_from(count).unwrap_or(1) * 256);
        let mut ranges = Vec::new();
        for number in first..first + count {
            let start = text.len();
            self.orders.write(number + 1, &mut text);
            ranges.push(start..text.len());
        }
        let mut intake = Intake::over(text);
        for range in ranges {
            let parsed = intake.parse(range, types);
            parsed.map_err(|error| StartError(format!("a generated event is wrong: {error}")))?;
        }
        Ok(intake)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Harness;
    use super::*;

    fn factory(options: &str) -> Result<GenerateFactory, Vec<Problem>> {
        prepare(serde_json::from_str(options).expect("options"), "demo")
    }

    async fn lines(options: &str) -> Vec<String> {
        let harness = Harness::start(factory(options).expect("valid options"));
        let (result, lines) = harness.finish().await;
        assert_eq!(result, Ok(()));
        lines
    }

    #[actix::test]
    async fn a_seed_decides_all_but_the_time() {
        let options = r#"{"rate":"max","count":3000,"seed":7,"types":{"a":3,"b":1,"c":0}}"#;
        let fast = lines(options).await;
        assert_eq!(fast.len(), 3_000);
        assert_eq!(fast, lines(&options.replace("\"max\"", "100000")).await);
        assert_ne!(fast, lines(&options.replace("7", "8")).await);
        let of = |name: &str| fast.iter().filter(|line| line.contains(name)).count();
        assert_eq!(of(r#""type":"c""#), 0);
        assert!((2_100..2_400).contains(&of(r#""type":"a""#)));
    }

    #[actix::test]
    async fn a_drain_ends_an_endless_source_and_a_restart_goes_on() {
        let factory = Arc::new(factory(r#"{"rate":"max"}"#).expect("valid options"));
        let started = factory.clone();
        let mut harness = Harness::run(move |port| started.build().expect("built").run(port));
        harness.take(10).await;
        harness.stop().await;
        assert_eq!(harness.finish().await.0, Ok(()));
        let made = factory.made.load(Ordering::Relaxed);
        let mut harness = Harness::run(move |port| factory.build().expect("built").run(port));
        let next = harness.take(1).await.remove(0);
        assert!(
            next.contains(&format!(r#""id":"demo-{}""#, made + 1)),
            "{next}"
        );
        harness.stop().await;
    }

    #[test]
    fn wrong_options_are_named() {
        let problems = factory(r#"{"rate":0,"types":{"":0}}"#)
            .err()
            .expect("problems");
        let keys: Vec<_> = problems.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["rate", "types", "types"]);
        assert!(serde_json::from_str::<GenerateOptions>(r#"{"rate":"fast"}"#).is_err());
    }
}

//! `type: blackhole`: takes everything and keeps nothing; its events count as delivered.

use schemars::JsonSchema;
use serde::Deserialize;
use veltrix_actors::{AnySink, Event, FlushError, Sink, SinkFactory, StartError};

/// A blackhole has no options.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlackholeOptions {}

/// Makes blackholes.
#[derive(Debug)]
pub(crate) struct BlackholeFactory;

/// Validates the options of the sink called `name`; nothing can be wrong with them.
pub(crate) fn prepare(
    _options: BlackholeOptions,
    _name: &str,
) -> Result<BlackholeFactory, Vec<(String, String)>> {
    Ok(BlackholeFactory)
}

impl SinkFactory for BlackholeFactory {
    fn build(&self) -> Result<AnySink, StartError> {
        Ok(AnySink::Sync(Box::new(Blackhole)))
    }
}

/// Its actor counts what is delivered, so there is nothing to do here.
struct Blackhole;

impl Sink for Blackhole {
    fn append(&mut self, _: &Event<'_>) -> Result<(), String> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FlushError> {
        Ok(())
    }

    fn buffered_bytes(&self) -> usize {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use veltrix_actors::Trial;

    #[test]
    fn takes_everything_and_has_no_options() {
        let factory = prepare(serde_json::from_str("{}").unwrap(), "none").unwrap();
        let AnySink::Sync(mut sink) = factory.build().unwrap() else {
            panic!("it waits for nobody");
        };
        let line = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t"}"#;
        let batch = Trial::new("s", "h").batch(&[line]).unwrap();
        sink.append(&batch.event(0)).unwrap();
        sink.flush().unwrap();
        assert_eq!(sink.buffered_bytes(), 0);
        assert!(!factory.is_blocking());
        assert!(serde_json::from_str::<BlackholeOptions>(r#"{"a":1}"#).is_err());
    }
}

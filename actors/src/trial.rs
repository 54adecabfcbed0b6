//! A handler or a sink outside of a running process: what a component's own tests call it with.

use std::rc::Rc;
use std::sync::Arc;

use crate::batch::{EventBatch, Intake};
use crate::derive::Deriver;
use crate::envelope::EnvelopeError;
use crate::event::Event;
use crate::guard;
use crate::handler::{Handler, HandlerError, Refusal, Reply};
use crate::memory::MemoryBudget;
use crate::origin::Origin;
use crate::output::{Destination, LaneOutput, Output};
use crate::shipment::Shipment;
use crate::sink::{Consignment, Held};
use crate::sink_stats::SinkStats;
use crate::types::{TypeCache, TypeTable};
use crate::written::Written;

/// Makes events, and shows what a component would answer to them.
///
/// ```
/// use veltrix_actors::{Event, Handler, HandlerError, Output, Trial};
///
/// struct Flag;
/// impl Handler for Flag {
///     fn handle(&mut self, _: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
///         out.emit("payment.flagged", "true")
///     }
/// }
/// let mut trial = Trial::new("shop", "flag");
/// let event = r#"{"specversion":"1.0","id":"7","source":"/s","type":"payment"}"#;
/// let outcome = trial.handle(&mut Flag, event).expect("it answers");
/// assert!(outcome.lines[0].contains(r#""id":"7.flag.0""#));
/// ```
pub struct Trial {
    types: TypeCache,
    budget: Arc<MemoryBudget>,
    output: LaneOutput,
}

/// What a handler did with an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The results in order, each on its line.
    pub lines: Vec<String>,
    /// Set if the handler's condition does not hold.
    pub refusal: Option<Refusal>,
}

impl Trial {
    /// A trial of the handler called `handler` in the service called `service`; both are in the `source` of derived results.
    pub fn new(service: &str, handler: &str) -> Self {
        let table = Arc::new(TypeTable::default());
        let budget = MemoryBudget::new(usize::MAX);
        let deriver = Deriver::new(service, handler);
        Self {
            types: TypeCache::new(Arc::clone(&table)),
            output: LaneOutput::new(TypeCache::new(table), deriver, Arc::clone(&budget)),
            budget,
        }
    }

    /// A batch of these events.
    ///
    /// # Errors
    /// What makes the first bad line no event.
    pub fn batch(&mut self, lines: &[&str]) -> Result<EventBatch, EnvelopeError> {
        let mut intake = Intake::over(String::new());
        for line in lines {
            intake.push_line(line, &mut self.types)?;
        }
        let Intake { text, mut records } = intake;
        for (index, record) in records.iter_mut().enumerate() {
            record.index = u16::try_from(index).unwrap_or(u16::MAX);
        }
        let arena = Arc::new(crate::batch::Arena::new(text, &self.budget));
        let origin = Origin::of_results(records.len(), Vec::new());
        Ok(EventBatch::from_parts(records, arena, origin))
    }

    /// What a sink has written of these events, and where it is counted once it is done.
    ///
    /// # Errors
    /// What makes the first bad line no event.
    pub fn written(&mut self, lines: &[&str]) -> Result<(Written, Arc<SinkStats>), EnvelopeError> {
        let shipment = Shipment::new(self.batch(lines)?, Vec::new());
        let (events, stats) = (shipment.batch.len(), Arc::new(SinkStats::default()));
        stats.offer(events);
        let mut written = Written::nothing(Arc::clone(&stats));
        written.add(&shipment, 0..events);
        Ok((written, stats))
    }

    /// A delivery of these events.
    ///
    /// # Errors
    /// What makes the first bad line no event.
    pub fn consignment(&mut self, lines: &[&str]) -> Result<Consignment, EnvelopeError> {
        let held = Held::for_trial(self.batch(lines)?);
        let events = (0..held.batch().len()).map(|index| (Rc::clone(&held), index));
        Ok(Consignment {
            events: events.collect(),
        })
    }

    /// Has the handler handle one event, as a lane would once.
    ///
    /// # Errors
    /// The handler's error; a line that is no event and a panic are permanent ones.
    pub fn handle(
        &mut self,
        handler: &mut dyn Handler,
        line: &str,
    ) -> Result<Outcome, HandlerError> {
        self.run(line, |event, out| {
            guard::guard("handler", "trial", || handler.handle(event, out)).unwrap_or_else(
                |panic| {
                    Err(HandlerError::permanent(format!(
                        "the handler panicked: {panic}"
                    )))
                },
            )
        })
    }

    /// What a lane would make of an asynchronous handler's answer to one event.
    ///
    /// # Errors
    /// What keeps the reply's parts from being results.
    pub fn reply(&mut self, line: &str, reply: Reply) -> Result<Outcome, HandlerError> {
        self.run(line, |_, out| out.reply(reply))
    }

    fn run(
        &mut self,
        line: &str,
        work: impl FnOnce(&Event<'_>, &mut Output<'_>) -> Result<(), HandlerError>,
    ) -> Result<Outcome, HandlerError> {
        let batch = self
            .batch(&[line])
            .map_err(|error| HandlerError::permanent(error.to_string()))?;
        let mark = self.output.mark();
        let worked = work(&batch.event(0), &mut self.output.for_event(&batch, 0));
        let refusal = self.output.take_refusal();
        if let Err(error) = worked {
            self.output.truncate(mark);
            return Err(error);
        }
        let (emitted, arena) = self.output.take();
        let written = arena.as_ref().map_or("", |arena| arena.text());
        let lines = emitted.iter().map(|emitted| match emitted.to {
            Destination::Written => written[emitted.record.line_range()].to_owned(),
            _ => batch.event(0).line().to_owned(),
        });
        Ok(Outcome {
            lines: lines.collect(),
            refusal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handler::ReplyResult;

    const EVENT: &str = r#"{"specversion":"1.0","id":"7","source":"/s","type":"t","data":1}"#;

    struct Twice;

    impl Handler for Twice {
        fn handle(&mut self, event: &Event<'_>, out: &mut Output<'_>) -> Result<(), HandlerError> {
            assert_ne!(event.data(), Some("0"), "zero is no number");
            out.pass()?;
            out.emit("doubled", "2")
        }
    }

    #[test]
    fn shows_results_and_errors_of_a_handler() {
        let mut trial = Trial::new("shop", "twice");
        let outcome = trial.handle(&mut Twice, EVENT).unwrap();
        assert_eq!(outcome.lines[0], EVENT);
        assert!(outcome.lines[1].contains(r#""source":"/veltrix/shop/twice","type":"doubled""#));
        let error = trial
            .handle(&mut Twice, &EVENT.replace(":1}", ":0}"))
            .unwrap_err();
        assert!(error.to_string().contains("zero is no number"));
        assert_eq!(trial.handle(&mut Twice, EVENT).unwrap(), outcome);
    }

    #[test]
    fn shows_what_a_reply_becomes() {
        let mut trial = Trial::new("shop", "ask");
        let reply = Reply::Results(vec![ReplyResult::Pass]);
        assert_eq!(trial.reply(EVENT, reply).unwrap().lines, [EVENT]);
        let refused = trial.reply(EVENT, Reply::Refused(Refusal::Missing));
        assert_eq!(refused.unwrap().refusal, Some(Refusal::Missing));
        assert_eq!(trial.consignment(&[EVENT, EVENT]).unwrap().len(), 2);
    }
}

//! Reading back: what was stored goes on to the sink, in order, as far as the sink goes on.

use actix::prelude::{ActorFutureExt, AsyncContext, Context, Handler};

use super::{OverflowActor, signed};
use crate::read_back::{READS_PER_TURN_MAX, UNREADABLE};

/// Sent by the actor to itself: reads some batches back.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct ReadOn;

impl OverflowActor {
    /// Reads some stored batches back and hands them on, as long as they would not have to wait.
    fn read_on(&mut self, ctx: &mut Context<Self>) {
        self.is_reading = false;
        if !self.spec.budget.has_room() {
            let budget = self.spec.budget.clone();
            self.is_reading = true;
            let room = async move { budget.room().await };
            ctx.spawn(
                actix::fut::wrap_future::<_, Self>(room).map(|(), _, ctx| ctx.notify(ReadOn)),
            );
            return;
        }
        for _ in 0..READS_PER_TURN_MAX {
            let end = self.synced_end();
            let Some(log) = &mut self.log else { break };
            if log.read_back.next >= end || !self.outlet.has_room() {
                break;
            }
            let stored = self.stored.clone();
            match log.read_back.read(&mut *log.journal, end, |_, _| stored) {
                Ok(read) => {
                    let unreadable = usize::try_from(read.unreadable).unwrap_or(usize::MAX);
                    let events = usize::try_from(read.events).unwrap_or(usize::MAX);
                    for batch in read.batches {
                        self.outlet.append(batch);
                    }
                    self.sink
                        .overflow
                        .add(-signed(events.saturating_add(unreadable)));
                    if unreadable > 0 {
                        self.spec.registry.drop_by_rule(UNREADABLE, unreadable);
                        self.sink.refuse(unreadable);
                        self.stored.finish(unreadable);
                    }
                }
                Err(failure) => return self.fail(&failure.to_string(), ctx),
            }
        }
        self.outlet.flush();
        self.go_on(ctx);
    }

    /// Reads on if there is something to read, and lets senders go straight to the sink once there is nothing.
    pub(super) fn go_on(&mut self, ctx: &mut Context<Self>) {
        let end = self.synced_end();
        let next = self.log.as_ref().map_or(end, |log| log.read_back.next);
        if next < end {
            if self.outlet.has_room() && !std::mem::replace(&mut self.is_reading, true) {
                // Otherwise a returned credit has it read on.
                ctx.notify(ReadOn);
            }
            return;
        }
        let stands_still = || self.standstill.lasts(self.spec.target.oldest().as_ref());
        let is_idle = self.outlet.is_empty() && self.is_all_stored();
        if is_idle && !stands_still() && self.spec.spillway.end() {
            tracing::info!(
                sink = &*self.spec.sink,
                "the sink's overflow log is empty again"
            );
        }
    }
}

impl Handler<ReadOn> for OverflowActor {
    type Result = ();

    fn handle(&mut self, _: ReadOn, ctx: &mut Context<Self>) {
        self.read_on(ctx);
        self.persist(false, ctx);
    }
}

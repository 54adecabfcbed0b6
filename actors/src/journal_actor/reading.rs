//! Reading back: what a process before this one left unfinished, and what came while it was busy with that.

use actix::prelude::{ActorFutureExt, AsyncContext, Context, Handler};

use super::{JournalActor, signed};
use crate::read_back::{READS_PER_TURN_MAX, Read, UNREADABLE};

/// Sent by the actor to itself: reads some batches back.
#[derive(actix::Message)]
#[rtype(result = "()")]
struct ReadOn;

impl JournalActor {
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
            if self.read_back.next >= end || !self.outlet.has_room() {
                break;
            }
            let registry = &self.spec.registry;
            let stats = |source: &str, recovered| {
                let stats = registry.former_source(source);
                stats.recover(recovered);
                stats
            };
            match self.read_back.read(&mut *self.journal, end, stats) {
                Ok(read) => self.hand_on(read),
                Err(failure) => return self.fail(&failure, ctx),
            }
        }
        self.outlet.flush();
        self.read_later(ctx);
    }

    fn hand_on(&mut self, read: Read) {
        let Read {
            batches,
            events,
            unreadable,
        } = read;
        for batch in batches {
            self.outlet.append(batch);
        }
        let registry = &self.spec.registry;
        if unreadable > 0 {
            let count = usize::try_from(unreadable).unwrap_or(usize::MAX);
            registry.drop_by_rule(UNREADABLE, count);
            registry.in_flight.add(-signed(unreadable));
        }
        let mut read = events + unreadable;
        registry.journal.backlog.add(-signed(read));
        while let Some((_, held)) = self.held_back.front_mut() {
            let step = read.min(*held);
            *held -= step;
            read -= step;
            if *held > 0 {
                break;
            }
            self.held_back.pop_front();
        }
    }

    pub(super) fn read_later(&mut self, ctx: &mut Context<Self>) {
        if self.read_back.next >= self.synced_end() {
            self.held_back.clear();
        } else if self.outlet.has_room() && !std::mem::replace(&mut self.is_reading, true) {
            // Otherwise a returned credit has it read on.
            ctx.notify(ReadOn);
        }
    }
}

impl Handler<ReadOn> for JournalActor {
    type Result = ();

    fn handle(&mut self, _: ReadOn, ctx: &mut Context<Self>) {
        self.persist(false, ctx);
        self.read_on(ctx);
    }
}

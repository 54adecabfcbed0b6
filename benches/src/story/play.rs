//! Generator and sinks in one thread, so that they share a core without switching: it sends what is due, reads what has
//! come, looks at the clock, and waits for whichever is next.

use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::events::{COMPONENTS, Events};
use super::ledger::{Counts, Ledger};
use super::receiver::{Form, Receiver};
use super::schedule::Schedule;
use super::source::Source;

/// Before an event is due, the rest of the wait is spun: the kernel wakes sleepers late by about this.
const SPIN: Duration = Duration::from_micros(70);
/// How often new connections are looked for.
const TICK: Duration = Duration::from_millis(5);
/// Time for a system to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Time between the last process being ready and the first event.
const SETTLE: Duration = Duration::from_millis(100);
/// Events that are sent before sinks are looked at again.
const EVENTS_AT_A_TIME: usize = 64;
/// A system that delivers nothing for so long, once everything is sent, is done. JetStream waits for 2 s before it sends again.
const QUIET: Duration = Duration::from_secs(3);
/// Time for what is under way once everything is sent.
const LINGER_MAX: Duration = Duration::from_secs(8);

/// A sink that reads nothing for some time, in nanoseconds from the start.
#[derive(Clone, Debug)]
pub(crate) struct SlowSink {
    pub(crate) component: usize,
    pub(crate) closed_ns: std::ops::Range<u64>,
}

/// What a run came to.
pub(crate) struct Played {
    pub(crate) counts: Counts,
    pub(crate) latencies: Histogram<u64>,
    /// When the last event was due that came late or not at all.
    pub(crate) last_late_due_ns: u64,
    /// From an event's being due to its having been sent, or waiting for the system to take it.
    pub(crate) slips: Histogram<u64>,
    /// From the last event's being due to the last arrival.
    pub(crate) backlog: Duration,
    /// Time spent on sending: what a system costs its source.
    pub(crate) sending: Duration,
}

/// The two ends of a system.
pub(crate) struct Ends {
    pub(crate) source: Source,
    pub(crate) receivers: Vec<Receiver>,
}

impl Ends {
    pub(crate) fn new(source: Source, form: Form) -> std::io::Result<Self> {
        let receivers = (0..COMPONENTS).map(|_| Receiver::listen(form));
        Ok(Self {
            source,
            receivers: receivers.collect::<Result<_, _>>()?,
        })
    }

    /// Waits until the system has connected: to the source, and unless it does so with the first result, to all sinks.
    ///
    /// # Errors
    /// If it does not in time, or `check` finds that it cannot.
    pub(crate) fn connect(
        &mut self,
        events: &Events,
        connects_to_sinks_late: bool,
        mut check: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            self.look_for_connections(events)?;
            let are_sinks_connected =
                connects_to_sinks_late || self.receivers.iter().all(Receiver::is_connected);
            if are_sinks_connected && self.source.is_connected() {
                std::thread::sleep(SETTLE);
                return Ok(());
            }
            check()?;
            if start.elapsed() > START_TIMEOUT {
                bail!("the system is not ready after {START_TIMEOUT:?}");
            }
            std::thread::sleep(TICK);
        }
    }

    fn look_for_connections(&mut self, events: &Events) -> anyhow::Result<()> {
        self.source.connect(events)?;
        for receiver in &mut self.receivers {
            receiver.accept()?;
        }
        Ok(())
    }

    /// Plays a schedule from `start` on.
    ///
    /// # Errors
    /// If the system refuses what it is given.
    pub(crate) fn play(
        &mut self,
        start: Instant,
        events: &Events,
        schedule: &Schedule,
        mut ledger: Ledger<'_>,
        slow: Option<&SlowSink>,
    ) -> anyhow::Result<Played> {
        let now_ns = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(0);
        let mut slips = Histogram::new_with_max(60_000_000_000, 3)?;
        let (mut next, mut last_arrival, mut next_tick, mut sending_ns) = (0, 0, 0, 0);
        let end = schedule.due_ns.last().copied().unwrap_or(0);
        // Before it, `start` has not come.
        std::thread::sleep(start.saturating_duration_since(Instant::now()));
        let is_flowing = loop {
            let first = next;
            let now = now_ns();
            while next < schedule.len()
                && schedule.due_ns[next] <= now
                && next < first + EVENTS_AT_A_TIME
            {
                self.source.emit(u32::try_from(next)?, events, schedule);
                next += 1;
            }
            for feeder in self.source.feeders() {
                feeder.flush(events, schedule);
            }
            let sent = now_ns();
            sending_ns += sent - now;
            for due in &schedule.due_ns[first..next] {
                slips.saturating_record(sent.saturating_sub(*due));
            }
            if sent >= next_tick {
                self.look_for_connections(events)?;
                next_tick = sent + TICK.as_nanos() as u64;
            }
            if let Some(slow) = slow {
                self.receivers[slow.component].set_unwilling(slow.closed_ns.contains(&sent));
            }
            let due = schedule.due_ns.get(next).copied();
            let time = due.map_or(TICK, |due| Duration::from_nanos(due.saturating_sub(sent)));
            let Ready(ready) = self.wait(time)?;
            let before = ledger.outstanding();
            for (component, receiver) in self.receivers.iter_mut().enumerate() {
                if ready[component] {
                    receiver.read(|number, sum| ledger.arrived(component, number, sum, now_ns()));
                }
            }
            for (index, feeder) in self.source.feeders().enumerate() {
                if ready[COMPONENTS + index] {
                    feeder.read_answers()?;
                }
            }
            let now = now_ns();
            if ledger.outstanding() < before {
                last_arrival = now;
            }
            if next < schedule.len() {
                continue;
            }
            let patience = QUIET.as_nanos() as u64;
            if ledger.outstanding() == 0 || now > last_arrival.max(end) + patience {
                break false;
            }
            if now > end + LINGER_MAX.as_nanos() as u64 {
                break true;
            }
        };
        let (counts, latencies, last_late_due_ns) = ledger.close(is_flowing);
        Ok(Played {
            counts,
            latencies,
            last_late_due_ns,
            slips,
            backlog: Duration::from_nanos(last_arrival.saturating_sub(end)),
            sending: Duration::from_nanos(sending_ns),
        })
    }

    /// Waits until something has come, a connection takes more, or so much time has passed.
    fn wait(&mut self, time: Duration) -> anyhow::Result<Ready> {
        let (mut waiting, mut owners) = (Vec::with_capacity(16), Vec::with_capacity(16));
        for (component, receiver) in self.receivers.iter().enumerate() {
            for stream in receiver.streams() {
                waiting.push(PollFd::new(stream, PollFlags::IN));
                owners.push(component);
            }
        }
        for (index, feeder) in self.source.feeders().enumerate() {
            let flags = match feeder.is_waiting() {
                true => PollFlags::IN | PollFlags::OUT,
                false => PollFlags::IN,
            };
            if let Some(stream) = feeder.stream() {
                waiting.push(PollFd::new(stream, flags));
                owners.push(COMPONENTS + index);
            }
        }
        let time = match time < SPIN {
            true => Duration::ZERO,
            false => (time - SPIN).min(TICK),
        };
        match poll(&mut waiting, Some(&Timespec::try_from(time)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ready = Ready::default();
        for (fd, owner) in waiting.iter().zip(owners) {
            if fd
                .revents()
                .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            {
                ready.0[owner] = true;
            }
        }
        Ok(ready)
    }
}

/// What there is something to read from: receivers, then feeders.
#[derive(Default)]
struct Ready([bool; 2 * COMPONENTS]);

//! One run of one system: start, play, measure, stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use hdrhistogram::Histogram;

use super::counting;
use super::events::{COMPONENTS, Events};
use super::ledger::{Counts, Ledger};
use super::play::SlowSink;
use super::process::{Place, Process};
use super::profile::{Sampler, Shares};
use super::programs::Programs;
use super::schedule::Schedule;
use super::setting::{Fault, Setting};
use super::system::{Running, System};
use super::usage;

/// The cores of the generator with the sinks, and of the system.
const OUR_CORE: usize = 0;
const SYSTEM_CORE: usize = 1;
/// How often memory is looked at; the kernel needs about a millisecond for it.
const MEMORY_INTERVAL: Duration = Duration::from_millis(250);
/// How long an init system waits before it starts a process again (systemd's default).
const RESTART_PAUSE: Duration = Duration::from_millis(100);
/// Between a run's being ready and its first event.
const LEAD: Duration = Duration::from_millis(50);
/// A delivery that takes longer is late.
pub(crate) const DEADLINE: Duration = Duration::from_millis(50);
/// A generator that was behind by more for one event in a hundred makes a run void.
const SLIP_MAX: Duration = Duration::from_millis(5);

/// What a run showed.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) counts: Counts,
    pub(crate) latencies: Histogram<u64>,
    pub(crate) events: usize,
    pub(crate) cpu_ns: u64,
    /// What the source spent on sending.
    pub(crate) source_ns: u64,
    pub(crate) proportional_bytes: u64,
    pub(crate) peak_bytes: u64,
    /// From a kill until the last event was due that came late or not at all.
    pub(crate) recovery: Option<Duration>,
    pub(crate) backlog: Duration,
    pub(crate) slip: Duration,
    /// Allocations of all processes, if they were counted.
    pub(crate) allocations: Option<u64>,
    /// What the CPU went to, if that was looked at.
    pub(crate) profile: Option<Shares>,
}

/// What looks into the processes of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Probe<'a> {
    None,
    /// A library in each of them counts allocations.
    Allocations(&'a Path),
    /// `perf` samples them.
    Profile,
}

impl<'a> Probe<'a> {
    fn counting(self) -> Option<&'a Path> {
        match self {
            Self::Allocations(library) => Some(library),
            Self::None | Self::Profile => None,
        }
    }
}

impl Measured {
    /// Whether the generator kept its schedule.
    pub(crate) fn is_valid(&self) -> bool {
        self.slip <= SLIP_MAX
    }

    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1e6
    }
}

/// What all runs share.
pub(crate) struct Bench<'a> {
    pub(crate) programs: Programs,
    pub(crate) events: &'a Events,
    /// A folder for what the runs write; each has one of its own in it.
    pub(crate) folder: PathBuf,
}

impl Bench<'_> {
    /// Runs `system` once.
    ///
    /// # Errors
    /// If the system does not start, dies unasked, or refuses events.
    pub(crate) fn run(&self, system: System, setting: &Setting) -> anyhow::Result<Measured> {
        self.run_with(system, setting, Probe::None)
    }

    /// As [`Bench::run`], with a probe, which may cost the system something.
    ///
    /// # Errors
    /// As for [`Bench::run`].
    pub(crate) fn run_with(
        &self,
        system: System,
        setting: &Setting,
        probe: Probe<'_>,
    ) -> anyhow::Result<Measured> {
        let schedule = self.schedule(setting);
        let folder = self.folder.join("run");
        fs::create_dir(&folder).with_context(|| format!("making {}", folder.display()))?;
        let measured = thread::scope(|scope| {
            // A thread of its own, so that the core it is kept on is its own affair.
            let run = scope.spawn(|| {
                if setting.is_pinned {
                    usage::pin(OUR_CORE)?;
                }
                self.run_in(system, setting, &schedule, &folder, probe)
            });
            run.join().map_err(|_| anyhow!("the run panicked"))?
        });
        fs::remove_dir_all(&folder)?;
        measured.with_context(|| format!("{} with {setting:?}", system.name()))
    }

    fn schedule(&self, setting: &Setting) -> Schedule {
        Schedule::new(
            setting.rate,
            (setting.warm_up, setting.seconds),
            setting.arrivals,
            self.events.templates.len(),
            setting.fault.malformed_per_10000(),
            setting.seed,
        )
    }

    fn run_in(
        &self,
        system: System,
        setting: &Setting,
        schedule: &Schedule,
        folder: &Path,
        probe: Probe<'_>,
    ) -> anyhow::Result<Measured> {
        let place = Place {
            core: setting.is_pinned.then_some(SYSTEM_CORE),
            folder,
            counting: probe.counting(),
        };
        let slow = slow_sink(setting);
        let sums = self.events.expected_sums(setting);
        let ledger = Ledger::new(
            schedule,
            self.events,
            &sums,
            setting.fan_out,
            DEADLINE.as_nanos() as u64,
            slow.as_ref().map(|slow| slow.component),
        );
        let Running {
            mut ends,
            processes,
        } = system.start(&self.programs, self.events, setting, &place)?;
        let watched = Watched {
            processes: Mutex::new(processes),
            is_over: AtomicBool::new(false),
        };
        let sampler = match probe {
            Probe::Profile => Some(Sampler::start(&watched.ids(), folder)?),
            _ => None,
        };
        let cpu_before = watched.cpu_ns();
        let start = Instant::now() + LEAD;
        let (played, memory, killed) = thread::scope(|scope| {
            let memory = scope.spawn(|| watched.peak_memory());
            let killed = scope.spawn(|| watched.meet(system, setting, start));
            let played = ends.play(start, self.events, schedule, ledger, slow.as_ref());
            watched.is_over.store(true, Ordering::Release);
            (played, memory.join(), killed.join())
        });
        let (played, killed) = (
            played?,
            killed.map_err(|_| anyhow!("the killer panicked"))??,
        );
        let proportional_bytes = memory.map_err(|_| anyhow!("the sampler panicked"))?;
        let cpu_ns = watched.cpu_ns().saturating_sub(cpu_before);
        let profile = sampler.map(Sampler::finish).transpose()?.flatten();
        let mut processes = watched.lock();
        processes.iter_mut().try_for_each(Process::check)?;
        let peak_bytes = processes
            .iter()
            .map(|each| usage::peak_bytes(each.id()))
            .sum();
        let allocations = match probe.counting() {
            Some(_) => Some(counting::stop_and_count(&mut processes)?),
            None => None,
        };
        Ok(Measured {
            counts: played.counts,
            latencies: played.latencies,
            events: schedule.len(),
            cpu_ns,
            source_ns: played.sending.as_nanos() as u64,
            proportional_bytes,
            peak_bytes,
            recovery: killed
                .map(|at| Duration::from_nanos(played.last_late_due_ns).saturating_sub(at)),
            backlog: played.backlog,
            slip: Duration::from_nanos(played.slips.value_at_quantile(0.99)),
            allocations,
            profile,
        })
    }
}

/// The sink that takes nothing in the middle third, if the fault wants one.
fn slow_sink(setting: &Setting) -> Option<SlowSink> {
    let third = |thirds: f64| ((setting.warm_up + setting.seconds * thirds / 3.0) * 1e9) as u64;
    setting.fault.has_slow_sink().then(|| SlowSink {
        component: 0,
        closed_ns: third(1.0)..third(2.0),
    })
}

/// A system's processes, for the threads that look at them and kill them during a run.
struct Watched {
    processes: Mutex<Vec<Process>>,
    is_over: AtomicBool,
}

impl Watched {
    fn lock(&self) -> MutexGuard<'_, Vec<Process>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn ids(&self) -> Vec<u32> {
        self.lock().iter().map(Process::id).collect()
    }

    fn cpu_ns(&self) -> u64 {
        self.lock().iter().map(Process::cpu_ns).sum()
    }

    /// The most that all processes had together at any look.
    fn peak_memory(&self) -> u64 {
        let mut peak = 0;
        loop {
            peak = self
                .ids()
                .into_iter()
                .map(usage::proportional_bytes)
                .sum::<u64>()
                .max(peak);
            if self.is_over.load(Ordering::Acquire) {
                return peak;
            }
            thread::sleep(MEMORY_INTERVAL);
        }
    }

    /// Kills and restarts as the fault wants; gives the time since the start at which it killed.
    fn meet(
        &self,
        system: System,
        setting: &Setting,
        start: Instant,
    ) -> anyhow::Result<Option<Duration>> {
        let at = Duration::from_secs_f64(setting.warm_up + setting.seconds / 3.0);
        let index = match setting.fault {
            Fault::KillCentre if system.has_centre() => 0,
            Fault::KillComponent if system.has_components() => 1 + usize::from(system.has_centre()),
            // Its handler's actor dies of an injected fault.
            Fault::KillComponent => return Ok(Some(at)),
            _ => return Ok(None),
        };
        thread::sleep((start + at).saturating_duration_since(Instant::now()));
        self.lock()[index].kill()?;
        let killed = start.elapsed();
        thread::sleep(RESTART_PAUSE);
        self.lock()[index].start_again()?;
        Ok(Some(killed))
    }
}

const _: () = assert!(COMPONENTS > 1, "the second one is killed");

//! What a run is about: the load, the work, the fault. Every system gets the same.

use veltrix_story_system::Plant;

use super::schedule::Arrivals;

/// A fault that every system meets at the same time of the same schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// 1 % of the handlers' first attempts fail.
    Errors,
    /// 0.5 % of the events are cut short.
    Malformed,
    /// A sink reads nothing for a third of the time.
    SlowSink,
    /// A sink answers 503 for a third of the time. For this one, all sinks are HTTP.
    Unavailable,
    /// 0.1 % of the handlers' first attempts panic.
    Panics,
    /// Errors, malformed events, a slow sink and panics, all of the above at once.
    Together,
    /// A component dies; in Veltrix its handler's actor.
    KillComponent,
    /// What everything goes through dies: the broker, or Veltrix.
    KillCentre,
}

impl Fault {
    pub(crate) const ALL: [Self; 8] = [
        Self::Errors,
        Self::Malformed,
        Self::SlowSink,
        Self::Unavailable,
        Self::Panics,
        Self::Together,
        Self::KillComponent,
        Self::KillCentre,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no fault",
            Self::Errors => "1 % transient errors",
            Self::Malformed => "0.5 % malformed",
            Self::SlowSink => "a sink stops for a third",
            Self::Unavailable => "503 for a third, over HTTP",
            Self::Panics => "0.1 % panics",
            Self::Together => "errors, malformed, a slow sink, panics",
            Self::KillComponent => "kill -9 of a component",
            Self::KillCentre => "kill -9 of the centre",
        }
    }

    fn is_one_of(self, fault: Self) -> bool {
        self == fault || self == Self::Together
    }

    pub(crate) fn errors_per_10000(self) -> u64 {
        if self.is_one_of(Self::Errors) { 100 } else { 0 }
    }

    pub(crate) fn panics_per_10000(self) -> u64 {
        if self.is_one_of(Self::Panics) { 10 } else { 0 }
    }

    pub(crate) fn malformed_per_10000(self) -> u64 {
        if self.is_one_of(Self::Malformed) {
            50
        } else {
            0
        }
    }

    /// Whether one of the sinks takes nothing for a third of the time.
    pub(crate) fn has_slow_sink(self) -> bool {
        self.is_one_of(Self::SlowSink) || self.is_over_http()
    }

    /// Whether sinks take requests instead of lines.
    pub(crate) fn is_over_http(self) -> bool {
        self == Self::Unavailable
    }
}

/// One point of the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Setting {
    /// Whether handlers work, or pass events on as they are: what peers can do, too.
    pub(crate) is_passing: bool,
    /// Components that want each type.
    pub(crate) fan_out: usize,
    /// Rounds of arithmetic that a handler makes of each event.
    pub(crate) rounds: u32,
    /// Microseconds that it waits after them.
    pub(crate) wait_us: u64,
    /// Events a second from the source.
    pub(crate) rate: f64,
    /// Seconds before events count, and while they do.
    pub(crate) warm_up: f64,
    pub(crate) seconds: f64,
    pub(crate) arrivals: Arrivals,
    pub(crate) fault: Fault,
    /// What the components do wrong, where the harness itself is tested.
    pub(crate) plant: Plant,
    /// Generator and sinks on one core, the system on another.
    pub(crate) is_pinned: bool,
    pub(crate) seed: u64,
}

/// What A-tuned's capacity depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Workload {
    is_passing: bool,
    fan_out: usize,
    rounds: u32,
    wait_us: u64,
}

impl Setting {
    pub(crate) fn workload(&self) -> Workload {
        Workload {
            is_passing: self.is_passing,
            fan_out: self.fan_out,
            rounds: self.rounds,
            wait_us: self.wait_us,
        }
    }

    /// The least of everything; what matters is to be set.
    pub(crate) fn of_one_round() -> Self {
        Self {
            is_passing: false,
            fan_out: 1,
            rounds: 1,
            wait_us: 0,
            rate: 1.0,
            warm_up: 0.0,
            seconds: 1.0,
            arrivals: Arrivals::Poisson,
            fault: Fault::None,
            plant: Plant::None,
            is_pinned: false,
            seed: 1,
        }
    }
}

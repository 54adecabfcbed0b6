//! How long a plan takes, for whoever is about to wait for it.

use std::collections::BTreeSet;
use std::fmt;

use super::plan::{Load, Step};
use super::runner::{SEARCHED_SHARE, Times};
use super::setting::Setting;
use super::system::System;

/// Start, settling, the last results and stop, in the mean.
const SECONDS_AROUND_A_RUN: f64 = 0.8;
/// Runs of a search that starts with a guess, in the mean, and of one that starts from the first one's result.
const RUNS_OF_A_FIRST_SEARCH: usize = 7;
const RUNS_OF_ANOTHER_SEARCH: usize = 3;
/// Runs in which one system's allocations are counted.
const RUNS_THAT_COUNT: usize = 2;

/// What a plan comes to.
pub(crate) struct PlanSize {
    /// Runs at the plan's points.
    pub(crate) plays: usize,
    /// Shorter runs, of searches.
    pub(crate) searching: usize,
    seconds: f64,
}

impl PlanSize {
    /// Of these steps, if A-tuned's capacity is searched for (or is given).
    pub(crate) fn of(steps: &[Step], centre: &Setting, times: Times, is_given: bool) -> Self {
        let (mut plays, mut searching) = (0, 0);
        let mut known = BTreeSet::new();
        for step in steps {
            let needed: Vec<_> = match step {
                Step::Sustained {
                    setting, systems, ..
                } => {
                    if is_given {
                        continue;
                    }
                    let again = RUNS_OF_ANOTHER_SEARCH * (times.repeats - 1);
                    searching += systems.len() * (RUNS_OF_A_FIRST_SEARCH + again);
                    if systems.contains(&System::ATuned) {
                        known.insert(setting.workload());
                    }
                    continue;
                }
                Step::Points(points) => {
                    let systems = points.iter().map(|point| point.systems.len());
                    plays += times.repeats * systems.sum::<usize>();
                    let loads = points.iter().map(|point| (point.load, &point.setting));
                    loads.collect()
                }
                Step::Allocations {
                    load,
                    setting,
                    systems,
                } => {
                    plays += systems.len() * RUNS_THAT_COUNT;
                    vec![(*load, setting)]
                }
                Step::Profiles {
                    load,
                    setting,
                    systems,
                } => {
                    plays += systems.len();
                    vec![(*load, setting)]
                }
            };
            for (load, setting) in needed {
                if matches!(load, Load::Share(_)) && !is_given && known.insert(setting.workload()) {
                    searching += RUNS_OF_A_FIRST_SEARCH;
                }
            }
        }
        let run = centre.warm_up + centre.seconds;
        let seconds = plays as f64 * (run + SECONDS_AROUND_A_RUN)
            + searching as f64 * (run * SEARCHED_SHARE + SECONDS_AROUND_A_RUN);
        Self {
            plays,
            searching,
            seconds,
        }
    }
}

impl fmt::Display for PlanSize {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} runs, and about {} shorter ones of searches: about {:.0} min",
            self.plays,
            self.searching,
            (self.seconds / 60.0).ceil()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::plan;

    #[test]
    fn a_full_run_takes_less_than_what_is_promised() {
        let centre = Setting {
            fan_out: 4,
            warm_up: 0.5,
            seconds: 2.0,
            ..Setting::of_one_round()
        };
        let times = Times {
            repeats: 5,
            tries: 3,
        };
        let full = PlanSize::of(&plan::whole(centre, &[]), &centre, times, false);
        assert!(full.seconds < 100.0 * 60.0, "{full}");
        let given = PlanSize::of(&plan::whole(centre, &[]), &centre, times, true);
        assert_eq!((given.plays, given.searching), (full.plays, 0));
        let null = PlanSize::of(&plan::null(centre), &centre, times, false);
        assert_eq!((null.plays, null.searching), (20, 38));
    }
}

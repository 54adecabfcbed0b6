//! What a whole comparison found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;

use super::capacity::Capacity;
use super::figures::Figure;
use super::profile::Shares;
use super::run::Measured;
use super::setting::Setting;
use super::statistics::Estimate;
use super::system::System;

/// All runs at one point of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) section: &'static str,
    pub(crate) label: String,
    pub(crate) setting: Setting,
    pub(crate) runs: BTreeMap<System, Vec<Measured>>,
}

/// What each system sustains at one point of the plan.
#[derive(Clone, Debug)]
pub(crate) struct Sustained {
    pub(crate) label: String,
    pub(crate) found: BTreeMap<System, Vec<Capacity>>,
}

/// Everything that was found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Results {
    pub(crate) cells: Vec<Cell>,
    pub(crate) sustained: Vec<Sustained>,
    /// Allocations for each event, by system.
    pub(crate) allocations: BTreeMap<System, f64>,
    /// CPU microseconds for each event, by what they go to.
    pub(crate) profiles: BTreeMap<System, Shares>,
}

impl Cell {
    pub(crate) fn estimate(&self, system: System, figure: Figure) -> Option<Estimate> {
        let runs = self.runs.get(&system)?;
        let values: Vec<f64> = runs.iter().filter_map(|run| figure.of(run)).collect();
        Estimate::of(&values)
    }

    /// How many of the system's runs had a generator that was late.
    pub(crate) fn void_runs(&self, system: System) -> usize {
        let runs = self.runs.get(&system).map_or(&[][..], Vec::as_slice);
        runs.iter().filter(|run| !run.is_valid()).count()
    }
}

impl Sustained {
    pub(crate) fn estimate(&self, system: System) -> Option<Estimate> {
        let rates: Vec<f64> = self
            .found
            .get(&system)?
            .iter()
            .map(|found| found.rate)
            .collect();
        Estimate::of(&rates)
    }

    /// Whether the generator's limit was reached before the system's.
    pub(crate) fn is_ours(&self, system: System) -> bool {
        let found = self.found.get(&system);
        found.is_some_and(|found| found.iter().any(|capacity| capacity.is_ours))
    }
}

impl Results {
    /// The cells of a section, in order.
    pub(crate) fn section<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Cell> {
        self.cells.iter().filter(move |cell| cell.section == name)
    }

    /// The names of all sections, in order.
    pub(crate) fn sections(&self) -> Vec<&'static str> {
        let mut names = Vec::new();
        for cell in &self.cells {
            if !names.contains(&cell.section) {
                names.push(cell.section);
            }
        }
        names
    }

    /// Keeps every run: its figures in a table, its latencies as pairs of value and count.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn write_raw(&self, folder: &Path) -> anyhow::Result<()> {
        let histograms = folder.join("histograms");
        fs::create_dir_all(&histograms)
            .with_context(|| format!("making {}", histograms.display()))?;
        let mut table = String::from(
            "section\tlabel\tsystem\trepeat\trate\toffered\tlate\tlost\twrong\tduplicate\tslip ms",
        );
        for figure in Figure::ALL {
            write!(table, "\t{}", figure.name())?;
        }
        table.push('\n');
        let mut number = 0;
        for cell in &self.cells {
            for (system, runs) in &cell.runs {
                for (repeat, run) in runs.iter().enumerate() {
                    number += 1;
                    write_row(&mut table, cell, *system, repeat, run)?;
                    let mut text = String::from("latency_ns\tcount\n");
                    for step in run.latencies.iter_recorded() {
                        writeln!(
                            text,
                            "{}\t{}",
                            step.value_iterated_to(),
                            step.count_at_value()
                        )?;
                    }
                    fs::write(histograms.join(format!("{number:04}.tsv")), text)?;
                }
            }
        }
        Ok(fs::write(folder.join("runs.tsv"), table)?)
    }
}

/// One line; the line's number is the histogram's.
fn write_row(
    table: &mut String,
    cell: &Cell,
    system: System,
    repeat: usize,
    run: &Measured,
) -> std::fmt::Result {
    let counts = &run.counts;
    write!(
        table,
        "{}\t{}\t{}\t{repeat}\t{:.0}\t{}\t{}\t{}\t{}\t{}\t{:.3}",
        cell.section,
        cell.label,
        system.name(),
        cell.setting.rate,
        counts.offered,
        counts.late,
        counts.lost,
        counts.wrong,
        counts.duplicate,
        run.slip.as_secs_f64() * 1e3
    )?;
    for figure in Figure::ALL {
        match figure.of(run) {
            Some(value) => write!(table, "\t{value:.4}")?,
            None => table.push('\t'),
        }
    }
    table.push('\n');
    Ok(())
}

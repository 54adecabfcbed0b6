//! What the reader gets: tables, plots, what to conclude; on the terminal, as a page of its own, and in the docs.

mod conclusions;
mod docs;
mod html;
mod plot;
mod table;

use std::fs;
use std::path::Path;

use super::figures::Figure;
use super::plan;
use super::results::Results;

pub(crate) use docs::write as write_docs;
use plot::Plot;
use table::Table;

/// The parts of a report, in order.
pub(crate) struct Report {
    /// How and on what it was measured, one line each.
    pub(crate) facts: Vec<String>,
    conclusions: Vec<String>,
    tables: Vec<Table>,
    plots: Vec<Plot>,
}

impl Report {
    pub(crate) fn new(results: &Results, facts: Vec<String>) -> Self {
        let mut tables = vec![table::sustained(results)];
        tables.extend(
            results
                .sections()
                .into_iter()
                .map(|name| table::section(results, name)),
        );
        tables.extend(table::allocations(results));
        tables.extend(table::profiles(results));
        let plots = [
            plot::sustained(results),
            plot::section(results, plan::AT_FAN_OUTS, Figure::P50Ms),
            plot::section(results, plan::AT_FAN_OUTS, Figure::P99Ms),
            plot::section(results, plan::AT_FAN_OUTS, Figure::CpuSecondsPerMillion),
            plot::section(results, "load", Figure::P50Ms),
            plot::section(results, "load", Figure::P99Ms),
            plot::section(results, plan::FAULTS, Figure::ErrorsPercent),
        ];
        Self {
            facts,
            conclusions: conclusions::of(results),
            tables: tables
                .into_iter()
                .filter(|table| !table.rows.is_empty())
                .collect(),
            plots: plots
                .into_iter()
                .filter(|plot| !plot.groups.is_empty())
                .collect(),
        }
    }

    /// As text for the terminal.
    pub(crate) fn text(&self) -> String {
        let tables: Vec<String> = self.tables.iter().map(Table::text).collect();
        format!(
            "{}\n\n{}\n\n{}\n",
            self.facts.join("\n"),
            tables.join("\n"),
            self.conclusions.join("\n")
        )
    }

    /// Writes the page and the plots.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        for plot in &self.plots {
            fs::write(folder.join(plot.file_name()), plot.svg())?;
        }
        Ok(fs::write(folder.join("report.html"), html::page(self))?)
    }
}

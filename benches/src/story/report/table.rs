//! Tables: a row for each system at each point, a column for each figure.

use super::super::figures::Figure;
use super::super::profile;
use super::super::results::Results;
use super::super::statistics::Estimate;
use super::super::system::System;

pub(super) struct Table {
    pub(super) title: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// A figure with its interval, to three digits.
fn estimate(estimate: Option<Estimate>) -> String {
    estimate.map_or_else(
        String::new,
        |Estimate {
             median,
             lower,
             upper,
         }| { format!("{} ({}–{})", number(median), number(lower), number(upper)) },
    )
}

/// To three digits.
pub(super) fn number(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        size if size < 0.1 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// All cells of a section.
pub(super) fn section(results: &Results, name: &str) -> Table {
    let shown: Vec<Figure> = Figure::ALL
        .into_iter()
        .filter(|figure| {
            results.section(name).any(|cell| {
                cell.runs
                    .keys()
                    .any(|system| cell.estimate(*system, *figure).is_some())
            })
        })
        .collect();
    let mut head = vec![name.to_owned(), "events/s".to_owned(), "system".to_owned()];
    head.extend(shown.iter().map(|figure| figure.name().to_owned()));
    let mut rows = Vec::new();
    for cell in results.section(name) {
        for system in cell.runs.keys() {
            let void = if cell.void_runs(*system) > 0 {
                " *"
            } else {
                ""
            };
            let mut row = vec![
                cell.label.clone(),
                number(cell.setting.rate),
                format!("{}{void}", system.name()),
            ];
            row.extend(
                shown
                    .iter()
                    .map(|figure| estimate(cell.estimate(*system, *figure))),
            );
            rows.push(row);
        }
    }
    Table {
        title: name.to_owned(),
        head,
        rows,
    }
}

/// What each system sustains.
pub(super) fn sustained(results: &Results) -> Table {
    let mut systems: Vec<System> = results
        .sustained
        .iter()
        .flat_map(|found| found.found.keys().copied())
        .collect();
    systems.sort_unstable();
    systems.dedup();
    let mut head = vec!["events/s".to_owned()];
    head.extend(systems.iter().map(|system| system.name().to_owned()));
    let rows = results.sustained.iter().map(|found| {
        let mut row = vec![found.label.clone()];
        row.extend(systems.iter().map(|system| {
            let limit = if found.is_ours(*system) { "≥ " } else { "" };
            format!("{limit}{}", estimate(found.estimate(*system)))
        }));
        row
    });
    Table {
        title: "Sustained rate".to_owned(),
        head,
        rows: rows.collect(),
    }
}

/// Allocations for each event, if they were counted.
pub(super) fn allocations(results: &Results) -> Option<Table> {
    let rows: Vec<Vec<String>> = results
        .allocations
        .iter()
        .map(|(system, count)| vec![system.name().to_owned(), number(*count)])
        .collect();
    (!rows.is_empty()).then(|| Table {
        title: "Allocations".to_owned(),
        head: vec!["system".to_owned(), "allocations an event".to_owned()],
        rows,
    })
}

/// What the CPU goes to, if that was looked at.
pub(super) fn profiles(results: &Results) -> Option<Table> {
    let rows: Vec<Vec<String>> = results
        .profiles
        .iter()
        .map(|(system, parts)| {
            let name = system.name().to_owned();
            std::iter::once(name)
                .chain(parts.iter().map(|part| number(*part)))
                .collect()
        })
        .collect();
    let head = std::iter::once("system").chain(profile::names());
    (!rows.is_empty()).then(|| Table {
        title: "CPU microseconds an event, by what they go to".to_owned(),
        head: head.map(str::to_owned).collect(),
        rows,
    })
}

impl Table {
    /// In columns, for a terminal.
    pub(super) fn text(&self) -> String {
        let widths: Vec<usize> = (0..self.head.len())
            .map(|column| {
                self.lines()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let lines = self.lines().map(|row| {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        });
        format!("{}\n{}", self.title, lines.collect::<String>())
    }

    /// As Markdown.
    pub(super) fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let rule = format!("|{}\n", "---|".repeat(self.head.len()));
        let rows: String = self.rows.iter().map(line).collect();
        format!("{}{rule}{rows}", line(&self.head))
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.head).chain(&self.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_columns_line_up() {
        let shown: Vec<String> = [0.0, 0.01234, 1.234, 12.34, 12345.6]
            .into_iter()
            .map(number)
            .collect();
        assert_eq!(shown, ["0", "0.012", "1.23", "12.3", "12346"]);
        let table = Table {
            title: "T".to_owned(),
            head: vec!["a".to_owned(), "b".to_owned()],
            rows: vec![vec!["long".to_owned(), "–".to_owned()]],
        };
        assert_eq!(table.text(), "T\na     b\nlong  –\n");
        assert_eq!(table.markdown(), "| a | b |\n|---|---|\n| long | – |\n");
    }
}

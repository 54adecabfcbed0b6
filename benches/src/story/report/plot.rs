//! Bar charts as SVG: for each group a bar for each system, with its interval.

use std::fmt::Write as _;

use super::super::figures::Figure;
use super::super::peer::Peer;
use super::super::results::Results;
use super::super::statistics::Estimate;
use super::super::system::System;
use super::table::number;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 40.0;
/// The share of a group's width that its bars take.
const FILLED: f64 = 0.85;
/// Bars that would be lower are shown so high.
const BAR_MIN: f64 = 1.0;
/// Beyond this ratio of the largest to the smallest value, the axis is logarithmic.
const LINEAR_RATIO_MAX: f64 = 30.0;

pub(super) struct Plot {
    pub(super) title: String,
    pub(super) groups: Vec<(String, Vec<(System, Estimate)>)>,
}

/// One figure at all points of a section.
pub(super) fn section(results: &Results, name: &str, figure: Figure) -> Plot {
    let groups = results.section(name).map(|cell| {
        let of = |system: &System| Some((*system, cell.estimate(*system, figure)?));
        (
            cell.label.clone(),
            cell.runs.keys().filter_map(of).collect(),
        )
    });
    Plot {
        title: format!("{}: {name}", figure.name()),
        groups: groups.collect(),
    }
}

pub(super) fn sustained(results: &Results) -> Plot {
    let groups = results.sustained.iter().map(|found| {
        let of = |system: &System| Some((*system, found.estimate(*system)?));
        (
            found.label.clone(),
            found.found.keys().filter_map(of).collect(),
        )
    });
    Plot {
        title: "Sustained events/s".to_owned(),
        groups: groups.collect(),
    }
}

fn colour(system: System) -> &'static str {
    match system {
        System::ATuned => "#4477aa",
        System::ATunedAgain => "#77aadd",
        System::ANaive => "#aaccee",
        System::BNats => "#ccbb44",
        System::BRedis => "#ee8866",
        System::BJetstream => "#999933",
        System::BRedisStreams => "#aa4422",
        System::C => "#117733",
        System::CMemory => "#44aa77",
        System::CNoRetries => "#88ccaa",
        System::CNoMetrics => "#bbddcc",
        System::Peer(Peer::Vector) => "#aa3377",
        System::Peer(Peer::SyslogNg) => "#bb6699",
    }
}

/// From values to heights.
struct Axis {
    lowest: f64,
    highest: f64,
    is_logarithmic: bool,
}

impl Axis {
    fn of(values: impl Iterator<Item = Estimate> + Clone) -> Self {
        let highest = values
            .clone()
            .map(|value| value.upper)
            .fold(f64::MIN_POSITIVE, f64::max);
        let positive = values.map(|value| value.lower).filter(|value| *value > 0.0);
        let lowest = positive.fold(highest, f64::min);
        let is_logarithmic = highest / lowest > LINEAR_RATIO_MAX;
        Self {
            // A logarithmic axis begins at the power of ten below the smallest value.
            lowest: if is_logarithmic {
                10_f64.powf(lowest.log10().floor())
            } else {
                0.0
            },
            highest,
            is_logarithmic,
        }
    }

    fn y(&self, value: f64) -> f64 {
        let share = match self.is_logarithmic {
            false => value / self.highest,
            true => (value.max(self.lowest) / self.lowest).ln() / (self.highest / self.lowest).ln(),
        };
        TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
    }

    fn ticks(&self) -> Vec<f64> {
        if !self.is_logarithmic {
            return (0..=4)
                .map(|quarter| self.highest * f64::from(quarter) / 4.0)
                .collect();
        }
        let powers = (0..20).map(|power| self.lowest * 10_f64.powi(power));
        powers.take_while(|tick| *tick <= self.highest).collect()
    }
}

impl Plot {
    pub(super) fn file_name(&self) -> String {
        let letters = self
            .title
            .chars()
            .map(|letter| match letter.is_ascii_alphanumeric() {
                true => letter.to_ascii_lowercase(),
                false => '-',
            });
        let words: String = letters.collect();
        let words: Vec<&str> = words.split('-').filter(|word| !word.is_empty()).collect();
        format!("{}.svg", words.join("-"))
    }

    pub(super) fn svg(&self) -> String {
        let values = self
            .groups
            .iter()
            .flat_map(|(_, bars)| bars.iter().map(|(_, value)| *value));
        let axis = Axis::of(values);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"16\" font-size=\"14\">{}</text>\n",
            self.title
        );
        self.draw(&axis, &mut svg).expect("a string takes all");
        svg.push_str("</svg>\n");
        svg
    }

    fn draw(&self, axis: &Axis, svg: &mut String) -> std::fmt::Result {
        for tick in axis.ticks() {
            let y = axis.y(tick);
            writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>"
            )?;
            writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                y + 4.0,
                number(tick)
            )?;
        }
        let group_width = (WIDTH - LEFT) / self.groups.len().max(1) as f64;
        let mut systems = Vec::new();
        for (index, (label, bars)) in self.groups.iter().enumerate() {
            let left = LEFT + group_width * index as f64;
            let width = group_width * FILLED / bars.len().max(1) as f64;
            for (bar, (system, value)) in bars.iter().enumerate() {
                draw_bar(axis, svg, left + width * bar as f64, width, *system, value)?;
                systems.push(*system);
            }
            let middle = left + group_width * FILLED / 2.0;
            writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                HEIGHT - BOTTOM + 18.0
            )?;
        }
        systems.sort_unstable();
        systems.dedup();
        for (index, system) in systems.into_iter().enumerate() {
            let x = LEFT + 105.0 * index as f64;
            writeln!(
                svg,
                "<rect x=\"{x}\" y=\"24\" width=\"10\" height=\"10\" fill=\"{}\"/>",
                colour(system)
            )?;
            writeln!(
                svg,
                "<text x=\"{}\" y=\"33\">{}</text>",
                x + 14.0,
                system.name()
            )?;
        }
        Ok(())
    }
}

fn draw_bar(
    axis: &Axis,
    svg: &mut String,
    x: f64,
    width: f64,
    system: System,
    value: &Estimate,
) -> std::fmt::Result {
    let floor = HEIGHT - BOTTOM;
    let top = axis.y(value.median).min(floor - BAR_MIN);
    let (middle, lower, upper) = (x + width / 2.0, axis.y(value.lower), axis.y(value.upper));
    writeln!(
        svg,
        "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{}: {} ({}–{})</title></rect>",
        floor - top,
        colour(system),
        system.name(),
        number(value.median),
        number(value.lower),
        number(value.upper)
    )?;
    writeln!(
        svg,
        "<line x1=\"{middle:.1}\" x2=\"{middle:.1}\" y1=\"{lower:.1}\" y2=\"{upper:.1}\" stroke=\"black\"/>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(values: [f64; 2]) -> Plot {
        let bars = [System::ATuned, System::C].into_iter().zip(values);
        let bars = bars.map(|(system, value)| (system, Estimate::of(&[value]).unwrap()));
        Plot {
            title: "p99 ms: load".to_owned(),
            groups: vec![("90 %".to_owned(), bars.collect())],
        }
    }

    #[test]
    fn bars_are_as_high_as_their_values() {
        let plot = plot([1.0, 4.0]);
        assert_eq!(plot.file_name(), "p99-ms-load.svg");
        let svg = plot.svg();
        assert!(svg.contains("A-tuned: 1.00 (1.00–1.00)") && svg.contains("C: 4.00"));
        let axis = Axis::of(plot.groups[0].1.iter().map(|(_, value)| *value));
        assert!(!axis.is_logarithmic);
        assert_eq!((axis.y(4.0), axis.y(0.0)), (TOP, HEIGHT - BOTTOM));
    }

    #[test]
    fn values_far_apart_get_a_logarithmic_axis() {
        let plot = plot([0.2, 200.0]);
        let axis = Axis::of(plot.groups[0].1.iter().map(|(_, value)| *value));
        assert!(axis.is_logarithmic);
        assert_eq!(axis.y(200.0), TOP);
        assert!(axis.ticks().len() == 4 && axis.y(2.0) > axis.y(20.0));
    }
}

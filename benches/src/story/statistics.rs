//! Medians with intervals: the bootstrap's, which assumes nothing about how figures are spread.

use crate::generate_small::SplitMix64;

const RESAMPLES: usize = 2_000;
/// The middle 95 % of the resampled medians.
const LOWER: f64 = 0.025;
const UPPER: f64 = 0.975;

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) median: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

impl Estimate {
    /// Of at least one value.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        // The same values have the same interval.
        let mut draw = SplitMix64 { state: 1 };
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let resampled = values
                    .iter()
                    .map(|_| values[draw.below(values.len() as u64) as usize]);
                median(resampled.collect())
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let at = |share: f64| medians[(share * (RESAMPLES - 1) as f64).round() as usize];
        Some(Self {
            median: median(values.to_vec()),
            lower: at(LOWER),
            upper: at(UPPER),
        })
    }

    /// Whether all of it lies above all of the other.
    pub(crate) fn is_above(&self, other: &Self) -> bool {
        self.lower > other.upper
    }
}

/// The middle of at least one value, or between the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    f64::midpoint(values[values.len() / 2], values[(values.len() - 1) / 2])
}

/// The mean of the values' ratios, as ratios are averaged: by their logarithms.
pub(crate) fn mean_ratio(ratios: &[f64]) -> Option<f64> {
    let logarithms = ratios.iter().map(|ratio| ratio.ln());
    (!ratios.is_empty()).then(|| (logarithms.sum::<f64>() / ratios.len() as f64).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_around_the_median_and_grows_with_the_spread() {
        let narrow = Estimate::of(&[10.0, 10.1, 9.9, 10.0, 10.05]).unwrap();
        let wide = Estimate::of(&[10.0, 14.0, 6.0, 10.0, 12.0]).unwrap();
        assert_eq!((narrow.median, wide.median), (10.0, 10.0));
        assert!(narrow.lower >= 9.9 && narrow.upper <= 10.1);
        assert!(wide.upper - wide.lower > narrow.upper - narrow.lower);
        assert!(Estimate::of(&[20.0, 21.0]).unwrap().is_above(&wide));
        assert!(!narrow.is_above(&wide) && !wide.is_above(&narrow));
        assert_eq!(Estimate::of(&[]), None);
    }

    #[test]
    fn ratios_are_averaged_so_that_half_and_double_are_one() {
        assert!((mean_ratio(&[0.5, 2.0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(mean_ratio(&[]), None);
    }
}

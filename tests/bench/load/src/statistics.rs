//! Medians and percentiles of what was measured.

/// Returns the middle of some figures: of an even number, the mean of the two in the middle. None has none.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(sorted[middle - 1], upper))
}

/// Returns the smallest figure that at least so many percent of the figures do not exceed.
pub fn percentile(figures: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Returns the median of what each figure is of the one beside it: what was measured in the same round is compared.
pub fn median_ratio(figures: &[f64], of: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = figures
        .iter()
        .zip(of)
        .filter(|(_, of)| **of > 0.0)
        .map(|(figure, of)| figure / of)
        .collect();
    median(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn a_percentile_is_one_of_the_figures_by_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99.0), Some(99.0));
        assert_eq!(percentile(&hundred, 50.0), Some(50.0));
        assert_eq!(percentile(&hundred, 100.0), Some(100.0));
        assert_eq!(percentile(&hundred, 0.0), Some(1.0));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 99.0), None);
    }

    #[test]
    fn a_ratio_compares_what_was_measured_together() {
        // The machine halved its speed after the first round: the ratio does not see it.
        assert_eq!(median_ratio(&[90.0, 45.0, 45.0], &[100.0, 50.0, 50.0]), Some(0.9));
        assert_eq!(median_ratio(&[1.0], &[0.0]), None);
    }
}

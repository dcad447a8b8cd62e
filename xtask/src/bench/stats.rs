//! Medians with their intervals, from order statistics: no assumption on the shape of the noise.

use serde::Serialize;

/// A median and the interval that holds the true median with 95 % confidence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The sample median.
    pub median: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Estimates the median of the distribution that the values come from.
///
/// The k-th smallest and k-th largest value enclose the median unless fewer than k of n fair coins show
/// heads (or tails); k is the largest for which that stays within 5 %. With fewer than six values no such
/// k exists and the interval is the whole range.
pub fn estimate(values: impl IntoIterator<Item = f64>) -> Estimate {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return Estimate { median: f64::NAN, low: f64::NAN, high: f64::NAN };
    }
    let count = sorted.len();
    let edge = interval_edge(count);
    Estimate { median: middle(&sorted), low: sorted[edge], high: sorted[count - 1 - edge] }
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) }
}

/// How many values at each end lie outside the interval.
fn interval_edge(count: usize) -> usize {
    let mut weight = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut tail = 0.0;
    for edge in 0..count / 2 {
        tail += weight;
        if 2.0 * tail > 0.05 {
            return edge.saturating_sub(1);
        }
        weight *= (count - edge) as f64 / (edge + 1) as f64;
    }
    0
}

/// The value below which the given share of a sorted slice lies; zero for an empty one.
pub fn quantile(sorted: &[u64], share: f64) -> u64 {
    let index = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_the_tabled_order_statistics() {
        // (n, k) from the sign test's table at 95 %: the interval is from the k-th to the (n+1-k)-th value.
        for (count, k) in [(6, 1), (9, 2), (10, 2), (15, 4), (20, 6), (25, 8), (30, 10), (50, 18)] {
            let result = estimate((1..=count).map(f64::from));
            assert_eq!((result.low, result.high), (f64::from(k), f64::from(count + 1 - k)), "n = {count}");
            assert_eq!(result.median, f64::from(count + 1) / 2.0);
        }
    }

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let values: Vec<u64> = (1..=100).collect();
        assert_eq!([0.5, 0.99, 1.0].map(|share| quantile(&values, share)), [50, 99, 100]);
        assert_eq!(quantile(&[], 0.5), 0);
    }
}

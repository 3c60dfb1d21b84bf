//! How a cost grows with a count: the exponent k of `cost = base + a * count^k`, by least
//! squares on logarithms. Pure.

use serde::Serialize;

/// A power law through some points.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Fit {
    /// 0 constant, 1 linear, 2 quadratic
    pub(super) exponent: f64,
    /// Share of the variance of the logarithms that it explains, 0 to 1
    pub(super) r2: f64,
    /// Points that rose above the base
    pub(super) of: usize,
}

impl Fit {
    /// Of points (count, cost) above `base`, the cost at a count of one or none. `None` when fewer
    /// than three rose above it, or all have one count: the cost does not visibly grow.
    pub(super) fn of(points: &[(f64, f64)], base: f64) -> Option<Self> {
        let logs: Vec<(f64, f64)> = points
            .iter()
            .map(|&(count, cost)| (count, cost - base))
            .filter(|&(count, above)| count > 0.0 && above > 0.0)
            .map(|(count, above)| (count.ln(), above.ln()))
            .collect();
        if logs.len() < 3 {
            return None;
        }
        let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / points_of(logs.len());
        let (mx, my) = (mean(|log| log.0), mean(|log| log.1));
        let sum = |of: fn(f64, f64) -> f64| logs.iter().map(|&(x, y)| of(x - mx, y - my)).sum::<f64>();
        let (xx, xy, yy) = (sum(|x, _| x * x), sum(|x, y| x * y), sum(|_, y| y * y));
        if xx == 0.0 {
            return None;
        }
        let r2 = if yy == 0.0 { 1.0 } else { xy * xy / (xx * yy) };
        Some(Self { exponent: xy / xx, r2, of: logs.len() })
    }

    /// In words.
    pub(super) fn shown(fit: Option<Self>) -> String {
        fit.map_or_else(
            || "does not rise above its base".to_owned(),
            |Self { exponent, r2, of }| format!("exponent {exponent:.2} (R² {r2:.2}, {of} points)"),
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful of points")]
fn points_of(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `base + factor * n^exponent` at some counts.
    fn law(base: f64, factor: f64, exponent: f64) -> Vec<(f64, f64)> {
        [10.0, 100.0, 1000.0, 10_000.0].map(|n: f64| (n, base + factor * n.powf(exponent))).to_vec()
    }

    #[test]
    fn the_exponent_of_a_law_is_found_whatever_its_base() {
        for exponent in [0.5, 1.0, 2.0] {
            for base in [0.0, 40.0] {
                let fit = Fit::of(&law(base, 0.003, exponent), base).unwrap();
                assert!((fit.exponent - exponent).abs() < 1e-6, "{fit:?}");
                assert!(fit.r2 > 0.999_999 && fit.of == 4, "{fit:?}");
            }
        }
    }

    #[test]
    fn noise_shows_in_the_fit() {
        let fit =
            Fit::of(&[(10.0, 9.0), (100.0, 300.0), (1000.0, 500.0), (10_000.0, 21_000.0)], 0.0).unwrap();
        assert!((0.9..1.2).contains(&fit.exponent) && fit.r2 < 0.999, "{fit:?}");
    }

    #[test]
    fn what_does_not_grow_has_no_exponent() {
        let flat = [(10.0, 5.0), (100.0, 4.9), (1000.0, 5.1), (10_000.0, 5.0)];
        assert_eq!(Fit::of(&flat, 5.0), None);
        assert_eq!(Fit::of(&[(10.0, 5.0), (10.0, 6.0), (10.0, 7.0)], 0.0), None, "one count");
        assert_eq!(Fit::of(&[], 0.0), None);
        assert_eq!(Fit::shown(None), "does not rise above its base");
    }
}

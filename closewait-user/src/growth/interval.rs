//! Bounds of a rate from counts. Pure arithmetic.
//!
//! Counts of events that come one by one scatter like a Poisson variable. Events
//! that come in bursts scatter more: twenty at once are one burst, not twenty times
//! evidence of growth. The scatter between equal stretches of time tells which it is.

/// Two-sided, 95 %.
const Z: f64 = 1.96;

/// How often an event happened in each of several equal stretches of time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counts<'a>(pub(super) &'a [u32]);

impl Counts<'_> {
    pub(super) fn total(self) -> u64 {
        self.0.iter().copied().map(u64::from).sum()
    }

    /// Variance over mean: 1 when events come one by one (and never taken to be less).
    fn dispersion(self) -> f64 {
        let slots = f64_of(self.0.len() as u64);
        let mean = f64_of(self.total()) / slots;
        if self.0.len() < 2 || mean == 0.0 {
            return 1.0;
        }
        let squares: f64 = self.0.iter().map(|&n| (f64::from(n) - mean).powi(2)).sum();
        (squares / (slots - 1.0) / mean).max(1.0)
    }

    /// Bounds of the number to be expected in the same time, when the number seen
    /// is taken to be `total`.
    pub(super) fn bounds(self, total: u64) -> (f64, f64) {
        let burst = self.dispersion();
        let (low, high) = poisson(f64_of(total) / burst);
        (low * burst, high * burst)
    }
}

/// Bounds of the mean of a Poisson variable that came out as `n`: the exact ones
/// (Garwood) by the approximation of Wilson and Hilferty, within 2 % of them.
fn poisson(n: f64) -> (f64, f64) {
    let cube = |n: f64, z: f64| n * (1.0 - 1.0 / (9.0 * n) + z / (3.0 * n.sqrt())).max(0.0).powi(3);
    let low = if n > 0.0 { cube(n, -Z) } else { 0.0 };
    (low, cube(n + 1.0, Z))
}

#[expect(clippy::cast_precision_loss, reason = "counts of events, and the interval is far wider")]
pub(super) const fn f64_of(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_are_the_exact_ones_of_a_poisson_mean() {
        // chi-squared quantiles halved, from tables
        for (n, low, high) in [
            (0.0, 0.0, 3.689),
            (1.0, 0.025, 5.572),
            (5.0, 1.623, 11.668),
            (10.0, 4.795, 18.390),
            (100.0, 81.364, 121.627),
        ] {
            let (l, h) = poisson(n);
            assert!((l - low).abs() < 0.03 + low * 0.02, "{n}: {l} is not {low}");
            assert!((h - high).abs() < high * 0.02, "{n}: {h} is not {high}");
        }
    }

    #[test]
    fn a_burst_counts_once() {
        let even = Counts(&[3, 4, 3, 3, 4, 3]);
        let burst = Counts(&[20, 0, 0, 0, 0, 0]);
        assert_eq!((even.total(), burst.total()), (20, 20));
        assert!(even.bounds(20).0 > 12.0, "{:?}", even.bounds(20));
        assert!(burst.bounds(20).0 < 1.0, "{:?}", burst.bounds(20));
        assert!(burst.bounds(20).1 > even.bounds(20).1);
        assert_eq!(Counts(&[]).bounds(0), Counts(&[0, 0]).bounds(0));
    }
}

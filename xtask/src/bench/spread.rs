//! Medians and quartiles. Pure.

use serde::Serialize;

/// The middle of some figures, and how far they scatter.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) lower: f64,
    pub(super) upper: f64,
    pub(super) of: usize,
}

impl Spread {
    /// `None` of nothing.
    pub(super) fn of(figures: &[f64]) -> Option<Self> {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        // Between two figures, in proportion.
        let at = |quarter: u32| {
            #[expect(clippy::cast_precision_loss, reason = "a handful of figures")]
            let place = last as f64 * f64::from(quarter) / 4.0;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in the list"
            )]
            let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            below + (above - below) * place.fract()
        };
        Some(Self { median: at(2), lower: at(1), upper: at(3), of: sorted.len() })
    }

    /// Every figure times `factor`, which is not negative.
    pub(super) fn times(self, factor: f64) -> Self {
        let Self { median, lower, upper, of } = self;
        Self { median: median * factor, lower: lower * factor, upper: upper * factor, of }
    }

    /// How far the quartiles are apart.
    pub(super) fn width(self) -> f64 {
        self.upper - self.lower
    }

    /// `median (lower to upper)` with so many decimals.
    pub(super) fn shown(self, decimals: usize) -> String {
        let Self { median, lower, upper, .. } = self;
        format!("{median:.decimals$} ({lower:.decimals$} to {upper:.decimals$})")
    }
}

/// [`Spread::shown`], or a dash of nothing.
pub(super) fn shown(spread: Option<Spread>, decimals: usize) -> String {
    spread.map_or_else(|| "-".to_owned(), |spread| spread.shown(decimals))
}

/// A spread of nothing, where at least one figure was taken.
pub(super) fn some(figures: &[f64]) -> anyhow::Result<Spread> {
    anyhow::Context::context(Spread::of(figures), "nothing was measured: ask for at least one round")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quartiles_are_those_of_the_sorted_figures() {
        let spread = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        assert_eq!(spread, Spread { median: 3.0, lower: 2.0, upper: 4.0, of: 5 });
        assert_eq!(spread.times(2.0), Spread { median: 6.0, lower: 4.0, upper: 8.0, of: 5 });
        assert!((spread.width() - 2.0).abs() < 1e-9);
        assert_eq!(spread.shown(1), "3.0 (2.0 to 4.0)");
        let between = Spread::of(&[1.0, 2.0]).unwrap();
        assert_eq!((between.lower, between.median, between.upper), (1.25, 1.5, 1.75));
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(shown(None, 1), "-");
        assert_eq!(Spread::of(&[7.0]).map(|s| (s.lower, s.upper)), Some((7.0, 7.0)));
    }
}

//! Whether the first screen may come before everything has been looked at. Pure.

/// What there is to show, and what is still to come.
#[derive(Clone, Copy)]
pub(super) struct SoFar {
    /// Stuck sockets that were reported and are stuck still.
    pub(super) sockets: usize,
    /// Some were judged that do not fit the filter.
    pub(super) has_unfit: bool,
    /// Not all network namespaces have been looked into even once.
    pub(super) first_sweep: bool,
    /// Some that were found wait for their verdict.
    pub(super) judging: bool,
}

impl SoFar {
    /// A screen of now would say that nothing is stuck, or nothing that is asked for, of what
    /// nobody has looked at. That some do not fit says nothing of namespaces not looked into;
    /// but where all have been, those that are judged without a pause need not be waited for.
    pub(super) const fn would_seem_all_clear(self) -> bool {
        self.sockets == 0 && (self.first_sweep || (self.judging && !self.has_unfit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_that_nothing_is_stuck_before_everything_was_looked_at() {
        let all_looked_at = SoFar { sockets: 0, has_unfit: false, first_sweep: false, judging: false };
        let table = [
            (all_looked_at, false),
            (SoFar { judging: true, ..all_looked_at }, true),
            (SoFar { judging: true, has_unfit: true, ..all_looked_at }, false),
            (SoFar { first_sweep: true, ..all_looked_at }, true),
            // One that is not asked for is no answer for the namespaces that are left.
            (SoFar { first_sweep: true, has_unfit: true, ..all_looked_at }, true),
            (SoFar { first_sweep: true, has_unfit: true, judging: true, sockets: 1 }, false),
        ];
        for (i, (so_far, expected)) in table.into_iter().enumerate() {
            assert_eq!(so_far.would_seem_all_clear(), expected, "row {i}");
        }
    }
}

use super::*;
use crate::driver::{Ends, Parts};
use crate::enrich::{Enricher, Options};
use crate::filter::Filter;
use crate::report::Reporter;
use crate::stack::Stacks;

/// One without programs, which has begun to look into network namespaces.
fn driver(ends: Ends) -> Driver {
    let mut driver = Driver::new(Parts {
        loaded: None,
        source: None,
        enricher: Enricher::new(Options::default()).unwrap(),
        stacks: Stacks::spawn().unwrap(),
        reporter: Reporter::new(Vec::new()),
        filter: Filter::default(),
        threshold: Duration::from_secs(10),
        ends,
        degraded: Vec::new(),
        recorder: None,
        only: None,
        metrics: None,
        notices: Vec::new(),
    });
    driver.reconcile(Clock::mono_now());
    assert!(driver.sweeping.as_ref().is_some_and(|sweeping| sweeping.sweep.left() > 0));
    driver
}

#[test]
fn a_sweep_that_the_end_cuts_short_misses_what_none_before_it_has_read() {
    for (once, said) in [(false, 1), (true, 0)] {
        let mut driver = driver(Ends::BySignal);
        driver.swept.once = once;
        driver.look_at_sockets(Clock::mono_now(), true, &Clock::read()).unwrap();
        assert_eq!(driver.degraded.len(), said, "{:?}", driver.degraded);
        assert_eq!(driver.apart.unreached > 0, !once);
        assert!(driver.degraded.iter().all(|text| text.starts_with("the run ended before ")));
    }
}

#[test]
fn a_filter_that_is_read_again_begins_a_sweep_of_its_own() {
    let mut driver = driver(Ends::BySignal);
    let now = Clock::mono_now();
    driver.use_filter(Filter::default(), now);
    assert!(driver.sweeping.is_none() && driver.next_reconcile == now);
}

#[test]
fn the_only_look_for_ghosts_is_missed_where_it_was_not_begun() {
    let said = |ends, has_begun| {
        let mut driver = driver(ends);
        if has_begun {
            driver.next_ghosts = Clock::mono_now();
        }
        driver.cut_look_for_ghosts(&Clock::read(), Clock::mono_now()).unwrap();
        driver.degraded
    };
    let lost = "the run ended before all descriptors had been looked at: ghosts may be missing";
    assert_eq!(said(Ends::AfterFirstLook, false), [lost]);
    assert!(said(Ends::AfterFirstLook, true).is_empty());
    assert!(said(Ends::BySignal, false).is_empty());
}

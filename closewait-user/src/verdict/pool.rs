//! What can be said of sockets that a client keeps to one server: whether they are
//! bounded, as those of a pool are, or become more.

use std::fmt;
use std::time::Duration;

use super::case::{Case, Time};
use super::{IdleBeforeFin, Pool, Role};
use crate::fact::Fact;

/// As many as the pool of an ordinary client keeps for one server.
const FEW: u32 = 10;
/// More than any pool keeps.
const TOO_MANY: u32 = 1000;
/// Births and closes must have been watched this long before a few sockets are
/// called bounded,
const WATCHED: Duration = Duration::from_mins(1);
/// and so long before more than [`FEW`] of which no habit of the peer is known are.
const WATCHED_MANY: Duration = Duration::from_mins(10);

/// So many sockets with the same idle time make a habit of the peer.
const HABIT: u32 = 3;

/// The pool of a client whose peer closes what is idle, and that habit.
pub(super) fn idle<'a>(case: &Case<'a>) -> Option<(&'a Pool, IdleBeforeFin)> {
    if case.evidence.role.known() != Some(&Role::Client) {
        return None;
    }
    let pool = case.evidence.pool.known()?;
    Some((pool, pool.idle_before_fin.filter(|idle| idle.sockets >= HABIT)?))
}

/// The sentence about the peer's habit.
pub(super) struct Habit(pub(super) IdleBeforeFin);

impl fmt::Display for Habit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let IdleBeforeFin { typical, sockets, of } = self.0;
        write!(f, "the peer closed {sockets} of {of} after {} idle", Time(typical))
    }
}

/// A verdict on a pool, with the sentence that says why.
pub(super) enum Kept {
    /// Not growing.
    Bounded(String),
    /// Growing, or grown until nothing was left.
    Growing(String),
    /// Cannot be told, for want of this.
    Unclear(String),
}

/// Of sockets that are known to be a pool's.
pub(super) fn kept(case: &Case, pool: &Pool) -> Kept {
    if let Some(why) = used_up(case, pool) {
        return Kept::Growing(why);
    }
    let Some(growth) = &pool.growth else {
        let (over, watched, stuck) = (Time(WATCHED), Time(pool.watched), pool.stuck);
        let why = format_args!("births and closes over {over} ({stuck} stuck, watched for {watched})");
        return Kept::Unclear(case.say(why));
    };
    let counted = case.say(format_args!(
        "{} stuck, {} births and {} closes in {}",
        pool.stuck,
        growth.births,
        growth.closes,
        Time(growth.watched)
    ));
    if growth.at_least > 0.0 {
        Kept::Growing(case.say(format_args!("{counted}: grows by at least {:.1}/min", growth.at_least)))
    } else {
        Kept::Bounded(case.say(format_args!("{counted}: bounded")))
    }
}

/// Stuck sockets that took a holder's last descriptor: they stopped becoming more because
/// they cannot. No pool is allowed to do that.
fn used_up(case: &Case, pool: &Pool) -> Option<String> {
    case.holders().iter().find_map(|holder| {
        let nofile = holder.nofile.known().filter(|nofile| nofile.is_used_up())?;
        (u64::from(pool.stuck) * 2 >= nofile.soft).then(|| {
            let (stuck, soft) = (pool.stuck, nofile.soft);
            case.say(format_args!("{stuck} of the {soft} descriptors that {holder} may have: none is left"))
        })
    })
}

/// Of sockets that may be a pool's: a few that stay few look just like a session
/// whose server has closed the connection, and do as little harm.
pub(super) fn few_or_many(case: &Case) -> Kept {
    let pool = match &case.evidence.pool {
        Fact::Known(pool) => pool,
        Fact::Unknown(reason) => {
            return Kept::Unclear(case.say(format_args!("whether it is one of an idle pool: {reason}")));
        }
    };
    match kept(case, pool) {
        Kept::Bounded(why) if pool.stuck <= FEW => Kept::Bounded(why),
        Kept::Bounded(_) if pool.stuck > TOO_MANY => Kept::Unclear(case.say(format_args!(
            "why there are {}: more than a pool keeps, though they do not become more now",
            pool.stuck
        ))),
        Kept::Bounded(_) if pool.watched < WATCHED_MANY => Kept::Unclear(case.say(format_args!(
            "births and closes over {}: {} are many for a pool whose idle timeout is not known",
            Time(WATCHED_MANY),
            pool.stuck
        ))),
        other => other,
    }
}

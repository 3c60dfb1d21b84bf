//! What can be said of sockets that a client keeps to one server: whether they are
//! bounded, as those of a pool are, or become more.

use std::time::Duration;

use super::Pool;
use super::case::Time;
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

/// A verdict on a pool, with the sentence that says why.
pub(super) enum Kept {
    /// Not growing.
    Bounded(String),
    /// Growing.
    Growing(String),
    /// Cannot be told, for want of this.
    Unclear(String),
}

/// Of sockets that are known to be a pool's.
pub(super) fn kept(pool: &Pool) -> Kept {
    let Some(growth) = &pool.growth else {
        return Kept::Unclear(format!(
            "births and closes over {} ({} stuck, watched for {})",
            Time(WATCHED),
            pool.stuck,
            Time(pool.watched)
        ));
    };
    let counted = format!(
        "{} stuck, {} births and {} closes in {}",
        pool.stuck,
        growth.births,
        growth.closes,
        Time(growth.watched)
    );
    if growth.at_least > 0.0 {
        Kept::Growing(format!("{counted}: grows by at least {:.1}/min", growth.at_least))
    } else {
        Kept::Bounded(format!("{counted}: bounded"))
    }
}

/// Of sockets that may be a pool's: a few that stay few look just like a session
/// whose server has closed the connection, and do as little harm.
pub(super) fn few_or_many(pool: &Fact<Pool>) -> Kept {
    let pool = match pool {
        Fact::Known(pool) => pool,
        Fact::Unknown(reason) => {
            return Kept::Unclear(format!("whether it is one of an idle pool: {reason}"));
        }
    };
    match kept(pool) {
        Kept::Bounded(why) if pool.stuck <= FEW => Kept::Bounded(why),
        Kept::Bounded(_) if pool.stuck > TOO_MANY => Kept::Unclear(format!(
            "why there are {}: more than a pool keeps, though they do not become more now",
            pool.stuck
        )),
        Kept::Bounded(_) if pool.watched < WATCHED_MANY => Kept::Unclear(format!(
            "births and closes over {}: {} are many for a pool whose idle timeout is not known",
            Time(WATCHED_MANY),
            pool.stuck
        )),
        other => other,
    }
}

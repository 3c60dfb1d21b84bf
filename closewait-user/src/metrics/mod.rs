//! Metrics: what is stuck, what it will cost and what the tool itself costs, as OpenMetrics
//! over HTTP.
//!
//! In: the ledger and the totals that the sinks get, and the reports as they pass. Out: text
//! at `/metrics`. [`sample()`] decides what the series are and is pure; [`exposition`] writes
//! them; [`server`] speaks HTTP and asks the driver, which owns the state, for a fresh text
//! at most once a second. The number of series is bounded whatever is stuck; what is not
//! known has no series, and is never 0.

pub mod answers;
pub mod exposition;
pub mod families;
mod groups;
mod histogram;
mod label;
pub mod listen;
mod present;
pub mod sample;
pub mod server;
pub mod tally;

pub use answers::{Answer, Answers, Ask};
pub use listen::Listen;
pub use sample::{Own, SERIES_BOUND, Sample, Seen, sample};
pub use tally::{Births, Tally};

//! One file per command: validated arguments in, an exit code out.

pub mod doctor;
pub mod explain;
pub mod trace;

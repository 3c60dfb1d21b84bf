//! One file per command: validated arguments in, an exit code out.

pub mod doctor;

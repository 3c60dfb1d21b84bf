//! Where Items come from.

pub mod ring;

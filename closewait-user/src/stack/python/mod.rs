//! The Python functions of a stack: frames as the kernel side found them in the interpreter
//! in, named functions out.
//!
//! [`interpreters`] finds out which executables run Python and tells the kernel side where
//! their frames are; [`names`] reads what a frame's function is called, from the memory of
//! its process; [`merge`] puts the functions where the interpreter's own stand in the stack.

pub(super) mod command;
mod dynamic;
mod interpreter;
pub mod interpreters;
mod layout;
mod lines;
pub(super) mod merge;
pub(super) mod names;

pub use interpreters::Interpreters;

use closewait_ebpf::PythonFrame;

/// The frames of a thread, as the interpreter keeps them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Walk {
    /// Where the interpreter's `_PyRuntime` is.
    pub runtime: u64,
    /// Which interpreter it is: a number that [`Interpreters`] gave.
    pub layout: u32,
    /// Innermost first.
    pub frames: Vec<PythonFrame>,
    /// There were more.
    pub more: bool,
}

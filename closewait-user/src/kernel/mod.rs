//! How records come to be: `support` collects facts about this kernel, `plan`
//! decides from them what to attach and why not (pure), `load` does it, `counters`
//! reads what was lost. Nothing here branches on a kernel version: vendors backport.

mod attach;
pub mod btf;
pub mod counters;
mod detach;
pub mod family;
pub mod functions;
mod hook;
pub mod load;
mod loaded;
mod loader;
pub mod offsets;
mod perf_tracepoint;
pub mod plan;
pub mod pythons;
mod refusal;
mod regs;
mod remedy;
mod served;
pub mod support;
pub mod task_files;
pub mod tracefs;

//! Refusals in words: an error of the loader in, one line for the reader out. Pure.

use aya::programs::ProgramError;

use super::plan::CannotTrace;

/// The build's own fault, which no other kernel helps.
pub(super) fn broken(what: impl Into<String>) -> CannotTrace {
    CannotTrace {
        what: what.into(),
        hint: "this build is broken: rebuild it, or report it with `closewait-trace --version`".into(),
    }
}

/// A refusal in one line: the kernel's answer first, the verifier's last words if it spoke.
pub(super) fn refusal(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            log::debug!("verifier: {log}");
            // After its reason the verifier prints statistics.
            let statistics = ["processed ", "stack depth ", "verification time "];
            let last = log
                .lines()
                .rev()
                .find(|line| !line.is_empty() && !statistics.iter().any(|word| line.starts_with(word)));
            match last {
                Some(last) => format!("refused at load: {io_error}; verifier: {last}"),
                None => format!("refused at load: {io_error}"),
            }
        }
        other => chain(other),
    }
}

/// An error with its causes, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text.replace('\n', " ")
}

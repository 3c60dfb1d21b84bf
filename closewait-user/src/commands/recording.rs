//! What the commands that record share: from options to a recorder.

use std::time::Duration;

use crate::cli::RecordArgs;
use crate::clock::Clock;
use crate::error::Failure;
use crate::recording::{Header, Recorder, Settings};

/// The recorder that the options ask for.
pub(super) fn recorder(
    args: &RecordArgs,
    threshold: Duration,
    degraded: &[String],
) -> Result<Option<Recorder>, Failure> {
    let Some(path) = &args.record else { return Ok(None) };
    let header = Header {
        tool: crate::version::short().into(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        began: Clock::mono_now(),
        threshold,
        degraded: degraded.to_vec(),
        redacted: args.redact,
        part: 1,
    };
    let settings = Settings { path: path.clone(), max: args.record_max, redact: args.redact };
    let recorder = Recorder::create(&settings, header).map_err(|error| {
        Failure::new(format!("cannot record to {}: {error}", path.display()))
            .hint("give a file that can be written and is no symbolic link")
    })?;
    Ok(Some(recorder))
}

//! What the commands that record share: from options to a recorder.

use std::time::Duration;

use super::reporting::say;
use crate::cli::RecordArgs;
use crate::clock::Clock;
use crate::error::Failure;
use crate::recording::{Header, Opened, Recorder, Settings, has_recording, predecessor};

/// The file that the options name, ours from now on. To be called before anything is attached:
/// one that cannot be had ends the run at once.
pub(super) fn opened(args: &RecordArgs) -> Result<Option<Opened>, Failure> {
    let Some(path) = &args.record else { return Ok(None) };
    let before = args.record_max.is_some().then(|| predecessor(path));
    if let Some(before) = &before {
        let replaces = has_recording(before).map_err(|error| {
            Failure::new(format!(
                "cannot record to {} with --record-max: {}: {error}",
                path.display(),
                before.display()
            ))
            .hint("a recording that is full gets that name")
        })?;
        if replaces {
            say(&format!(
                "the recording {} is overwritten when {} is full",
                before.display(),
                path.display()
            ));
        }
    }
    let opened = Opened::open(path).map_err(|error| {
        Failure::new(format!("cannot record to {}: {error}", path.display()))
            .hint("give a file that can be written and is no symbolic link")
    })?;
    if opened.replaces {
        say(&format!("the recording {} is overwritten", path.display()));
    }
    Ok(Some(opened))
}

/// The recorder that the options ask for, on the file that was opened.
pub(super) fn recorder(
    opened: Option<Opened>,
    args: &RecordArgs,
    threshold: Duration,
    degraded: &[String],
) -> Result<Option<Recorder>, Failure> {
    let (Some(path), Some(opened)) = (&args.record, opened) else { return Ok(None) };
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
    let recorder = Recorder::start(opened, &settings, header)
        .map_err(|error| Failure::new(format!("cannot record to {}: {error}", path.display())))?;
    Ok(Some(recorder))
}

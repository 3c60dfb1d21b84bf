//! From what the kernel offers and refused to what `doctor` tells of it. Pure.

use std::path::Path;

use crate::fact::Fact;
use crate::kernel::load::Served;
use crate::kernel::plan::{self, CannotTrace};
use crate::kernel::support::Support;
use crate::privileges::NEEDS;
use crate::report::doctor::{Cannot, Capability, Findings, Kernel, Purpose, Remedy, Tracing};
use crate::text::Text;
use crate::version;

/// What was loaded: how each purpose is served, and the verified instructions of programs.
pub(super) type Loaded = (Vec<Served>, Vec<(String, Option<u32>)>);

/// Who asks, and with what program.
pub(super) struct Asker<'a> {
    /// Whether it is root.
    pub is_root: bool,
    /// This program's file.
    pub program: Option<&'a Path>,
}

/// The findings. `btf` is where the kernel's types were looked for; `pods` which can be named.
pub(super) fn findings(
    support: &Support,
    btf: &Path,
    loaded: &Result<Loaded, CannotTrace>,
    asker: &Asker<'_>,
    pods: &Fact<String>,
) -> Findings {
    let capabilities = map(&support.capabilities, |&effective| {
        let fact = |need: &crate::privileges::Need| Capability {
            name: need.name,
            had: !need.is_missing(effective),
            used_for: need.used_for,
            lost: need.lost,
        };
        NEEDS.iter().map(fact).collect::<Vec<_>>()
    });
    let missing = capabilities.known().map(Vec::as_slice).unwrap_or_default();
    let missing: Vec<_> = missing.iter().filter(|one| !one.had).map(|one| one.name).collect();
    Findings {
        version: version::short(),
        kernel: Kernel {
            release: support.release.clone(),
            machine: std::env::consts::ARCH,
            lockdown: map(&support.lockdown, |mode| Text::from(mode.clone())),
            btf: map(&support.offsets, |_| Text::from(btf.display().to_string())),
            tracefs: map(&support.tracefs, |place| Text::from(place.to_string())),
            kprobes: support.kprobes,
            task_registers: support.task_pt_regs,
        },
        pods: map(pods, |names| Text::from(names.clone())),
        capabilities,
        capabilities_from: (!missing.is_empty()).then(|| from(&missing, asker)),
        tracing: match loaded {
            Ok((served, verified)) => Ok(Tracing {
                purposes: served.iter().map(purpose).collect(),
                verified: verified
                    .iter()
                    .filter_map(|(name, count)| Some((name.clone(), (*count)?)))
                    .collect(),
            }),
            Err(cannot) => Err(Cannot {
                what: cannot.what.clone(),
                hint: cannot.hint.clone(),
                lost: plan::Purpose::Transitions.lost(),
            }),
        },
    }
}

fn purpose(served: &Served) -> Purpose {
    Purpose {
        name: served.purpose.name(),
        by: served.by.map(plan::Hook::name),
        covered: served.covered,
        refused: served.refused.iter().map(|(hook, why)| (hook.name(), why.clone())).collect(),
        lost: served.lost(),
        cost: served.cost(),
        remedies: served.remedies(),
    }
}

/// How to get the capabilities that are missing.
fn from(missing: &[&str], asker: &Asker<'_>) -> Remedy {
    if asker.is_root {
        // Root lacks only what whoever started it has taken away.
        let bare: Vec<_> = missing.iter().map(|name| name.trim_start_matches("CAP_")).collect();
        let what = format!(
            "they were taken away from this root: in a container add them (--cap-add {}, or \
             securityContext.capabilities.add), in a unit see CapabilityBoundingSet=",
            bare.join(",")
        );
        return Remedy { what, command: None };
    }
    // What tracing wants; the others are for `run`, `kill` and old kernels.
    let wanted = NEEDS.iter().filter(|need| need.told && missing.contains(&need.name));
    let names = wanted.map(|need| need.name.to_lowercase()).collect::<Vec<_>>().join(",");
    if names.is_empty() {
        return Remedy { what: "run it as root (sudo)".into(), command: None };
    }
    let program = asker.program.map_or_else(|| "closewait-trace".into(), |path| path.display().to_string());
    Remedy {
        what: "run it as root (sudo), or give this program what tracing takes:".into(),
        command: Some(format!("sudo setcap {names}+ep {program}")),
    }
}

fn map<T, U>(fact: &Fact<T>, known: impl FnOnce(&T) -> U) -> Fact<U> {
    match fact {
        Fact::Known(value) => Fact::Known(known(value)),
        Fact::Unknown(why) => Fact::Unknown(why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_to_get_capabilities_depends_on_who_lacks_them() {
        let missing = ["CAP_BPF", "CAP_PERFMON", "CAP_CHOWN"];
        let program = Path::new("/opt/closewait-trace");
        let user = from(&missing, &Asker { is_root: false, program: Some(program) });
        assert_eq!(user.command.unwrap(), "sudo setcap cap_bpf,cap_perfmon+ep /opt/closewait-trace");
        let unneeded = from(&["CAP_CHOWN"], &Asker { is_root: false, program: None });
        assert_eq!((&*unneeded.what, unneeded.command), ("run it as root (sudo)", None));
        let root = from(&missing, &Asker { is_root: true, program: None });
        assert!(root.what.contains("--cap-add BPF,PERFMON,CHOWN"), "{root:?}");
    }
}

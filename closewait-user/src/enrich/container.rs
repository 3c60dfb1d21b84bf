//! Which container, pod or unit a process belongs to, from its cgroup paths.
//!
//! In: the text of /proc/PID/cgroup. Out: a [`Place`]. Pure. It never asks a
//! container runtime or an API server, so it knows ids; [`super::pods`] knows names.

use std::fmt;

use crate::text::Text;
use crate::verdict::Pod;

/// Where a process runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// A container outside of Kubernetes.
    Container {
        /// `docker`, `podman`, `cri-o`, `containerd`, `lxc`, `machine`, or
        /// `container` where the path does not tell.
        runtime: &'static str,
        /// Its id, or its name where the path has that.
        id: String,
    },
    /// A Kubernetes pod.
    Pod {
        /// Its uid.
        uid: String,
        /// Id of the container in it; `None` for the pod's own cgroup.
        container: Option<String>,
    },
    /// A systemd unit.
    Unit(String),
    /// A systemd slice, when there is no unit in it.
    Slice(String),
}

impl Place {
    /// The pod, of which only ids are known here.
    pub(super) fn pod(&self) -> Option<Pod> {
        let Self::Pod { uid, container } = self else { return None };
        Some(Pod::of_ids(uid.into(), container.as_ref().map(Text::from)))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container { runtime, id } => write!(f, "{runtime} {}", short(id)),
            Self::Pod { uid, container: Some(id) } => write!(f, "pod {uid} container {}", short(id)),
            Self::Pod { uid, container: None } => write!(f, "pod {uid}"),
            Self::Unit(name) => write!(f, "unit {name}"),
            Self::Slice(name) => write!(f, "slice {name}"),
        }
    }
}

/// The 12 digits by which people know a container; a name stays whole.
fn short(id: &str) -> &str {
    if is_id(id) { id.get(..12).unwrap_or(id) } else { id }
}

/// The place that the text of /proc/PID/cgroup names: the most telling of all
/// hierarchies (v1 has many, of which some may say only `/`); `None` when none
/// says anything.
pub fn place(cgroup: &str) -> Option<Place> {
    cgroup
        .lines()
        // hierarchy:controllers:path, and a path may have colons
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .filter_map(of_path)
        .max_by_key(|place| match place {
            Place::Pod { container: Some(_), .. } => 5,
            Place::Pod { container: None, .. } => 4,
            Place::Container { .. } => 3,
            Place::Unit(_) => 2,
            Place::Slice(_) => 1,
        })
}

fn of_path(path: &str) -> Option<Place> {
    // containerd with a mixed-up driver writes slice:prefix:id in one component.
    let parts: Vec<&str> = path.split(['/', ':']).filter(|part| !part.is_empty()).collect();
    // The innermost wins: containers run in containers.
    let container = (0..parts.len()).rev().find_map(|i| container(&parts, i));
    let pod = parts.iter().rev().find_map(|part| pod(part));
    match (pod, container) {
        (Some(uid), container) => Some(Place::Pod { uid, container: container.map(|(_, id)| id) }),
        (None, Some((runtime, id))) => Some(Place::Container { runtime, id }),
        (None, None) => unit(&parts),
    }
}

/// The container that part `i` of a path names.
fn container(parts: &[&str], i: usize) -> Option<(&'static str, String)> {
    const PREFIXES: [(&str, &str); 5] = [
        ("docker-", "docker"),
        ("libpod-", "podman"),
        ("crio-", "cri-o"),
        ("cri-containerd-", "containerd"),
        ("nerdctl-", "containerd"),
    ];
    let part = *parts.get(i)?;
    let before = i.checked_sub(1).and_then(|i| parts.get(i)).copied().unwrap_or_default();
    let scope = part.strip_suffix(".scope").unwrap_or(part);
    for (prefix, runtime) in PREFIXES {
        // crio-conmon-ID and libpod-conmon-ID are the monitor, outside the container.
        if let Some(id) = scope.strip_prefix(prefix).filter(|id| is_id(id)) {
            return Some((runtime, id.into()));
        }
    }
    if let Some(name) = scope.strip_prefix("machine-").filter(|_| scope.len() < part.len()) {
        return Some(("machine", name.into()));
    }
    if let Some(name) = part.strip_prefix("lxc.payload.") {
        return Some(("lxc", name.into()));
    }
    if matches!(before, "lxc" | "lxc.payload") {
        return Some(("lxc", part.into()));
    }
    if part.len() == 64 && is_id(part) {
        let runtime = match before {
            "docker" => "docker",
            "libpod_parent" => "podman",
            "cri-containerd" | "k8s.io" => "containerd",
            _ => "container",
        };
        return Some((runtime, part.into()));
    }
    None
}

/// The pod that a part of a path names: `podUID`, or `kubepods-burstable-podUID.slice`
/// where systemd wants `_` for `-`.
fn pod(part: &str) -> Option<String> {
    let uid = match part.strip_suffix(".slice") {
        Some(slice) => slice.strip_prefix("kubepods").or_else(|| slice.rsplit_once("-kubepods").map(|s| s.1)),
        None => Some(part),
    };
    let uid = uid?.rsplit_once("pod").filter(|(before, _)| before.is_empty() || before.ends_with('-'))?.1;
    let hex = |c: char| c.is_ascii_hexdigit();
    // A uid with dashes, or the 32 digits of a static pod.
    let plausible = uid.len() >= 32 && uid.chars().all(|c| hex(c) || c == '-' || c == '_');
    plausible.then(|| uid.replace('_', "-"))
}

/// The innermost unit of a path, else its innermost slice.
fn unit(parts: &[&str]) -> Option<Place> {
    let last = |suffixes: &[&str]| {
        parts.iter().rev().find(|part| suffixes.iter().any(|s| part.len() > s.len() && part.ends_with(s)))
    };
    let unit = last(&[".service", ".scope", ".socket", ".mount", ".swap"]).map(|u| Place::Unit((*u).into()));
    unit.or_else(|| last(&[".slice"]).map(|s| Place::Slice((*s).into())))
}

/// At least the short form of a container id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() >= 12 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_paths_of_runtimes_and_units() {
        const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
        const UID_: &str = "2c48913c_b29f_11e7_9350_020968147796";
        let pod = format!("pod {UID} container 0123456789ab");
        for (cgroup, want) in [
            // docker: cgroupfs v1, systemd v2, inside a container's own namespace
            (format!("12:pids:/docker/{ID}\n11:cpu,cpuacct:/docker/{ID}\n0::/\n"), "docker 0123456789ab"),
            (format!("0::/system.slice/docker-{ID}.scope\n"), "docker 0123456789ab"),
            (format!("0::/../docker-{ID}.scope/init\n"), "docker 0123456789ab"),
            // a shell in its own slice on one hierarchy, the container on another
            (format!("2:cpu:/user.slice\n1:name=systemd:/docker/{ID}\n"), "docker 0123456789ab"),
            // containers in a container: the inner one
            (format!("0::/docker/{}/docker/{ID}\n", ID.replace('0', "f")), "docker 0123456789ab"),
            // podman: rootful, rootless, cgroupfs; its monitor is not in the container
            (format!("0::/machine.slice/libpod-{ID}.scope/container\n"), "podman 0123456789ab"),
            (
                format!("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope\n"),
                "podman 0123456789ab",
            ),
            (format!("4:memory:/libpod_parent/libpod-{ID}\n"), "podman 0123456789ab"),
            (
                format!("0::/machine.slice/libpod-conmon-{ID}.scope\n"),
                &format!("unit libpod-conmon-{ID}.scope"),
            ),
            // kubernetes: cgroupfs and systemd drivers, each quality of service, each runtime
            (format!("9:cpu:/kubepods/burstable/pod{UID}/{ID}\n"), &pod),
            (format!("9:cpu:/kubepods/pod{UID}/crio-{ID}\n"), &pod),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/cri-containerd-{ID}.scope\n"
                ),
                &pod,
            ),
            (format!("0::/kubepods.slice/kubepods-pod{UID_}.slice/crio-{ID}.scope/container\n"), &pod),
            (
                format!(
                    "0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{UID_}.slice/cri-containerd-{ID}.scope\n"
                ),
                &pod,
            ),
            (
                format!(
                    "1:name=systemd:/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}\n"
                ),
                &pod,
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod{}.slice\n", ID.get(..32).unwrap()),
                "pod 0123456789abcdef0123456789abcdef",
            ),
            // containerd, ECS, nspawn, LXC
            (format!("0::/system.slice/nerdctl-{ID}.scope\n"), "containerd 0123456789ab"),
            (format!("0::/k8s.io/{ID}\n"), "containerd 0123456789ab"),
            (format!("3:cpu:/ecs/7f3a/{ID}\n"), "container 0123456789ab"),
            ("0::/machine.slice/machine-web.scope/payload\n".into(), "machine web"),
            ("0::/lxc.payload.web/system.slice/nginx.service\n".into(), "lxc web"),
            ("5:cpu:/lxc/web\n".into(), "lxc web"),
            // units
            ("0::/system.slice/nginx.service\n".into(), "unit nginx.service"),
            ("0::/system.slice/nginx.service/worker\n".into(), "unit nginx.service"),
            (
                "0::/system.slice/system-postgresql.slice/postgresql@15-main.service\n".into(),
                "unit postgresql@15-main.service",
            ),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-foo.service\n".into(),
                "unit app-foo.service",
            ),
            ("0::/user.slice/user-1000.slice/session-3.scope\n".into(), "unit session-3.scope"),
            ("0::/user.slice/user-1000.slice\n".into(), "slice user-1000.slice"),
            // a unit whose name only looks like a pod's or a container's
            ("0::/system.slice/tripod.service\n".into(), "unit tripod.service"),
            ("0::/system.slice/docker-registry.service\n".into(), "unit docker-registry.service"),
        ] {
            assert_eq!(place(&cgroup).map(|p| p.to_string()).as_deref(), Some(want), "{cgroup}");
        }
        for nothing in ["", "0::/\n", "12:pids:/\n0::/\n", "garbage", "0::/.service\n", "0::/a/b\n"] {
            assert_eq!(place(nothing), None, "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}", path in "(/|pod|-|kubepods|\\.slice|\\.scope|[0-9a-f]{12}|é|:){0,30}") {
            let _ = place(&text);
            let _ = place(&format!("0::{path}")).map(|p| p.to_string());
        }
    }
}

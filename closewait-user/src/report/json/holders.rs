//! Who has a descriptor on a socket, or on the listener in whose queue it waits.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::text::Text;
use crate::verdict;

use super::values::split;

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Holder {
    pid: u32,
    comm: Text,
    /// What it runs, where that tells more than its name: `python3 orders_api.py`. No argument of
    /// it is ever part of this, nor code.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Text>,
    exe: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exe_unknown: Option<Text>,
    /// The lowest, when it has several.
    fd: u32,
    cloexec: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloexec_unknown: Option<Text>,
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid_unknown: Option<Text>,
    /// Container, pod or unit, by names where they are known; null when it is in none.
    container: Option<Text>,
    /// Its pod, when it is in one of Kubernetes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<Pod>,
}

impl From<&verdict::Holder> for Holder {
    fn from(h: &verdict::Holder) -> Self {
        let (exe, exe_unknown) = split(&h.exe, Clone::clone);
        let (cloexec, cloexec_unknown) = split(&h.cloexec, |v| *v);
        let (uid, uid_unknown) = split(&h.uid, |v| *v);
        Self {
            pid: h.pid,
            comm: h.comm.clone(),
            program: h.program.clone(),
            exe,
            exe_unknown,
            fd: h.fd,
            cloexec,
            cloexec_unknown,
            uid,
            uid_unknown,
            container: h.container.clone(),
            pod: h.pod.as_deref().map(Pod::from),
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pod {
    uid: Text,
    namespace: Option<Text>,
    name: Option<Text>,
    /// Why namespace and name are not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    name_unknown: Option<Text>,
    /// Name of the container in the pod's description.
    container: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_unknown: Option<Text>,
    /// Null for what runs in the pod's own cgroup.
    container_id: Option<Text>,
    /// As a volume of the pod has them (downwardAPI, a file named labels).
    labels: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels_unknown: Option<Text>,
}

impl From<&verdict::Pod> for Pod {
    fn from(pod: &verdict::Pod) -> Self {
        let (name, name_unknown) = split(&pod.name, Clone::clone);
        let (namespace, name) = name.map(|of| (of.namespace, of.name)).unzip();
        let (container, container_unknown) = split(&pod.container, Clone::clone);
        let (labels, labels_unknown) = split(&pod.labels, Clone::clone);
        Self {
            uid: pod.uid.clone(),
            namespace,
            name,
            name_unknown,
            container,
            container_unknown,
            container_id: pod.container_id.clone(),
            labels,
            labels_unknown,
        }
    }
}

#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listener {
    /// Null when no process was found.
    pid: Option<u32>,
    comm: Option<Text>,
    /// As of a holder.
    #[serde(skip_serializing_if = "Option::is_none")]
    program: Option<Text>,
    fd: Option<u32>,
    /// Connections waiting to be accepted.
    queue: u32,
    /// Most that may wait.
    limit: u32,
}

impl From<&verdict::Listener> for Listener {
    fn from(l: &verdict::Listener) -> Self {
        let holder = l.holder.as_ref();
        Self {
            pid: holder.map(|h| h.pid),
            comm: holder.map(|h| h.comm.clone()),
            program: holder.and_then(|h| h.program.clone()),
            fd: holder.map(|h| h.fd),
            queue: l.queue,
            limit: l.limit,
        }
    }
}

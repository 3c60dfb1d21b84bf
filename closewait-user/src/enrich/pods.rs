//! What Kubernetes calls the pods and containers whose ids are in cgroup paths.
//!
//! In: processes that belong to a pod. Out: their [`Pod`]s, each part known or missing for a
//! reason. Never: a request to a runtime or an API server. What the kubelet leaves on its
//! host is read, and no file of a pod but its labels. All the names are input: they are
//! bounded, and those that Kubernetes would not allow are not believed.
//!
//! Where (pkg/kubelet/kuberuntime of Kubernetes, helpers.go and legacy.go; the directories of
//! volumes: pkg/kubelet/kubelet_getters.go; the file: pkg/fieldpath, FormatMap):
//!
//! - `/var/log/pods/NAMESPACE_NAME_UID/` names a pod;
//! - `/var/log/containers/NAME_NAMESPACE_CONTAINER-ID.log` names a container;
//! - `/var/lib/kubelet/pods/UID/volumes/kubernetes.io~downward-api/VOLUME/labels` has its
//!   labels, if the pod asks for them in a file of this name: `KEY="VALUE"`, one a line.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::pod_names::{self, labels};
use crate::clock::MonoNs;
use crate::fact::Fact;
use crate::text::Text;
use crate::verdict::{Pod, PodName, Process};

/// A pod or container that is not in the lists is looked for again after so long: the kubelet
/// writes the link of a container once it runs.
const AGAIN: Duration = Duration::from_secs(10);

/// Names that are read of a directory. A node has 110 pods by default, and each container a
/// few links.
const NAMES_MAX: usize = 16_384;

/// Volumes of a pod that are looked into for labels.
const VOLUMES_MAX: usize = 16;

/// A pod that is known.
#[derive(Clone, Debug)]
struct Known {
    name: Result<PodName, Text>,
    labels: Option<Fact<BTreeMap<String, String>>>,
}

/// What was read of the host, until something is asked for that is not in it.
#[derive(Debug)]
pub struct Pods {
    root: PathBuf,
    known: HashMap<Text, Known>,
    containers: HashMap<Text, (PodName, Text)>,
    listed: Option<MonoNs>,
    /// Why the first list, and the second, could not be read, or not in full.
    unread: [Option<Text>; 2],
    /// Whether that was told.
    told: bool,
    failed: Option<String>,
}

impl Default for Pods {
    fn default() -> Self {
        Self::under(Path::new("/"))
    }
}

impl Pods {
    /// Of a host whose file system begins at `root`.
    pub fn under(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            known: HashMap::new(),
            containers: HashMap::new(),
            listed: None,
            unread: [None, None],
            told: false,
            failed: None,
        }
    }

    /// Names the pod that `process` is in, if it is in one.
    pub fn name(&mut self, process: &mut Process, now: MonoNs) {
        let Some(pod) = &mut process.pod else { return };
        let pod = Arc::make_mut(pod);
        self.fill(pod, now);
        if let Some(display) = pod.display() {
            process.container = Some(display);
        }
    }

    /// Why pods cannot be named, once.
    pub fn take_failure(&mut self) -> Option<String> {
        self.failed.take()
    }

    fn fill(&mut self, pod: &mut Pod, now: MonoNs) {
        let container_is_known =
            |pods: &Self| pod.container_id.as_ref().is_none_or(|id| pods.containers.contains_key(id));
        if !(self.known.contains_key(&pod.uid) && container_is_known(self))
            && self.listed.is_none_or(|at| now.since(at) >= AGAIN)
        {
            self.list(now);
        }
        let [pods_unread, containers_unread] = self.unread.clone();
        let known = self.known.get_mut(&pod.uid);
        let link = pod.container_id.as_ref().map(|id| self.containers.get(id));
        pod.name = match (&known, link) {
            (Some(Known { name: Ok(name), .. }), _) => Fact::Known(name.clone()),
            (Some(Known { name: Err(why), .. }), _) => Fact::Unknown(why.clone()),
            // The link of its container tells it, too.
            (None, Some(Some((name, _)))) => Fact::Known(name.clone()),
            (None, _) => {
                Fact::Unknown(pods_unread.unwrap_or_else(|| "/var/log/pods does not have it".into()))
            }
        };
        pod.container = match link {
            None => Fact::unknown("it is in the pod's own cgroup"),
            Some(Some((name, container))) if pod.name.known() == Some(name) => Fact::Known(container.clone()),
            Some(Some(_)) => Fact::unknown("/var/log/containers says that it is another pod's"),
            Some(None) => {
                let not_there = || "/var/log/containers does not have it".into();
                Fact::Unknown(containers_unread.unwrap_or_else(not_there))
            }
        };
        pod.labels = match known {
            Some(known) => known.labels.get_or_insert_with(|| read_labels(&self.root, &pod.uid)).clone(),
            None => Fact::unknown("the pod is not known"),
        };
        if let (Some(why), Fact::Unknown(_)) = (&self.unread[0], &pod.name)
            && !std::mem::replace(&mut self.told, true)
        {
            self.failed = Some(format!("pods have no names here, only ids: {why}"));
        }
    }

    /// Reads both directories. Labels stay as they were read, for as long as the pod is there.
    fn list(&mut self, now: MonoNs) {
        self.listed = Some(now);
        let mut before = std::mem::take(&mut self.known);
        let (names, unread) = listed(&self.root, "/var/log/pods", NAMES_MAX);
        self.unread[0] = unread;
        for (name, uid) in names.iter().filter_map(|name| pod_names::of_directory(name)) {
            let labels = before.remove(&uid).and_then(|known| known.labels);
            let known = Known { name: Ok(name), labels };
            self.known
                .entry(uid)
                .and_modify(|known| known.name = Err("/var/log/pods has two names for it".into()))
                .or_insert(known);
        }
        let (names, unread) = listed(&self.root, "/var/log/containers", NAMES_MAX);
        self.unread[1] = unread;
        let links = names.iter().filter_map(|name| pod_names::of_link(name));
        self.containers = links.map(|(id, name, container)| (id, (name, container))).collect();
    }
}

/// The names in a directory, and why they are not all.
fn listed(root: &Path, directory: &str, max: usize) -> (Vec<String>, Option<Text>) {
    let entries = match std::fs::read_dir(root.join(directory.trim_start_matches('/'))) {
        Ok(entries) => entries,
        Err(error) => return (Vec::new(), Some(format!("cannot read {directory}: {error}").into())),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let names: Vec<_> = names.take(max).collect();
    let full = names.len() == max;
    (names, full.then(|| format!("of {directory} only {max} names are read").into()))
}

/// The labels of a pod that asks for them in a file. No link is followed out of its volumes.
fn read_labels(root: &Path, uid: &str) -> Fact<BTreeMap<String, String>> {
    const KUBELET: &str = "var/lib/kubelet/pods";
    let base = root.join(KUBELET);
    if let Err(error) = std::fs::metadata(&base) {
        return Fact::unknown(format!("cannot read /{KUBELET}: {error}"));
    }
    let volumes = base.join(uid).join("volumes/kubernetes.io~downward-api");
    let names: Vec<_> = match std::fs::read_dir(&volumes) {
        Ok(entries) => entries.flatten().take(VOLUMES_MAX).map(|entry| entry.file_name()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Fact::unknown(format!("cannot read the pod's volumes: {error}")),
    };
    let text = names.iter().find_map(|name| {
        let volume = beneath(CWD, &volumes.join(name), OFlags::DIRECTORY | OFlags::NOFOLLOW, None).ok()?;
        beneath(&volume, Path::new("labels"), OFlags::NONBLOCK, Some(ResolveFlags::BENEATH))
            .ok()
            .and_then(read)
    });
    match text {
        Some(text) => Fact::Known(labels(&text)),
        None => Fact::unknown("no volume of the pod has them (downwardAPI, a file named labels)"),
    }
}

fn beneath(
    directory: impl std::os::fd::AsFd,
    path: &Path,
    flags: OFlags,
    resolve: Option<ResolveFlags>,
) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    let resolve = resolve.unwrap_or(ResolveFlags::empty()) | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(directory, path, flags, Mode::empty(), resolve)
}

/// The beginning of a file, if it is one.
fn read(file: OwnedFd) -> Option<String> {
    let stat = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(file).take(pod_names::LABELS_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether pods can be named here, in a clause, for who asks before there is any.
pub fn outlook(root: &Path) -> Fact<String> {
    let (pods, why) = listed(root, "/var/log/pods", NAMES_MAX);
    if let Some(why) = why.filter(|_| pods.is_empty()) {
        return Fact::Unknown(why);
    }
    let (containers, no_containers) = listed(root, "/var/log/containers", NAMES_MAX);
    let pods = pods.iter().filter(|name| pod_names::of_directory(name).is_some()).count();
    let containers = match no_containers {
        Some(why) if containers.is_empty() => format!("not of containers ({why})"),
        _ => {
            format!(
                "and {} containers",
                containers.iter().filter(|n| pod_names::of_link(n).is_some()).count()
            )
        }
    };
    let labels = match std::fs::read_dir(root.join("var/lib/kubelet/pods")) {
        Ok(_) => "labels where a pod asks for them".to_owned(),
        Err(error) => format!("no labels (cannot read /var/lib/kubelet/pods: {error})"),
    };
    Fact::Known(format!("names of {pods} pods {containers}; {labels}"))
}

#[cfg(test)]
#[path = "pods_tests.rs"]
mod tests;

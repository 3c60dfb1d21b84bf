//! The Kubernetes pod that a process is in.

use std::collections::BTreeMap;

use crate::fact::Fact;
use crate::text::Text;

/// A pod, and the container in it.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Pod {
    /// Its uid, from the cgroup path.
    pub uid: Text,
    /// Id of the container, from the same; none for what runs in the pod's own cgroup.
    pub container_id: Option<Text>,
    /// What it is called.
    pub name: Fact<PodName>,
    /// What the container is called.
    pub container: Fact<Text>,
    /// Its labels.
    pub labels: Fact<BTreeMap<String, String>>,
}

/// Name of a pod, which is unique on a host at a time.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct PodName {
    /// Its namespace.
    pub namespace: Text,
    /// Its name in there.
    pub name: Text,
}

impl Pod {
    /// One of which nothing but ids is known, so far.
    pub fn of_ids(uid: Text, container_id: Option<Text>) -> Self {
        const NOT_YET: &str = "not looked for";
        Self {
            uid,
            container_id,
            name: Fact::unknown(NOT_YET),
            container: Fact::unknown(NOT_YET),
            labels: Fact::unknown(NOT_YET),
        }
    }

    /// `pod NAMESPACE/NAME/CONTAINER`, as far as names are known; `None` if the pod's is not.
    pub fn display(&self) -> Option<Text> {
        let PodName { namespace, name } = self.name.known()?;
        Some(match (&self.container, &self.container_id) {
            (Fact::Known(container), _) => format!("pod {namespace}/{name}/{container}").into(),
            (_, Some(id)) => {
                let short = id.get(..12).unwrap_or(id);
                format!("pod {namespace}/{name} container {short}").into()
            }
            (_, None) => format!("pod {namespace}/{name}").into(),
        })
    }
}

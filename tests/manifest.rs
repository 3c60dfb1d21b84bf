//! What the Kubernetes manifest gives the tool, for the tests that hold it against the tool.

use rustix::thread::CapabilitySet;
use yaml_rust2::{Yaml, YamlLoader};

/// The manifest, as it is committed.
pub(crate) struct Manifest(pub(crate) Vec<Yaml>);

impl Manifest {
    pub(crate) fn read() -> Self {
        let text = include_str!("../closewait-user/kubernetes/closewait-trace.yaml");
        Self(YamlLoader::load_from_str(text).unwrap_or_else(|error| panic!("no YAML: {error}")))
    }

    /// The one object of this kind.
    pub(crate) fn object(&self, kind: &str) -> &Yaml {
        let mut all = self.0.iter().filter(|object| object["kind"].as_str() == Some(kind));
        match (all.next(), all.next()) {
            (Some(one), None) => one,
            _ => panic!("not one {kind}"),
        }
    }

    /// The description of the pods.
    pub(crate) fn pod(&self) -> &Yaml {
        &self.object("DaemonSet")["spec"]["template"]["spec"]
    }

    /// Their only container.
    pub(crate) fn container(&self) -> &Yaml {
        let [one] = &list(&self.pod()["containers"])[..] else { panic!("not one container") };
        one
    }

    pub(crate) fn args(&self) -> Vec<String> {
        list(&self.container()["args"]).iter().map(|arg| string(arg).to_owned()).collect()
    }

    /// Names of the capabilities it gives, as capabilities(7) writes them.
    pub(crate) fn capability_names(&self) -> Vec<String> {
        let added = list(&self.container()["securityContext"]["capabilities"]["add"]);
        added.iter().map(|name| format!("CAP_{}", string(name))).collect()
    }

    /// The same as a set.
    pub(crate) fn capabilities(&self) -> CapabilitySet {
        let known = |name: &String| {
            let need = closewait_trace::privileges::NEEDS.iter().find(|need| need.name == name);
            need.unwrap_or_else(|| panic!("there is no use for {name}")).capability
        };
        self.capability_names().iter().map(known).fold(CapabilitySet::empty(), |all, one| all | one)
    }

    /// Where a probe asks: port and path.
    pub(crate) fn asked_by(&self, probe: &str) -> (u16, &str) {
        let asks = &self.container()[probe]["httpGet"];
        let mut ports = list(&self.container()["ports"]).iter();
        let port = ports.find(|port| port["name"] == asks["port"]);
        let port = port.unwrap_or_else(|| panic!("no port is called {:?}", asks["port"]));
        let port = port["containerPort"].as_i64().and_then(|port| u16::try_from(port).ok());
        (port.unwrap_or_default(), string(&asks["path"]))
    }
}

pub(crate) fn list(yaml: &Yaml) -> &Vec<Yaml> {
    yaml.as_vec().unwrap_or_else(|| panic!("no list: {yaml:?}"))
}

pub(crate) fn string(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("no string: {yaml:?}"))
}

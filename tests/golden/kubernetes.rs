//! The Kubernetes manifest: it gives what the tool's own table says, no more, and its
//! arguments and probes are such as the tool understands.

use clap::Parser;
use closewait_trace::cli::{Cli, OutputFormat};
use closewait_trace::privileges::{NEEDS, of_a_service};

use crate::manifest::{Manifest, list, string};

#[test]
fn it_is_a_namespace_and_a_daemon_set_in_it() {
    let manifest = Manifest::read();
    let kinds: Vec<_> = manifest.0.iter().map(|object| string(&object["kind"])).collect();
    assert_eq!(kinds, ["Namespace", "DaemonSet"]);
    let (space, set) = (manifest.object("Namespace"), manifest.object("DaemonSet"));
    assert_eq!(set["metadata"]["namespace"], space["metadata"]["name"]);
    assert_eq!(
        space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"].as_str(),
        Some("privileged")
    );
    let spec = &set["spec"];
    assert_eq!(spec["selector"]["matchLabels"], spec["template"]["metadata"]["labels"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(string(&manifest.container()["image"]), format!("closewait-trace:{version}"));
}

#[test]
fn it_gives_the_capabilities_of_the_table_and_nothing_else() {
    let manifest = Manifest::read();
    let security = &manifest.container()["securityContext"];
    assert_eq!(manifest.capabilities(), of_a_service());
    let names = manifest.capability_names();
    let uses = NEEDS.iter().filter(|need| names.iter().any(|name| name == need.name)).count();
    assert_eq!(uses, names.len(), "no name twice, and none without a use");
    let dropped = list(&security["capabilities"]["drop"]);
    assert_eq!(dropped.iter().map(string).collect::<Vec<_>>(), ["ALL"]);
    assert_eq!(security["privileged"].as_bool(), Some(false));
    assert_eq!(security["readOnlyRootFilesystem"].as_bool(), Some(true));
    assert_eq!(security["seccompProfile"]["type"].as_str(), Some("RuntimeDefault"));
    // The API refuses false beside CAP_SYS_ADMIN.
    assert!(security["allowPrivilegeEscalation"].is_badvalue());

    let pod = manifest.pod();
    assert_eq!((pod["hostPID"].as_bool(), pod["hostNetwork"].as_bool()), (Some(true), Some(false)));
    assert!(pod["hostIPC"].is_badvalue());
    assert_eq!(pod["automountServiceAccountToken"].as_bool(), Some(false));
    // Names only, where the tool looks for them.
    let logs = ["/var/log/pods", "/var/log/containers"].map(|path| (path, path));
    assert_eq!(mounts(&manifest), logs);
}

/// Where directories of the node are mounted read-only: there, and in the container.
fn mounts(manifest: &Manifest) -> Vec<(&str, &str)> {
    let volumes = list(&manifest.pod()["volumes"]);
    let mounts = list(&manifest.container()["volumeMounts"]).iter();
    let paths = mounts.map(|mount| {
        assert_eq!(mount["readOnly"].as_bool(), Some(true), "{mount:?}");
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]);
        let volume = volume.unwrap();
        (string(&volume["hostPath"]["path"]), string(&mount["mountPath"]))
    });
    paths.collect()
}

#[test]
fn the_tool_understands_its_arguments() {
    let args = Manifest::read().args();
    let cli = Cli::try_parse_from([&["closewait-trace".to_owned()], args.as_slice()].concat());
    let cli = cli.unwrap_or_else(|error| panic!("{error}"));
    assert!(cli.command.is_none(), "it traces live");
    assert!(cli.trace.duration.is_none(), "and for ever");
    assert!(matches!(cli.trace.report.output, OutputFormat::Json));
}

#[test]
fn probes_and_prometheus_ask_where_metrics_are_served() {
    let manifest = Manifest::read();
    let args = [&["closewait-trace".to_owned()], manifest.args().as_slice()].concat();
    let at = Cli::parse_from(args).trace.metrics_listen.unwrap().0;
    assert!(at.ip().is_unspecified(), "the kubelet asks the pod's address");
    for probe in ["startupProbe", "livenessProbe"] {
        assert_eq!(manifest.asked_by(probe), (at.port(), "/metrics"), "{probe}");
    }
    let annotations = &manifest.object("DaemonSet")["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"].as_str(), Some(&*at.port().to_string()));
    assert_eq!(annotations["prometheus.io/path"].as_str(), Some("/metrics"));
}

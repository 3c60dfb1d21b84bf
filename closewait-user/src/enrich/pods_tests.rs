//! Made-up hosts, laid out as the kubelet does it.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Host(tempfile::TempDir);

impl Host {
    /// With one pod that runs one container and asks for its labels.
    fn new() -> Self {
        let host = Self::empty();
        host.directory(&format!("var/log/pods/shop_cart-7d9c5b8f6d-x2x9k_{UID}/app"));
        host.link(&format!("cart-7d9c5b8f6d-x2x9k_shop_app-{ID}"));
        // As the kubelet's AtomicWriter leaves it.
        let volume = format!("var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~downward-api/podinfo");
        host.directory(&format!("{volume}/..2026_11_28"));
        host.file(&format!("{volume}/..2026_11_28/labels"), "app=\"cart\"\nacme.org/tier=\"front\"");
        symlink("..2026_11_28", host.0.path().join(&volume).join("..data")).unwrap();
        symlink("..data/labels", host.0.path().join(&volume).join("labels")).unwrap();
        host
    }

    fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn directory(&self, path: &str) {
        fs::create_dir_all(self.0.path().join(path)).unwrap();
    }

    fn file(&self, path: &str, text: &str) {
        fs::write(self.0.path().join(path), text).unwrap();
    }

    /// A link of a container, which leads to nowhere here.
    fn link(&self, name: &str) {
        self.directory("var/log/containers");
        symlink("/nowhere", self.0.path().join("var/log/containers").join(format!("{name}.log"))).unwrap();
    }

    fn pods(&self) -> Pods {
        Pods::under(self.0.path())
    }
}

fn at(seconds: u64) -> MonoNs {
    MonoNs(seconds * 1_000_000_000)
}

fn filled(pods: &mut Pods, uid: &str, id: Option<&str>, now: MonoNs) -> Pod {
    let mut pod = Pod::of_ids(Text::of(uid), id.map(Text::of));
    pods.fill(&mut pod, now);
    pod
}

fn shown(pod: &Pod) -> Option<String> {
    pod.display().map(String::from)
}

#[test]
fn a_pod_is_named_with_its_container_and_labels() {
    let host = Host::new();
    let pod = filled(&mut host.pods(), UID, Some(ID), at(1));
    assert_eq!(shown(&pod).as_deref(), Some("pod shop/cart-7d9c5b8f6d-x2x9k/app"));
    let labels = pod.labels.known().unwrap();
    assert_eq!(
        (labels["app"].as_str(), labels["acme.org/tier"].as_str(), labels.len()),
        ("cart", "front", 2)
    );
    let pod = filled(&mut host.pods(), UID, None, at(1));
    assert_eq!(shown(&pod).as_deref(), Some("pod shop/cart-7d9c5b8f6d-x2x9k"));
    assert!(pod.container.reason().unwrap().contains("own cgroup"), "{pod:?}");
}

#[test]
fn what_cannot_be_had_has_a_reason() {
    let host = Host::empty();
    let mut pods = host.pods();
    let pod = filled(&mut pods, UID, Some(ID), at(1));
    assert_eq!(shown(&pod), None);
    assert!(pod.name.reason().unwrap().starts_with("cannot read /var/log/pods: "), "{pod:?}");
    assert!(pod.container.reason().unwrap().starts_with("cannot read /var/log/containers: "), "{pod:?}");
    assert_eq!(pod.labels.reason(), Some("the pod is not known"));
    let failure = pods.take_failure().unwrap();
    assert!(failure.contains("only ids: cannot read /var/log/pods"), "{failure}");
    filled(&mut pods, UID, Some(ID), at(100));
    assert_eq!(pods.take_failure(), None, "told once");

    host.directory("var/log/pods");
    host.directory("var/log/containers");
    let pod = filled(&mut host.pods(), UID, Some(ID), at(1));
    assert_eq!(pod.name.reason(), Some("/var/log/pods does not have it"));
    assert_eq!(pod.container.reason(), Some("/var/log/containers does not have it"));

    host.directory(&format!("var/log/pods/shop_cart_{UID}"));
    let pod = filled(&mut host.pods(), UID, Some(ID), at(1));
    assert_eq!(shown(&pod).as_deref(), Some("pod shop/cart container 0123456789ab"));
    assert!(pod.labels.reason().unwrap().starts_with("cannot read /var/lib/kubelet/pods: "), "{pod:?}");
    host.directory("var/lib/kubelet/pods");
    let pod = filled(&mut host.pods(), UID, Some(ID), at(1));
    assert!(pod.labels.reason().unwrap().contains("no volume of the pod has them"), "{pod:?}");
}

/// A pod without its directory is named by the link of its container.
#[test]
fn a_link_alone_names_both() {
    let host = Host::empty();
    host.link(&format!("cart_shop_app-{ID}"));
    let pod = filled(&mut host.pods(), UID, Some(ID), at(1));
    assert_eq!(shown(&pod).as_deref(), Some("pod shop/cart/app"));
}

#[test]
fn names_that_disagree_are_not_believed() {
    let host = Host::new();
    host.directory(&format!("var/log/pods/kube-system_dns_{UID}"));
    let pod = filled(&mut host.pods(), UID, Some(ID), at(1));
    assert_eq!(pod.name.reason(), Some("/var/log/pods has two names for it"));
    assert_eq!(shown(&pod), None);

    let host = Host::empty();
    host.directory(&format!("var/log/pods/shop_cart_{UID}"));
    host.link(&format!("dns_kube-system_app-{ID}"));
    let pod = filled(&mut host.pods(), UID, Some(ID), at(1));
    assert_eq!(shown(&pod).as_deref(), Some("pod shop/cart container 0123456789ab"));
    assert!(pod.container.reason().unwrap().contains("another pod's"), "{pod:?}");
}

/// Once it is known, nothing is read again; what is not known is looked for again later.
#[test]
fn directories_are_read_for_what_is_new_only() {
    let host = Host::new();
    let mut pods = host.pods();
    assert!(shown(&filled(&mut pods, UID, Some(ID), at(1))).is_some());
    fs::remove_dir_all(host.0.path().join("var")).unwrap();
    let pod = filled(&mut pods, UID, Some(ID), at(1000));
    assert!(shown(&pod).is_some() && pod.labels.known().is_some(), "{pod:?}");

    let host = Host::new();
    let mut pods = host.pods();
    let other = UID.replace('2', "3");
    assert_eq!(shown(&filled(&mut pods, &other, None, at(1))), None);
    host.directory(&format!("var/log/pods/shop_late_{other}"));
    assert_eq!(shown(&filled(&mut pods, &other, None, at(10))), None, "not yet");
    assert_eq!(shown(&filled(&mut pods, &other, None, at(11))).as_deref(), Some("pod shop/late"));
    fs::remove_dir(host.0.path().join(format!("var/log/pods/shop_late_{other}"))).unwrap();
    filled(&mut pods, "0", None, at(21));
    assert_eq!(pods.known.len(), 1, "pods that are gone are forgotten");
}

/// A volume of labels is no way to other files, nor to wait for ever.
#[test]
fn labels_are_read_from_the_volume_and_nowhere_else() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    fs::write(secret.path(), "app=\"secret\"\n").unwrap();
    let volume = format!("var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~downward-api");
    let traps: [fn(&Path, &Path); 4] = [
        |secret, volume| symlink(secret, volume.join("labels")).unwrap(),
        |secret, volume| {
            let up: PathBuf = std::iter::repeat_n("..", 40).collect();
            symlink(up.join(secret.strip_prefix("/").unwrap()), volume.join("labels")).unwrap();
        },
        |_, volume| {
            rustix::fs::mknodat(CWD, volume.join("labels"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        },
        |_, volume| fs::create_dir(volume.join("labels")).unwrap(),
    ];
    for trap in traps {
        let host = Host::empty();
        host.directory(&format!("var/log/pods/shop_cart_{UID}"));
        host.directory(&format!("{volume}/podinfo"));
        trap(secret.path(), &host.0.path().join(&volume).join("podinfo"));
        let pod = filled(&mut host.pods(), UID, None, at(1));
        assert!(pod.labels.known().is_none(), "{pod:?}");
    }
    // Nor is the volume itself a link.
    let host = Host::empty();
    host.directory(&format!("var/log/pods/shop_cart_{UID}"));
    host.directory(&volume);
    host.directory("elsewhere");
    host.file("elsewhere/labels", "app=\"secret\"\n");
    symlink(host.0.path().join("elsewhere"), host.0.path().join(&volume).join("podinfo")).unwrap();
    let pod = filled(&mut host.pods(), UID, None, at(1));
    assert!(pod.labels.known().is_none(), "{pod:?}");
}

#[test]
fn only_as_many_names_as_are_allowed_are_read() {
    let host = Host::empty();
    host.directory("var/log/pods");
    for name in ["a", "b", "c"] {
        host.file(&format!("var/log/pods/{name}"), "");
    }
    let read = |max| listed(host.0.path(), "/var/log/pods", max);
    assert_eq!((read(4).0.len(), read(4).1), (3, None));
    let (names, why) = read(2);
    assert_eq!((names.len(), why.as_deref()), (2, Some("of /var/log/pods only 2 names are read")));
}

#[test]
fn what_can_be_had_is_told_before_there_is_a_pod() {
    let host = Host::new();
    assert_eq!(
        outlook(host.0.path()),
        Fact::Known("names of 1 pods and 1 containers; labels where a pod asks for them".into())
    );
    fs::remove_dir_all(host.0.path().join("var/lib")).unwrap();
    fs::remove_dir_all(host.0.path().join("var/log/containers")).unwrap();
    let some = outlook(host.0.path());
    let some = some.known().unwrap();
    assert!(some.contains("not of containers (cannot read") && some.contains("no labels (cannot"), "{some}");
    let none = outlook(Host::empty().0.path());
    assert!(none.reason().unwrap().starts_with("cannot read /var/log/pods: "), "{none:?}");
}

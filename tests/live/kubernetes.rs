//! As a pod of the Kubernetes manifest: its capabilities and no more, a root that cannot be
//! written to, the processes of the host, a network and a cgroup namespace of its own, and
//! what the kubelet leaves on a node. No Kubernetes is needed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use super::netns::Netns;
use super::privileges::{OF_ANOTHER_USER, known, limited, says_lost};
use super::tool::{Ended, THRESHOLD_MS, Tool, executable};
use super::waiting::show;
use super::workload::SERVER;
use crate::manifest::Manifest;

const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OWN_ID: &str = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// What a runtime does before it starts a container, and what the kubelet did before. It
/// has the capabilities of the container already: nothing takes more. Arguments: a directory,
/// the executable, the pod's network namespace, the cgroup of the container, and the rest.
const RUNTIME: &str = r#"
root=$1 tool=$2 net=$3 cgroup=$4; shift 4
echo $$ > "$cgroup/cgroup.procs"
mount -t tmpfs none "$root"
cd "$root"
mkdir -p usr proc sys tmp/old var/log/containers "var/log/pods/shop_cart-0_$POD/app" \
    "var/lib/kubelet/pods/$POD/volumes/kubernetes.io~downward-api/podinfo"
ln -s /var/log/pods/x "var/log/containers/cart-0_shop_app-$CONTAINER.log"
echo 'app="cart"' > "var/lib/kubelet/pods/$POD/volumes/kubernetes.io~downward-api/podinfo/labels"
touch closewait-trace
mount --bind "$tool" closewait-trace
mount --bind /usr usr
for name in bin lib lib64 sbin; do ln -s usr/$name $name; done
mount -t proc proc proc
exec nsenter --net="$net" unshare --cgroup sh -euc '
    mount -t sysfs -o ro sysfs sys
    pivot_root . tmp/old
    cd /
    umount -l /tmp/old
    mount -o remount,bind,ro /usr
    mount -o remount,ro /
    ! touch /x 2>/dev/null
    exec /closewait-trace "$@"' container "$@"
"#;

/// Cgroups laid out as the kubelet does it, below one of this test; gone when dropped, if
/// nothing is in them any more.
struct Cgroups(PathBuf);

impl Cgroups {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("proc");
        let points = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split(' ').nth(4));
        let name = format!("cwt-kube-{}", std::process::id());
        points.map(|point| Self(Path::new(point).join(&name))).find(|made| {
            // A cpuset takes no process before it has CPUs.
            fs::create_dir(&made.0).is_ok() && !made.0.join("cpuset.cpus").exists()
        })
    }

    /// The cgroup of a container, as containerd with systemd has it.
    fn container(&self, uid: &str, id: &str) -> PathBuf {
        let pod = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
        let path = self.0.join("kubepods.slice/kubepods-burstable.slice").join(pod);
        let path = path.join(format!("cri-containerd-{id}.scope"));
        fs::create_dir_all(&path).expect("our own cgroup");
        path
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        fn remove(path: &Path) {
            let below = fs::read_dir(path).into_iter().flatten().flatten();
            below.filter(|entry| entry.path().is_dir()).for_each(|entry| remove(&entry.path()));
            let _ = fs::remove_dir(path);
        }
        remove(&self.0);
    }
}

/// What a probe gets, which asks from inside of the pod's network namespace.
fn probed(net: &Netns, (port, path): (u16, &str)) -> String {
    let netns = fs::File::open(net.path()).expect("a namespace has a file");
    let ask = || {
        move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network)).expect("we are root");
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    thread::scope(|scope| scope.spawn(ask).join().expect("a probe"))
}

#[test]
fn as_a_pod_it_names_the_pod_that_leaks() {
    let manifest = Manifest::read();
    let Some(cgroups) = Cgroups::new() else {
        show("Kubernetes: NOT RUN, no cgroup can be made here");
        return;
    };
    let (net, own_net) = (Netns::new(), Netns::new());
    let root = tempfile::tempdir().expect("a directory");
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", RUNTIME, "runtime"]);
    command.arg(root.path()).arg(executable()).arg(own_net.path());
    command.arg(cgroups.container(&UID.replace('2', "3"), OWN_ID)).env("POD", UID).env("CONTAINER", ID);
    let mut args = manifest.args();
    let at = args.iter().position(|arg| arg == "--threshold").expect("a threshold");
    args[at + 1] = format!("{THRESHOLD_MS}ms");
    let mut tool = Tool::spawn(limited(command, manifest.capabilities()).args(args));
    tool.attached();

    let leaked = OF_ANOTHER_USER.run(&net, &net);
    let theirs = cgroups.container(UID, ID).join("cgroup.procs");
    fs::write(theirs, leaked.leaker.pid().to_string()).expect("our own cgroup");
    // It watches all namespaces, as on a node.
    let here = |report: &Value| report["socket"]["netns"] == net.inode();
    let stuck = |ended: &Ended| ended.of_kind("stuck").filter(|report| here(report)).count();
    assert!(tool.prints(|ended| stuck(ended) == SERVER.leak), "not all were reported");

    let answer = probed(&own_net, manifest.asked_by("livenessProbe"));
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("# EOF\n"), "{answer}");
    let name = "pod shop/cart-0/app";
    assert!(answer.contains(&format!("container=\"{name}\"")), "{answer}");

    // As the kubelet ends it.
    let mut ended = tool.signal(Signal::TERM);
    ended.exits(0);
    assert!(says_lost(&ended).is_empty(), "{}", ended.everything());
    ended.reports.retain(|report| report["kind"] != "stuck" || here(report));
    leaked.are_all_in(&ended);
    assert_eq!(known(&leaked, &ended), [true; 4], "{}", ended.everything());
    for report in ended.of_kind("stuck") {
        let holder = &report["holders"][0];
        assert_eq!(holder["container"], name, "{report}");
        let pod = json!({
            "uid": UID, "namespace": "shop", "name": "cart-0", "container": "app", "container_id": ID,
            "labels": {"app": "cart"},
        });
        assert_eq!(holder["pod"], pod, "{report}");
    }
    drop(leaked);
}

//! The names that the kubelet writes into names of files. In: one of those, or the text of a
//! file of labels. Out: the parts, if they are such as Kubernetes allows. Pure.

use std::collections::BTreeMap;

use super::container::is_id;
use crate::text::Text;
use crate::verdict::PodName;

/// As much of a file of labels as is read.
pub(super) const LABELS_BYTES: u64 = 16 << 10;

/// Labels that are kept of a pod.
const LABELS_MAX: usize = 64;

/// `NAMESPACE_NAME_UID`, a directory: whose, and the pod's uid.
pub(super) fn of_directory(name: &str) -> Option<(PodName, Text)> {
    let (rest, uid) = name.rsplit_once('_')?;
    let (namespace, name) = rest.split_once('_')?;
    let is_uid =
        uid.len() <= 64 && uid.len() >= 32 && uid.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    Some((pod_name(namespace, name)?, is_uid.then(|| Text::of(uid))?))
}

/// `NAME_NAMESPACE_CONTAINER-ID.log`, a link: the container's id, its pod and its name. The
/// kubelet cuts names that are too long for a file; those end in no whole id.
pub(super) fn of_link(link: &str) -> Option<(Text, PodName, Text)> {
    let (rest, id) = link.strip_suffix(".log")?.rsplit_once('-')?;
    let mut parts = rest.split('_');
    let (name, namespace, container) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || id.len() != 64 || !is_id(id) || !is_label(container) {
        return None;
    }
    Some((Text::of(id), pod_name(namespace, name)?, Text::of(container)))
}

fn pod_name(namespace: &str, name: &str) -> Option<PodName> {
    let is_subdomain = name.len() <= 253 && name.split('.').all(|part| is_lower(part) && !part.is_empty());
    (is_label(namespace) && is_subdomain)
        .then(|| PodName { namespace: Text::of(namespace), name: Text::of(name) })
}

/// A label of RFC 1123, as names of namespaces and containers must be.
fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= 63 && is_lower(text)
}

fn is_lower(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// `KEY="VALUE"`, one a line; a line that is none, as the last of a file that was cut, is
/// left out. A value of a label has no character that the quotes would have to escape.
pub(super) fn labels(text: &str) -> BTreeMap<String, String> {
    let line = |line: &str| {
        let (key, value) = line.split_once('=')?;
        let value = value.strip_prefix('"')?.strip_suffix('"')?;
        let plain = |text: &str, more: &[u8]| {
            text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b) || more.contains(&b))
        };
        // A prefix of up to 253 characters, a slash and 63; a value has up to 63.
        let is_label = !key.is_empty() && key.len() <= 317 && plain(key, b"/");
        (is_label && value.len() <= 63 && plain(value, b"")).then(|| (key.to_owned(), value.to_owned()))
    };
    text.lines().filter_map(line).take(LABELS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "2c48913c-b29f-11e7-9350-020968147796";
    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn directories_of_pods() {
        let said =
            |name: &str| of_directory(name).map(|(of, uid)| format!("{}/{} {uid}", of.namespace, of.name));
        assert_eq!(said(&format!("shop_cart-0_{UID}")), Some(format!("shop/cart-0 {UID}")));
        assert_eq!(said(&format!("a_web.example.org_{UID}")), Some(format!("a/web.example.org {UID}")));
        // A static pod has a hash for a uid.
        let hash = &ID[..32];
        let etcd = format!("kube-system_etcd-node1_{hash}");
        assert_eq!(said(&etcd), Some(format!("kube-system/etcd-node1 {hash}")));
        let long = "x".repeat(64);
        for bad in [
            "",
            "lost+found",
            UID,
            &format!("shop_{UID}"),
            &format!("_cart_{UID}"),
            &format!("shop__{UID}"),
            &format!("Shop_cart_{UID}"),
            &format!("shop_cart_more_{UID}"),
            &format!("shop_ca\nrt_{UID}"),
            &format!("shop_\u{1b}[31m_{UID}"),
            &format!("shop_-cart_{UID}"),
            &format!("shop_cart..b_{UID}"),
            &format!("{long}_cart_{UID}"),
            "shop_cart_123",
            "shop_cart_",
        ] {
            assert_eq!(said(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn links_of_containers() {
        let said = |link: &str| {
            let (id, of, container) = of_link(link)?;
            Some(format!("{}/{}/{container} {id}", of.namespace, of.name))
        };
        assert_eq!(said(&format!("cart-0_shop_app-2-{ID}.log")), Some(format!("shop/cart-0/app-2 {ID}")));
        for bad in [
            format!("cart-0_shop_app-{ID}"),
            format!("cart-0_shop_app-{}.log", &ID[..60]),
            format!("cart-0_shop-{ID}.log"),
            format!("cart-0_shop_app_x-{ID}.log"),
            format!("cart-0_shop_-{ID}.log"),
            format!("cart 0_shop_app-{ID}.log"),
            ".log".into(),
        ] {
            assert_eq!(said(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn lines_of_labels() {
        let said = |text: &str| labels(text).into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>();
        assert_eq!(
            said("app=\"cart\"\nacme.org/tier=\"front\"\nempty=\"\""),
            ["acme.org/tier=front", "app=cart", "empty="]
        );
        let cut = "a=\"b\"\nc=\"d";
        assert_eq!(said(cut), ["a=b"]);
        let bad = "=\"x\"\na=b\na b=\"c\"\na=\"\\x1b[31m\"\na=\"b c\"\nno\n\u{202e}=\"x\"";
        assert_eq!(said(bad), Vec::<String>::new());
        assert_eq!(said(&format!("a=\"{}\"", "x".repeat(64))), Vec::<String>::new());
        let many = (0..100).map(|n| format!("k{n}=\"v\"")).collect::<Vec<_>>().join("\n");
        assert_eq!(labels(&many).len(), LABELS_MAX);
    }

    proptest! {
        #[test]
        fn any_name_is_read(text in "\\PC{0,300}", near in "([a-z0-9]{0,70}|_|-|\\.|é|\\.log|=|\"|\n){0,12}") {
            for text in [text, near] {
                let _ = (of_directory(&text), of_link(&text), labels(&text));
            }
        }
    }
}

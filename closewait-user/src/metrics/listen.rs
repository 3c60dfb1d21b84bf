//! `--metrics-listen`: where to listen. A port alone means this machine only.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// An address to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let port = text.strip_prefix(':').unwrap_or(text);
        // u16's own parser would take a sign.
        if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
            let port = port.parse().map_err(|_| "a port is at most 65535")?;
            return Ok(Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)));
        }
        text.parse().map(Self).map_err(|_| {
            "write a port (9435, for this machine only) or an IP address with one, such as 127.0.0.1:9435, [::1]:9435 \
             or 0.0.0.0:9435"
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_for_this_machine_only() {
        for (text, want) in [
            ("9435", "127.0.0.1:9435"),
            (":9435", "127.0.0.1:9435"),
            ("0", "127.0.0.1:0"),
            ("127.0.0.1:9435", "127.0.0.1:9435"),
            ("[::1]:9435", "[::1]:9435"),
            ("0.0.0.0:9435", "0.0.0.0:9435"),
        ] {
            assert_eq!(text.parse::<Listen>().map(|at| at.to_string()).as_deref(), Ok(want), "{text}");
        }
        for bad in
            ["", ":", "+1", "65536", "localhost:9435", "127.0.0.1", "::1:9435x", "[::1]", "9435 ", "-1"]
        {
            assert!(bad.parse::<Listen>().is_err(), "{bad:?}");
        }
    }
}

//! The `--netns` option: which namespaces are wanted.
//!
//! In: its words. Out: a [`NetnsFilter`] of namespaces that were found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use super::{NetnsError, NetnsRef};
use crate::item::Netns;

/// What `--netns` was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NetnsArg {
    /// `all`
    All,
    /// `self`
    Own,
    /// The namespace of a process.
    Pid(u32),
    /// The namespace at a path, such as /run/netns/NAME.
    Path(PathBuf),
}

impl FromStr for NetnsArg {
    type Err = std::convert::Infallible;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Ok(match (word, word.parse()) {
            ("all", _) => Self::All,
            ("self", _) => Self::Own,
            (_, Ok(pid)) => Self::Pid(pid),
            (path, Err(_)) => Self::Path(path.into()),
        })
    }
}

/// Which namespaces are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum NetnsFilter {
    /// Every one of the host, also those that come to be later.
    #[default]
    All,
    /// These.
    Only(BTreeMap<Netns, NetnsRef>),
}

impl NetnsFilter {
    /// Resolves `--netns` options; none given means all. An error names the one
    /// that could not be found.
    pub fn resolve(args: &[NetnsArg]) -> Result<Self, NetnsError> {
        if args.is_empty() {
            return Ok(Self::All);
        }
        let mut only = BTreeMap::new();
        for arg in args {
            let found = match arg {
                NetnsArg::All => return Ok(Self::All),
                NetnsArg::Own => NetnsRef::own()?,
                NetnsArg::Pid(pid) => NetnsRef::of_pid(*pid)?,
                NetnsArg::Path(path) => NetnsRef::at(path)?,
            };
            only.insert(found.netns(), found);
        }
        Ok(Self::Only(only))
    }

    /// Whether sockets of this namespace are wanted.
    pub fn allows(&self, netns: Netns) -> bool {
        match self {
            Self::All => true,
            Self::Only(only) => only.contains_key(&netns),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_words_of_the_option() {
        for (word, arg) in [
            ("all", NetnsArg::All),
            ("self", NetnsArg::Own),
            ("4711", NetnsArg::Pid(4711)),
            ("/run/netns/4711", NetnsArg::Path("/run/netns/4711".into())),
            ("99999999999", NetnsArg::Path("99999999999".into())),
        ] {
            assert_eq!(word.parse(), Ok(arg), "{word}");
        }
    }

    #[test]
    fn what_cannot_be_found_is_refused_by_name() {
        let own = NetnsRef::own().unwrap();
        let only = NetnsFilter::resolve(&[NetnsArg::Own]).unwrap();
        assert!(only.allows(own.netns()) && !only.allows(Netns(1)));
        assert_eq!(NetnsFilter::resolve(&[NetnsArg::Own, NetnsArg::All]).unwrap(), NetnsFilter::All);
        assert_eq!(NetnsFilter::resolve(&[]).unwrap(), NetnsFilter::All);
        let absent = NetnsFilter::resolve(&[NetnsArg::Path(Path::new("/nowhere").into())]).unwrap_err();
        assert!(absent.to_string().starts_with("cannot open the network namespace at /nowhere"));
    }
}

//! Unknown is not zero: a value is either known, or it is missing for a reason
//! that reaches the reader.

use crate::text::Text;

/// A value, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fact<T> {
    /// The value.
    Known(T),
    /// Why it is not known: a short clause that can follow "unknown: ".
    Unknown(Text),
}

impl<T> Fact<T> {
    /// An unknown value, because `reason`.
    pub fn unknown(reason: impl Into<Text>) -> Self {
        Self::Unknown(reason.into())
    }

    /// The value, if known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// The reason, if unknown.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(reason) => Some(reason),
        }
    }

    /// The same, to pass on.
    pub fn why(&self) -> Option<&Text> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(reason) => Some(reason),
        }
    }
}

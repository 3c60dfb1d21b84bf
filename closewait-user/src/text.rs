//! [`Text`]: a name or a clause that many share. What is said of ten thousand sockets
//! is mostly the same (why something is not known, what a process is called), so
//! copying it copies a pointer, and what is fixed in the program is never copied at all.
//! What is short, as every thread's name is, is held in place: it comes with each record,
//! and must not cost an allocation each time.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is cheap to copy and never changes.
#[derive(Clone)]
pub struct Text(Kind);

#[derive(Clone)]
enum Kind {
    Fixed(&'static str),
    Shared(Arc<str>),
    Short(Short),
}

/// Text of at most [`SHORT`] bytes.
#[derive(Clone, Copy)]
struct Short {
    len: u8,
    bytes: [u8; SHORT],
}

/// As much as makes a [`Text`] no larger.
const SHORT: usize = 22;

const _: () = assert!(size_of::<Text>() == 24);

impl Short {
    /// `None` when it is too long.
    fn of(text: &str) -> Option<Self> {
        let mut bytes = [0; SHORT];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { len: u8::try_from(text.len()).ok()?, bytes })
    }

    fn as_str(&self) -> &str {
        // It was made of a str, so it is one.
        std::str::from_utf8(&self.bytes[..self.len.into()]).unwrap_or_default()
    }
}

impl Text {
    /// A copy of `text`, in place if it is short.
    pub fn of(text: &str) -> Self {
        Self(Short::of(text).map_or_else(|| Kind::Shared(text.into()), Kind::Short))
    }

    /// As a string.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Fixed(text) => text,
            Kind::Shared(text) => text,
            Kind::Short(text) => text.as_str(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self(Kind::Fixed(""))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Kind::Fixed(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        match Short::of(&text) {
            Some(short) => Self(Kind::Short(short)),
            None => Self(Kind::Shared(text.into())),
        }
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Self::of(text)
    }
}

impl From<&Self> for Text {
    fn from(text: &Self) -> Self {
        text.clone()
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl JsonSchema for Text {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_and_reads_the_same() {
        let made: Text = format!("no process holds inode {}", 4711).into();
        let (copy, fixed) = (made.clone(), Text::from("no process holds inode 4711"));
        assert_eq!(copy.as_ptr(), made.as_ptr());
        assert_eq!((&made, &*made), (&fixed, "no process holds inode 4711"));
        assert_eq!(serde_json::to_string(&made).unwrap(), "\"no process holds inode 4711\"");
        assert_eq!(serde_json::from_str::<Text>("\"no process holds inode 4711\"").unwrap(), fixed);
    }

    #[test]
    fn what_is_short_is_held_in_place_and_reads_the_same() {
        for text in [
            "",
            "java",
            "twenty-two bytes are it",
            "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}x",
        ] {
            let made = Text::of(text);
            assert_eq!((&*made, made.clone().as_str()), (text, text));
            assert_eq!(Short::of(text).is_some(), text.len() <= SHORT, "{text:?}");
        }
    }
}

//! What a function is called in its language: a symbol in, a name of a bounded length out. Pure.
//!
//! Whoever made the program chose its symbols. In C++ one part of a name may refer to another, and
//! that to another: 400 bytes can stand for a name of a gigabyte, each part of which is twice the
//! next. So a name is written into a fixed room, and writing ends where that is full.

use std::fmt::{self, Write};

/// Most bytes of a name or a path that are kept; of what is longer the beginning is.
pub(super) const MOST: usize = 1 << 10;

/// Longer symbols are not taken apart.
const SYMBOL_MOST: usize = 16 << 10;

/// The name that a symbol stands for: of Rust or C++, else the symbol itself.
pub(super) fn name(symbol: &str) -> String {
    if symbol.len() <= SYMBOL_MOST {
        if let Ok(rust) = rustc_demangle::try_demangle(symbol) {
            return Room::filled(|room| write!(room, "{rust:#}")).0;
        }
        if let Ok(cpp) = cpp_demangle::Symbol::new(symbol) {
            let (name, whole) =
                Room::filled(|room| cpp.structured_demangle(room, &cpp_demangle::DemangleOptions::default()));
            if whole || name.len() > MOST {
                return name;
            }
        }
    }
    cut(symbol.to_owned())
}

/// The beginning of what is too long.
pub(super) fn cut(mut text: String) -> String {
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push('\u{2026}');
        text.shrink_to_fit();
    }
    text
}

/// A text that is being written, no longer than [`MOST`].
#[derive(Default)]
struct Room(String);

impl Room {
    /// What was written, and whether that is all of it.
    fn filled(write: impl FnOnce(&mut Self) -> fmt::Result) -> (String, bool) {
        let mut room = Self::default();
        let whole = write(&mut room).is_ok();
        (cut(room.0), whole)
    }
}

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // One byte more than there is room for tells that it was too long.
        let left = (MOST + 1).saturating_sub(self.0.len());
        self.0.push_str(&text[..text.ceil_char_boundary(left)]);
        if text.len() < left { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_those_of_their_language() {
        for (symbol, want) in [
            ("main", "main"),
            ("_ZN3foo3barEi", "foo::bar(int)"),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "core::fmt::Write::write_fmt"),
            ("_RNvC6_123foo3bar", "123foo::bar"),
            ("_Znonsense", "_Znonsense"),
            ("", ""),
        ] {
            assert_eq!(name(symbol), want, "{symbol}");
        }
    }

    /// `f<A, T0<A, A>, T1<T0<A, A>, T0<A, A>>, ...>`: each is twice the one before.
    fn doubling(times: usize) -> String {
        let number = |mut n: usize| {
            let mut digits = String::new();
            loop {
                let digit = u32::try_from(n % 36).unwrap();
                digits.insert(0, char::from_digit(digit, 36).unwrap().to_ascii_uppercase());
                n /= 36;
                if n == 0 {
                    return format!("S{digits}_");
                }
            }
        };
        let mut symbol = "_Z1fI1A".to_owned();
        for n in 0..times {
            let name = format!("T{n}");
            let before = number(2 * n);
            write!(symbol, "{}{name}I{before}{before}E", name.len()).unwrap();
        }
        symbol + "EvT_"
    }

    #[test]
    fn a_name_that_doubles_and_doubles_takes_no_more_room() {
        assert_eq!(name(&doubling(2)), "void f<A, T0<A, A>, T1<T0<A, A>, T0<A, A> > >(A)");
        let long = name(&doubling(28));
        assert!(long.starts_with("void f<A, T0<A, A>, T1<T0<A, A>, T0<A, A> >, T2<"), "{long}");
        assert!(long.len() <= MOST + 4 && long.ends_with('\u{2026}'), "{long}");
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let long = "\u{20ac}".repeat(10_000);
        assert_eq!(name(&long), "\u{20ac}".repeat(MOST / 3) + "\u{2026}");
        assert_eq!(cut("x".repeat(MOST)).len(), MOST);
    }

    proptest! {
        #[test]
        fn any_symbol_has_a_bounded_name(symbol in "(_Z|_R|_ZN)?[0-9A-Za-z_$.\u{20ac}]{0,80}") {
            prop_assert!(name(&symbol).len() <= MOST + 4);
        }
    }
}

//! Lines of a Python function: the table that its code object carries and a place in the
//! code in, a line out. Pure, any bytes, no panic.
//!
//! Format: `InternalDocs/locations.md` and `Objects/locations.md` of CPython, 3.11 and later.
//! An entry begins with a byte whose highest bit is set: how many code units it is for, and
//! in which of five forms the line follows.

/// The line at `offset`, in bytes from the first instruction; `None` where the table has none.
pub(super) fn line(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut at = 0_u64;
    let mut rest = table;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let units = u64::from(first & 7) + 1;
        let form = first >> 3 & 15;
        let step = match form {
            // No place at all.
            15 => None,
            // Line, end of line, columns.
            14 => {
                let step = signed(&mut rest)?;
                for _ in 0..3 {
                    number(&mut rest)?;
                }
                Some(step)
            }
            13 => Some(signed(&mut rest)?),
            10..=12 => {
                rest = rest.get(2..)?;
                Some(i64::from(form) - 10)
            }
            _ => {
                rest = rest.get(1..)?;
                Some(0)
            }
        };
        line = line.checked_add(step.unwrap_or(0))?;
        at += 2 * units;
        if offset < at {
            return step.and(u32::try_from(line).ok());
        }
    }
    None
}

/// Six bits a byte, the lowest first; bit 6 says that more follow.
fn number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..60).step_by(6) {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x3f) << shift;
        if byte & 0x40 == 0 {
            return Some(number);
        }
    }
    None
}

/// The lowest bit is the sign.
fn signed(rest: &mut &[u8]) -> Option<i64> {
    let number = number(rest)?;
    let size = i64::try_from(number >> 1).ok()?;
    Some(if number & 1 == 0 { size } else { -size })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Prints for the functions of some modules: the first line, the table, and the line of each
    /// code unit as the interpreter itself decodes it.
    const PRINT: &str = "
import argparse, asyncio.base_events, http.client, re, socket, types
def codes(code):
    yield code
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from codes(inner)
def show(source, name):
    for code in codes(compile(source, name, 'exec')):
        lines = ('' if place[0] is None else str(place[0]) for place in code.co_positions())
        print(code.co_firstlineno, code.co_linetable.hex(), ','.join(lines))
for module in (argparse, asyncio.base_events, http.client, socket):
    with open(module.__file__) as source:
        show(source.read(), module.__file__)
# Lines that are far apart, and go back.
show('def f(a):\\n return (a +\\n' + '\\n' * 3000 + ' a)\\n', 'x')
";

    #[test]
    fn lines_are_those_that_the_interpreter_tells() {
        let said = std::process::Command::new("python3").args(["-c", PRINT]).output().unwrap();
        assert!(said.status.success(), "needs Python 3.11 or later: {said:?}");
        let text = String::from_utf8(said.stdout).unwrap();
        let mut units = 0;
        for function in text.lines() {
            let [first, table, lines] = function.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{function}")
            };
            let table: Vec<u8> = (0..table.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&table[at..at + 2], 16).unwrap())
                .collect();
            for (unit, want) in lines.split(',').enumerate() {
                let got = line(&table, first.parse().unwrap(), 2 * unit as u64);
                assert_eq!(
                    got.map_or(String::new(), |line| line.to_string()),
                    want,
                    "unit {unit} of {first} {table:x?}"
                );
                units += 1;
            }
            assert_eq!(line(&table, 1, 2 * lines.split(',').count() as u64), None, "past the end");
        }
        assert!(units > 10_000, "{units}");
    }

    proptest! {
        #[test]
        fn any_table_is_survived(table in proptest::collection::vec(any::<u8>(), 0..200), first: u32, offset: u64) {
            line(&table, first, offset);
            line(&table, first, offset % 400);
        }
    }
}

//! Python functions where they are called in a stack: native frames and groups of functions
//! in, one stack out. Pure. A group stands in for the interpreter's frame that runs it;
//! everything else stays.

use super::names::{Function, Functions};
use crate::verdict::{Frame, How};

/// The function of the interpreter that runs Python functions: one call for each group.
const RUNS: &str = "_PyEval_EvalFrameDefault";

/// Puts the functions into the stack.
pub(in super::super) fn merge(native: Vec<Frame>, functions: &Functions) -> Vec<Frame> {
    let runs =
        |frame: &Frame| !frame.inlined && frame.symbol.as_deref().is_some_and(|name| name.starts_with(RUNS));
    // Where the interpreter's own cannot be told (its symbols are gone), all functions
    // stand before what called it.
    let anywhere = !native.iter().any(runs);
    let mut groups = functions.groups.iter();
    let mut merged = Vec::with_capacity(native.len() + groups.len());
    for frame in native {
        if anywhere && is_interpreter(&frame) {
            groups.by_ref().for_each(|group| merged.extend(group.iter().map(python)));
        }
        match runs(&frame).then(|| groups.next()).flatten() {
            Some(group) => merged.extend(group.iter().map(python)),
            None => merged.push(frame),
        }
    }
    // The native stack ended before them.
    groups.for_each(|group| merged.extend(group.iter().map(python)));
    merged
}

/// Whether a native frame is of the interpreter, or of a module in C that comes with it.
pub(in super::super) fn is_interpreter(frame: &Frame) -> bool {
    let Some(name) = frame.module_name().filter(|_| frame.how != How::Python) else { return false };
    let is_executable = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    name.strip_prefix("python").is_some_and(is_executable)
        || name.starts_with("libpython")
        || name.contains(".cpython-")
}

fn python(function: &Function) -> Frame {
    Frame {
        addr: function.addr,
        symbol: Some(function.name.clone()),
        module: None,
        build_id: None,
        offset: function.offset,
        file: function.file.clone(),
        line: function.line,
        inlined: false,
        how: How::Python,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn native(text: &str) -> Frame {
        let (symbol, module) = text.split_once('@').unwrap();
        Frame {
            addr: 0x1000,
            symbol: (!symbol.is_empty()).then(|| symbol.to_owned()),
            module: Some(module.to_owned()),
            build_id: None,
            offset: 1,
            file: None,
            line: None,
            inlined: false,
            how: How::Dwarf,
        }
    }

    fn functions(groups: &[&[&str]]) -> Functions {
        let function = |name: &&str| Function {
            addr: 1,
            offset: 2,
            name: (*name).to_owned(),
            file: Some("/srv/app.py".into()),
            line: Some(3),
        };
        let groups = groups.iter().map(|group| group.iter().map(function).collect()).collect();
        Functions { groups, note: None }
    }

    fn names(frames: &[Frame]) -> Vec<&str> {
        frames.iter().map(|frame| frame.symbol.as_deref().unwrap_or("?")).collect()
    }

    #[test]
    fn each_group_stands_where_the_interpreter_ran_it() {
        let python = "/usr/lib/libpython3.11.so.1.0";
        let eval = format!("_PyEval_EvalFrameDefault@{python}");
        let stack = [
            "accept@/lib/libc.so.6",
            &eval,
            &format!("gen_send_ex2@{python}"),
            &eval,
            "main@/usr/bin/python3.11",
        ];
        let stack: Vec<_> = stack.iter().map(|text| native(text)).collect();
        let cases: [(&[&[&str]], &[&str]); 4] = [
            (&[&["a", "b"], &["c"]], &["accept", "a", "b", "gen_send_ex2", "c", "main"]),
            // The walk ended early: the rest stays as it is.
            (&[&["a"]], &["accept", "a", "gen_send_ex2", "_PyEval_EvalFrameDefault", "main"]),
            // The native stack did.
            (&[&["a"], &["b"], &["c", "d"]], &["accept", "a", "gen_send_ex2", "b", "main", "c", "d"]),
            (
                &[],
                &["accept", "_PyEval_EvalFrameDefault", "gen_send_ex2", "_PyEval_EvalFrameDefault", "main"],
            ),
        ];
        for (groups, want) in cases {
            assert_eq!(names(&merge(stack.clone(), &functions(groups))), want);
        }
        let merged = merge(stack, &functions(&[&["a"]]));
        let function = &merged[1];
        assert_eq!((function.how, function.line, function.module.as_deref()), (How::Python, Some(3), None));
        // Without its symbols nobody knows which frame it is.
        let bare = ["accept@/lib/libc.so.6", "@/opt/bin/python3.12", "@/opt/bin/python3.12"].map(native);
        let merged = merge(bare.to_vec(), &functions(&[&["a"], &["b"]]));
        assert_eq!(names(&merged), ["accept", "a", "b", "?", "?"]);
    }

    #[test]
    fn only_the_interpreter_and_its_modules_are_taken_for_it() {
        for (module, is_it) in [
            ("/usr/bin/python3.11", true),
            ("/usr/bin/python", true),
            ("/usr/lib/libpython3.12.so.1.0", true),
            ("/srv/lib/_ssl.cpython-311-x86_64-linux-gnu.so", true),
            ("/usr/bin/python-server", false),
            ("/lib/libc.so.6", false),
        ] {
            assert_eq!(is_interpreter(&native(&format!("f@{module}"))), is_it, "{module}");
        }
    }
}

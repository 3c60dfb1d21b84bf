//! What a user can do to get names that a stack lacks: frames in, one sentence out.
//! Pure. Which runtime it is shows in its own functions, which are on the stack.

use crate::verdict::{Frame, How};

/// How a runtime that is asked to names its functions, by what its stacks look like.
pub fn hint(frames: &[Frame]) -> Option<&'static str> {
    let symbols = || frames.iter().filter_map(|frame| frame.symbol.as_deref());
    let in_module = |name: &str| {
        frames.iter().any(|frame| frame.module.as_deref().is_some_and(|module| module.ends_with(name)))
    };
    // Made at run time, and nobody told its name.
    let unnamed = frames.iter().any(|frame| {
        frame.symbol.is_none() && frame.module.as_deref().is_some_and(|module| module.starts_with("[anon"))
    });
    if symbols().any(|symbol| symbol.starts_with("_PyEval_EvalFrame"))
        && !named_by_perf_map(frames)
        && !frames.iter().any(|frame| frame.how == How::Python)
    {
        return Some(
            "for Python's own functions start it with -X perf or PYTHONPERFSUPPORT=1 (Python 3.12 or later)",
        );
    }
    if unnamed && in_module("/libjvm.so") {
        return Some(
            "for Java's methods use --jit-maps, or run `jcmd PID Compiler.perfmap` (JDK 17 or later)",
        );
    }
    // As HotSpot calls it in its map: whatever it interprets runs there.
    if in_module("/libjvm.so") && symbols().any(|symbol| symbol == "Interpreter") {
        return Some("Java's methods have names once they run often enough to be compiled");
    }
    if unnamed && symbols().any(|symbol| symbol.starts_with("v8::")) {
        return Some("for JavaScript's functions start it with --perf-basic-prof");
    }
    None
}

/// Whether Python's functions have names that the interpreter wrote to a perf map (`-X perf`).
pub(super) fn named_by_perf_map(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.symbol.as_deref().is_some_and(|symbol| symbol.starts_with("py::")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(texts: &[&str]) -> Vec<Frame> {
        let frame = |text: &&str| {
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
        };
        texts.iter().map(frame).collect()
    }

    #[test]
    fn each_runtime_has_its_own_and_named_stacks_have_none() {
        let python = "_PyEval_EvalFrameDefault@/usr/bin/python3.12";
        let java = "JavaCalls::call_helper(JavaValue*)@/usr/lib/jvm/17/lib/server/libjvm.so";
        let node = "v8::Function::Call(int)@/usr/bin/node";
        let cases: [(&[&str], Option<&str>); 10] = [
            (&[python], Some("-X perf")),
            (&["py::serve:/srv/app.py@[anon]", python], None),
            (&["@[anon]", java], Some("Compiler.perfmap")),
            (&["int Six.serve(Six)@[anon]", java], None),
            (&["Interpreter@[anon]", java], Some("often enough")),
            (&["Interpreter@[anon]", "serve@/usr/bin/app"], None),
            (&["@[anon:v8]", node], Some("--perf-basic-prof")),
            (&["JS:~serve six.js:9:15@[anon]", node], None),
            (&["serve@/usr/bin/app", "@[anon]"], None),
            (&[], None),
        ];
        for (texts, want) in cases {
            let got = hint(&frames(texts));
            assert_eq!(got.is_some(), want.is_some(), "{texts:?}");
            assert!(want.is_none_or(|want| got.unwrap().contains(want)), "{texts:?}: {got:?}");
        }
    }
}

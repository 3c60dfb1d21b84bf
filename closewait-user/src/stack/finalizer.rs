//! Whether a stack is that of a garbage collector's finalizer, or of a runtime that ends and
//! closes what is open: what they close was forgotten by the code that opened it. Pure.

use crate::verdict::{CleanUp, Frame};

/// Functions through which a runtime finalizes what became unreachable, written as
/// `package.Class.method`.
const FUNCTIONS: [&str; 12] = [
    // Go: SetFinalizer and AddCleanup, before and since 1.25
    "runtime.runfinq",
    "runtime.runFinalizers",
    "runtime.runCleanups",
    // Java: finalize(), Cleaner, and the cleaners that the JDK keeps for itself
    "java.lang.ref.Finalizer.runFinalizer",
    "java.lang.ref.Finalizer$FinalizerThread.run",
    "java.lang.ref.Reference$ReferenceHandler.run",
    "jdk.internal.ref.CleanerImpl.run",
    "jdk.internal.ref.Cleaner.clean",
    "sun.misc.Cleaner.clean",
    // CPython: tp_finalize of a socket, which only acts on one that was not closed
    "sock_finalize",
    // and what calls any tp_finalize, where the interpreter has no names but those it exports
    "PyObject_CallFinalizer",
    "PyObject_CallFinalizerFromDealloc",
];

/// Functions that close what is left at a runtime's end.
const AT_END: [&str; 1] = [
    // Node.js: closes every handle when its event loop has ended
    "node.Environment.CleanupHandles",
];

/// Threads that do nothing else, as the kernel cuts their names: where a stack has no
/// names (interpreted Java), the thread has one.
const THREADS: [&str; 4] = ["Finalizer", "Common-Cleaner", "Reference Handl", ".NET Finalizer"];

/// Whether the thread called `comm`, with this stack, finalizes, and why.
pub fn clean_up(comm: &str, frames: &[Frame]) -> Option<CleanUp> {
    let any = |of: &[&str]| frames.iter().filter_map(|frame| frame.symbol.as_deref()).any(|it| is_of(it, of));
    if any(&AT_END) {
        return Some(CleanUp::AtEnd);
    }
    (THREADS.contains(&comm) || any(&FUNCTIONS)).then_some(CleanUp::Finalizer)
}

/// The JVM and its tools write a method as `Ljava/lang/A;::b`, `java.lang.A::b` and
/// `void java.lang.A.b(int)`.
fn is_of(symbol: &str, functions: &[&str]) -> bool {
    let name = symbol.split('(').next().unwrap_or_default();
    let name = name.rsplit(' ').next().unwrap_or_default();
    let name = name.replace(';', "").replace("::", ".").replace('/', ".");
    functions.iter().any(|function| name == *function || name.strip_prefix('L') == Some(*function))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::How;

    fn frames(symbols: &[&str]) -> Vec<Frame> {
        let frame = |symbol: &&str| Frame {
            addr: 1,
            symbol: Some((*symbol).to_owned()),
            module: None,
            build_id: None,
            offset: 0,
            file: None,
            line: None,
            inlined: false,
            how: How::Fp,
        };
        symbols.iter().map(frame).collect()
    }

    #[test]
    fn a_collectors_functions_are_known_however_they_are_written() {
        let table = [
            ("node::Environment::CleanupHandles()", Some(CleanUp::AtEnd)),
            ("runtime.runfinq", Some(CleanUp::Finalizer)),
            ("runtime.runFinalizers", Some(CleanUp::Finalizer)),
            ("runtime.runCleanups", Some(CleanUp::Finalizer)),
            ("Ljava/lang/ref/Finalizer;::runFinalizer", Some(CleanUp::Finalizer)),
            ("java.lang.ref.Finalizer::runFinalizer", Some(CleanUp::Finalizer)),
            (
                "void java.lang.ref.Finalizer.runFinalizer(jdk.internal.access.JavaLangAccess)",
                Some(CleanUp::Finalizer),
            ),
            ("java.lang.ref.Finalizer$FinalizerThread::run", Some(CleanUp::Finalizer)),
            ("jdk/internal/ref/CleanerImpl.run", Some(CleanUp::Finalizer)),
            ("sock_finalize", Some(CleanUp::Finalizer)),
            ("node::HandleWrap::Close(v8::Local<v8::Value>)", None),
            ("main.runtime.runfinqs", None),
            ("com.example.java.lang.ref.Finalizer.runFinalizer", None),
            ("MyCleaner.clean", None),
            ("net.(*conn).Close", None),
            ("", None),
        ];
        for (symbol, want) in table {
            assert_eq!(clean_up("worker", &frames(&["close", symbol, "main"])), want, "{symbol}");
        }
    }

    #[test]
    fn a_thread_without_names_in_its_stack_is_known_by_its_own() {
        for comm in ["Finalizer", "Common-Cleaner", "Reference Handl"] {
            assert!(comm.len() <= 15 && clean_up(comm, &[]) == Some(CleanUp::Finalizer), "{comm}");
        }
        assert_eq!([clean_up("finalizer", &[]), clean_up("java", &[])], [None; 2]);
    }
}

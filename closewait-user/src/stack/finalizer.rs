//! Whether a stack is that of a garbage collector's finalizer, or of a runtime that ends and
//! closes what is open: what they close was forgotten by the code that opened it. Pure.

use crate::verdict::Frame;

/// Functions through which a runtime finalizes what became unreachable, or what is left at
/// its end, written as `package.Class.method`.
const FUNCTIONS: [&str; 13] = [
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
    // Node.js: closes every handle when its event loop has ended
    "node.Environment.CleanupHandles",
];

/// Threads that do nothing else, as the kernel cuts their names: where a stack has no
/// names (interpreted Java), the thread has one.
const THREADS: [&str; 4] = ["Finalizer", "Common-Cleaner", "Reference Handl", ".NET Finalizer"];

/// Whether the thread called `comm`, with this stack, finalizes.
pub fn is_finalizer(comm: &str, frames: &[Frame]) -> bool {
    THREADS.contains(&comm) || frames.iter().filter_map(|frame| frame.symbol.as_deref()).any(finalizes)
}

/// The JVM and its tools write a method as `Ljava/lang/A;::b`, `java.lang.A::b` and
/// `void java.lang.A.b(int)`.
fn finalizes(symbol: &str) -> bool {
    let name = symbol.split('(').next().unwrap_or_default();
    let name = name.rsplit(' ').next().unwrap_or_default();
    let name = name.replace(';', "").replace("::", ".").replace('/', ".");
    FUNCTIONS.iter().any(|function| name == *function || name.strip_prefix('L') == Some(*function))
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
            ("runtime.runfinq", true),
            ("runtime.runFinalizers", true),
            ("runtime.runCleanups", true),
            ("Ljava/lang/ref/Finalizer;::runFinalizer", true),
            ("java.lang.ref.Finalizer::runFinalizer", true),
            ("void java.lang.ref.Finalizer.runFinalizer(jdk.internal.access.JavaLangAccess)", true),
            ("java.lang.ref.Finalizer$FinalizerThread::run", true),
            ("jdk/internal/ref/CleanerImpl.run", true),
            ("sock_finalize", true),
            ("node::Environment::CleanupHandles()", true),
            ("node::HandleWrap::Close(v8::Local<v8::Value>)", false),
            ("main.runtime.runfinqs", false),
            ("com.example.java.lang.ref.Finalizer.runFinalizer", false),
            ("MyCleaner.clean", false),
            ("net.(*conn).Close", false),
            ("", false),
        ];
        for (symbol, want) in table {
            assert_eq!(is_finalizer("worker", &frames(&["close", symbol, "main"])), want, "{symbol}");
        }
    }

    #[test]
    fn a_thread_without_names_in_its_stack_is_known_by_its_own() {
        for comm in ["Finalizer", "Common-Cleaner", "Reference Handl"] {
            assert!(comm.len() <= 15 && is_finalizer(comm, &[]), "{comm}");
        }
        assert!(!is_finalizer("finalizer", &[]) && !is_finalizer("java", &[]));
    }
}

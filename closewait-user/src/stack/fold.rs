//! The frames that name a call path to a developer: a stack in, the few frames
//! worth a line out. Pure. Nothing is dropped from the stack itself.

use crate::verdict::Frame;

/// Modules whose frames are plumbing whatever they are called: the C library
/// and the loader wrap system calls and start threads.
const PLUMBING_MODULES: [&str; 6] = ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libuv.so"];

/// Modules of the kernel's own.
const KERNEL_MODULES: [&str; 2] = ["[vdso]", "[vsyscall]"];

/// Functions that are plumbing, whole names: statically linked C libraries,
/// entry points, thread starts.
const PLUMBING_NAMES: [&str; 24] = [
    "accept",
    "accept4",
    "__accept",
    "__accept4",
    "__libc_accept",
    "__libc_accept4",
    "connect",
    "__connect",
    "__libc_connect",
    "__syscall_cancel",
    "__syscall_cancel_arch",
    "__internal_syscall_cancel",
    "syscall",
    "_start",
    "__libc_start_main",
    "__libc_start_main_impl",
    "__libc_start_call_main",
    "start_thread",
    "thread_start",
    "__clone",
    "__clone3",
    "clone",
    "clone3",
    // The JVM's name for code it interprets.
    "Interpreter",
];

/// Functions that are plumbing, by how their names begin: the language
/// runtimes' ways into the kernel and onto a thread.
const PLUMBING_PREFIXES: [&str; 31] = [
    // Go
    "runtime.",
    "runtime/",
    "internal/",
    "syscall.",
    "net.(*",
    "net.accept",
    "net.socket",
    "net.internetSocket",
    "net.Dial",
    "golang.org/x/sys/unix.",
    // Rust
    "std::",
    "core::",
    "alloc::",
    "<std::",
    "<core::",
    "<alloc::",
    "__rust_",
    "<mio::",
    "mio::",
    "<socket2::",
    "socket2::",
    "<tokio::",
    "tokio::",
    "libc::",
    // C++
    "boost::asio::detail::",
    // JVM
    "sun.nio.ch.",
    "java.net.",
    "Java_sun_nio_",
    "Java_java_net_",
    "StubRoutines",
    // libuv, statically linked into node
    "uv_",
];

/// Whether all the functions of a module are plumbing.
pub fn is_plumbing_module(module: &str) -> bool {
    let file = module.rsplit('/').next().unwrap_or(module);
    KERNEL_MODULES.contains(&module) || PLUMBING_MODULES.iter().any(|name| file.starts_with(name))
}

/// Whether a frame is plumbing: true of no frame that has no name and lies in
/// code of the user's own.
pub fn is_plumbing(frame: &Frame) -> bool {
    if frame.module.as_deref().is_some_and(is_plumbing_module) {
        return true;
    }
    let Some(symbol) = frame.symbol.as_deref() else { return false };
    PLUMBING_NAMES.contains(&symbol) || PLUMBING_PREFIXES.iter().any(|prefix| symbol.starts_with(prefix))
}

/// The at most `max` innermost frames that are not plumbing; when all are, the
/// innermost ones as they come, since any name is better than none.
pub fn naming_frames(frames: &[Frame], max: usize) -> Vec<&Frame> {
    let own: Vec<_> = frames.iter().filter(|frame| !is_plumbing(frame)).take(max).collect();
    if own.is_empty() { frames.iter().take(max).collect() } else { own }
}

/// What a frame is called on a line: its function, or `module+0xoffset`.
pub fn name(frame: &Frame) -> String {
    if let Some(symbol) = &frame.symbol {
        return symbol.clone();
    }
    match &frame.module {
        Some(module) => format!("{}+{:#x}", module.rsplit('/').next().unwrap_or(module), frame.offset),
        None => format!("{:#x}", frame.addr),
    }
}

/// `innermost <- its caller <- ...`, of the naming frames. Names come from
/// users' files: escape them before they reach a terminal.
pub fn one_line(frames: &[Frame], max: usize) -> String {
    naming_frames(frames, max).into_iter().map(name).collect::<Vec<_>>().join(" <- ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::How;

    fn frame(text: &str) -> Frame {
        // "symbol@module"; an empty symbol is none.
        let (symbol, module) = text.split_once('@').unwrap_or((text, "/usr/bin/app"));
        Frame {
            addr: 0x1000,
            symbol: (!symbol.is_empty()).then(|| symbol.to_owned()),
            module: Some(module.to_owned()),
            build_id: None,
            offset: 0x1a2,
            file: None,
            line: None,
            inlined: false,
            how: How::Fp,
        }
    }

    #[test]
    fn the_line_names_the_users_own_functions() {
        let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
        let cases: [(&[&str], &str); 9] = [
            // C: the wrapper in libc, the entry points around main.
            (
                &[
                    &format!("__libc_accept@{libc}"),
                    "serve",
                    "main",
                    &format!("__libc_start_call_main@{libc}"),
                    "_start",
                ],
                "serve <- main",
            ),
            // A thread, in a stripped libc of another name.
            (&["@/lib/libc-2.31.so", "worker", "start_thread@/lib/libpthread-2.31.so"], "worker"),
            // Statically linked.
            (&["accept4", "serve", "main", "__libc_start_main"], "serve <- main"),
            // Go.
            (
                &[
                    "runtime/internal/syscall.Syscall6",
                    "syscall.Syscall6",
                    "syscall.accept4",
                    "internal/poll.accept",
                    "internal/poll.(*FD).Accept",
                    "net.(*netFD).accept",
                    "net.(*TCPListener).Accept",
                    "main.leak",
                    "main.main",
                    "runtime.main",
                    "runtime.goexit",
                ],
                "main.leak <- main.main",
            ),
            // Go's HTTP server is not plumbing: it says what kind of socket this is.
            (
                &["net.(*TCPListener).Accept", "net/http.(*Server).Serve", "main.main"],
                "net/http.(*Server).Serve <- main.main",
            ),
            // Rust.
            (
                &[
                    &format!("accept4@{libc}"),
                    "std::sys::net::connection::TcpListener::accept",
                    "<std::net::tcp::Incoming as core::iter::Iterator>::next",
                    "app::serve",
                    "core::ops::function::FnOnce::call_once",
                    "std::rt::lang_start",
                ],
                "app::serve",
            ),
            // Stripped code of the user's own is better than nothing.
            (&[&format!("accept@{libc}"), "@/opt/server"], "server+0x1a2"),
            // Only plumbing: shown as it is.
            (&[&format!("accept@{libc}"), &format!("clone3@{libc}")], "accept <- clone3"),
            (&[], ""),
        ];
        for (symbols, want) in cases {
            let frames: Vec<_> = symbols.iter().map(|text| frame(text)).collect();
            assert_eq!(one_line(&frames, 3), want, "{symbols:?}");
        }
    }

    #[test]
    fn no_more_frames_than_asked_for() {
        let frames: Vec<_> = ["a", "b", "c"].map(frame).to_vec();
        assert_eq!(one_line(&frames, 2), "a <- b");
        assert_eq!(one_line(&frames, 0), "");
    }

    #[test]
    fn a_users_function_that_is_merely_called_alike_is_kept() {
        for name in [
            "accept_loop",
            "connect_backend",
            "runtimes",
            "Connection::connect",
            "main.accept",
            "stdin_loop",
            "start",
            "rust_server",
            "InterpreterPool::run",
        ] {
            assert!(!is_plumbing(&frame(name)), "{name}");
        }
        assert!(!is_plumbing(&frame("@/opt/libcurl.so.4")), "not libc");
    }
}

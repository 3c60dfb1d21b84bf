//! Where a stack begins for a developer: what every program's stack has in common
//! (system call wrappers, runtimes' ways into the kernel) is plumbing. Pure. Nothing
//! is dropped from the stack itself.

use super::python::merge::is_interpreter;
use crate::verdict::{Frame, How};

/// Modules whose frames are plumbing whatever they are called: the C library
/// and the loader wrap system calls and start threads, and event loops call back.
const PLUMBING_MODULES: [&str; 7] =
    ["libc.so", "libc-", "libpthread", "ld-linux", "ld-musl", "libuv.so", "libevent"];

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
const PLUMBING_PREFIXES: [&str; 34] = [
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
    "sun.nio.",
    "java.io.",
    "java.net.",
    "java.nio.",
    "jdk.internal.",
    "Java_sun_nio_",
    "Java_java_net_",
    "StubRoutines",
    // libuv, statically linked into node
    "uv_",
];

/// Packages of Python that connect for others, by their directory: clients of HTTP, event loops.
const PLUMBING_PACKAGES: [&str; 14] = [
    "urllib3", "requests", "httpcore", "httpx", "h11", "h2", "anyio", "sniffio", "aiohttp", "gevent",
    "eventlet", "trio", "uvloop", "uvicorn",
];

/// Whether a Python function of this file is plumbing: of the standard library, or of a
/// package that connects for others.
fn is_plumbing_file(file: &str) -> bool {
    // `/usr/lib/python3/dist-packages`, `/srv/venv/lib/python3.11/site-packages`.
    let installed = ["/site-packages/", "/dist-packages/"].iter().find_map(|dir| file.rsplit_once(dir));
    if let Some((_, path)) = installed {
        return PLUMBING_PACKAGES.contains(&path.split('/').next().unwrap_or_default());
    }
    let library = ["/lib/python3.", "/lib64/python3."].iter().any(|dir| file.contains(dir));
    library || file.starts_with("<frozen ")
}

/// Whether all the functions of a module are plumbing.
pub fn is_plumbing_module(module: &str) -> bool {
    let file = module.rsplit('/').next().unwrap_or(module);
    KERNEL_MODULES.contains(&module) || PLUMBING_MODULES.iter().any(|name| file.starts_with(name))
}

/// Whether a frame is plumbing: true of no frame that has no name and lies in
/// code of the user's own.
pub fn is_plumbing(frame: &Frame) -> bool {
    if frame.how == How::Python {
        return frame.file.as_deref().is_some_and(is_plumbing_file);
    }
    if frame.module.as_deref().is_some_and(is_plumbing_module) {
        return true;
    }
    let Some(symbol) = frame.symbol.as_deref().map(bare_method) else { return false };
    PLUMBING_NAMES.contains(&symbol) || PLUMBING_PREFIXES.iter().any(|prefix| symbol.starts_with(prefix))
}

/// A Java method as a JVM's perf map writes it, `int shop.Cart.add(int, java.lang.String)`, without
/// its types: `shop.Cart.add`. Any other symbol as it is.
pub fn bare_method(symbol: &str) -> &str {
    let typed = symbol.split_once('(').filter(|_| symbol.ends_with(')'));
    let method = typed.and_then(|(head, _)| head.split_once(' ')).map(|(_, method)| method);
    method.filter(|name| name.contains('.') && !name.contains([' ', ':'])).unwrap_or(symbol)
}

/// The frames that a program's developer wrote or called: where Python functions are known,
/// those of the interpreter in C between them are left out.
pub fn of_program(frames: &[Frame]) -> impl DoubleEndedIterator<Item = &Frame> + Clone {
    let has_python = frames.iter().any(|frame| frame.how == How::Python);
    frames.iter().filter(move |frame| !has_python || !is_interpreter(frame))
}

/// The frames from the innermost that is not plumbing on; when all are, all of them,
/// since any name is better than none.
pub fn own_frames(frames: &[Frame]) -> &[Frame] {
    let has_python = frames.iter().any(|frame| frame.how == How::Python);
    let is_own = |frame: &Frame| !(is_plumbing(frame) || has_python && is_interpreter(frame));
    let first = frames.iter().position(is_own).unwrap_or(0);
    &frames[first..]
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
    fn a_stack_begins_with_the_users_own_functions() {
        let libc = "/usr/lib/x86_64-linux-gnu/libc.so.6";
        let cases: [(&[&str], &str); 11] = [
            // Java, as the JVM's own perf map writes it.
            (
                &[
                    &format!("accept@{libc}"),
                    "int sun.nio.ch.Net.accept(java.io.FileDescriptor, java.io.FileDescriptor)",
                    "Interpreter",
                    "java.net.Socket java.net.ServerSocket.accept()",
                    "void shop.Cart.takeAndForget(java.net.ServerSocket)",
                ],
                "void shop.Cart.takeAndForget(java.net.ServerSocket)",
            ),
            // What reads lines is no more of the application's than what reads bytes.
            (
                &[
                    "int sun.nio.ch.NioSocketImpl.read(byte[], int, int)",
                    "int sun.nio.cs.StreamDecoder.readBytes()",
                    "int java.io.InputStreamReader.read(char[], int, int)",
                    "java.lang.String java.io.BufferedReader.readLine()",
                    "void shop.Orders.takeOrders(java.net.Socket)",
                ],
                "void shop.Orders.takeOrders(java.net.Socket)",
            ),
            // C: the wrapper in libc, the entry points around main.
            (
                &[
                    &format!("__libc_accept@{libc}"),
                    "serve",
                    "main",
                    &format!("__libc_start_call_main@{libc}"),
                    "_start",
                ],
                "serve",
            ),
            // A thread, in a stripped libc of another name.
            (&["@/lib/libc-2.31.so", "worker", "start_thread@/lib/libpthread-2.31.so"], "worker"),
            // Statically linked.
            (&["accept4", "serve", "main", "__libc_start_main"], "serve"),
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
                "main.leak",
            ),
            // Go's HTTP server is not plumbing: it says what kind of socket this is.
            (
                &["net.(*TCPListener).Accept", "net/http.(*Server).Serve", "main.main"],
                "net/http.(*Server).Serve",
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
            (&[&format!("accept@{libc}"), "@/opt/server"], "?"),
            // Only plumbing: shown as it is.
            (&[&format!("accept@{libc}"), &format!("clone3@{libc}")], "accept"),
            (&[], ""),
        ];
        for (symbols, want) in cases {
            let frames: Vec<_> = symbols.iter().map(|text| frame(text)).collect();
            let first = own_frames(&frames).first().map(|frame| frame.symbol.as_deref().unwrap_or("?"));
            assert_eq!(first.unwrap_or_default(), want, "{symbols:?}");
        }
    }

    #[test]
    fn of_python_the_programs_own_functions_are_left() {
        let python = |symbol: &str, file: &str| Frame {
            module: None,
            file: Some(file.into()),
            how: How::Python,
            ..frame(symbol)
        };
        let frames = [
            frame("accept4@/usr/lib/x86_64-linux-gnu/libc.so.6"),
            frame("sock_accept@/usr/lib/python3.11/lib-dynload/_socket.cpython-311-x86_64-linux-gnu.so"),
            frame("@/usr/bin/python3.11"),
            python("create_connection", "/usr/lib/python3.11/socket.py"),
            python("HTTPConnection.connect", "/srv/venv/lib/python3.11/site-packages/urllib3/connection.py"),
            python("get", "/usr/lib/python3/dist-packages/requests/api.py"),
            python("lease", "/srv/app/pool.py"),
            frame("_PyEval_Vector@/usr/lib/libpython3.11.so.1.0"),
            python("<module>", "/srv/app/main.py"),
            frame("main@/usr/bin/python3.11"),
        ];
        let names = |frames: &[Frame]| {
            of_program(frames).map(|frame| frame.symbol.clone().unwrap_or_default()).collect::<Vec<_>>()
        };
        assert_eq!(names(own_frames(&frames)), ["lease", "<module>"]);
        assert_eq!(names(&frames).len(), 6, "all but the interpreter's");
        for (file, is_plumbing) in [
            ("<frozen importlib._bootstrap>", true),
            ("<string>", false),
            ("/opt/conda/lib/python3.12/asyncio/events.py", true),
            ("/srv/lib/python3.12/site-packages/shop/requests.py", false),
            ("/home/me/requests/api.py", false),
        ] {
            assert_eq!(is_plumbing_file(file), is_plumbing, "{file}");
        }
        // In a stack without its functions the interpreter's frames are all there is.
        assert_eq!(names(&frames[..3]).len(), 3);
    }

    #[test]
    fn only_java_methods_lose_their_types() {
        for (symbol, bare) in [
            ("int shop.Cart.add(int, java.lang.String)", "shop.Cart.add"),
            ("void shop.Cart.<init>()", "shop.Cart.<init>"),
            ("pool::take(std::string const&)", "pool::take(std::string const&)"),
            ("void ns::each<a, b.c>(int)", "void ns::each<a, b.c>(int)"),
            ("main.(*Server).Serve", "main.(*Server).Serve"),
            (
                "serve_forever (/usr/lib/python3.12/socketserver.py)",
                "serve_forever (/usr/lib/python3.12/socketserver.py)",
            ),
            ("accept", "accept"),
            ("()", "()"),
            ("", ""),
        ] {
            assert_eq!(bare_method(symbol), bare);
        }
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

//! The library's loader, without the kernel's types. It parses all of them whenever a
//! loader is made (60 ms, 20 MiB), before it can be told not to; our object has no
//! relocation against them.

use std::thread;

use aya::EbpfLoader;
use rustix::thread::UnshareFlags;

/// Where the types are. Seen from inside there is no such path.
const TYPES: &str = "/sys/kernel/btf";

/// A loader that has not read them: it is made by a thread for which they are not there.
/// Where a thread may not have a root directory of its own, they are read and not used.
pub(super) fn without_types() -> EbpfLoader<'static> {
    let hidden = thread::scope(|scope| {
        let maker = scope.spawn(|| {
            let _ = hide();
            EbpfLoader::new()
        });
        maker.join()
    });
    let mut loader = hidden.unwrap_or_else(|_| EbpfLoader::new());
    loader.btf(None);
    loader
}

/// Takes the types out of this thread's sight; of no other's.
fn hide() -> rustix::io::Result<()> {
    // SAFETY: only the root and working directory and the umask are no longer shared;
    // no descriptor is.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS)? };
    rustix::process::chroot(TYPES)
}

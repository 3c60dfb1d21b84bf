//! Telling userspace of a call path that it has not seen, while the process still
//! runs and its maps can be read. Once per process and stack, not once per socket.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use closewait_ebpf::{Path, Task, counter, kind};

use crate::{maps::PATHS, ring::send};

/// Announces the path `stack_id` of `task`, unless it was before or there is none.
#[inline(always)]
pub(crate) fn announce(task: &Task, stack_id: i32) {
    if stack_id < 0 {
        return;
    }
    let key = (u64::from(task.tgid) << 32) | u64::from(stack_id as u32);
    if PATHS.get_ptr(key).is_some() {
        return;
    }
    let sent = send::<Path>(counter::LOST_PATH, |record| {
        // SAFETY: room for a Path; every member is written.
        unsafe {
            (*record).kind = kind::PATH;
            (*record).stack_id = stack_id;
            (*record).at_ns = bpf_ktime_get_ns();
            (*record).task = *task;
        }
    });
    if sent {
        let _ = PATHS.insert(key, 1_u8, 0);
    }
}

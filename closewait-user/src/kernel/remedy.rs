//! What a hook takes that a kernel may not have, and what a hook costs beside others: so
//! that who reads what is lost reads how to get it, too. Pure.

use super::plan::{FORBIDDEN, Hook};
use super::served::Served;

/// What a kernel has to be like for this hook to work.
const fn takes(hook: Hook) -> &'static str {
    match hook {
        Hook::TpBtf | Hook::RawTp => "a kernel with CONFIG_BPF_EVENTS",
        Hook::Tracepoint | Hook::TcpDestroySock => {
            "a kernel with CONFIG_FTRACE, and a tracefs that can be opened"
        }
        Hook::Fentry => {
            "a kernel that allows BPF trampolines (CONFIG_FUNCTION_TRACER; on arm64 6.0 and later)"
        }
        Hook::Kprobe => "a kernel with CONFIG_KPROBE_EVENTS",
        Hook::SysExitAccept => "a kernel with CONFIG_FTRACE_SYSCALLS, and a tracefs that can be opened",
        Hook::IoUring => "a kernel with CONFIG_IO_URING (6.1 and later), and a tracefs that can be opened",
        Hook::SockRecvLength => "a kernel with the tracepoint sock:sock_recv_length (6.3 and later)",
        Hook::SkErrorReport => "a kernel with the tracepoint sock:inet_sk_error_report (5.14 and later)",
        Hook::UserStack | Hook::PythonFrames => {
            "a kernel with the BPF helper bpf_task_pt_regs (5.15 and later)"
        }
        Hook::Stack => "a kernel with CONFIG_PERF_EVENTS",
        Hook::IterTaskFile => "a kernel with the BPF iterator task_file (5.8 and later)",
    }
}

/// What this hook costs that the better ones do not.
const fn cost(hook: Hook) -> Option<&'static str> {
    match hook {
        // Any program on a syscall's event does: the kernel then takes the slow way out of all.
        Hook::SysExitAccept => Some("every system call of the host takes some nanoseconds more"),
        _ => None,
    }
}

impl Served {
    /// What serving the purpose in this way costs, where a better way costs less.
    pub fn cost(&self) -> Option<&'static str> {
        self.by.and_then(cost)
    }

    /// What would serve the purpose better: something for each hook that was refused, as long
    /// as anything is lost by that, or costs more.
    pub fn remedies(&self) -> Vec<String> {
        if self.lost().is_none() && self.cost().is_none() {
            return Vec::new();
        }
        let mut remedies: Vec<String> = Vec::new();
        for (hook, why) in &self.refused {
            let remedy = match why.as_str() {
                FORBIDDEN => format!("no --without {hook}"),
                _ => takes(*hook).into(),
            };
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
        remedies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::plan::Purpose;

    #[test]
    fn what_is_lost_or_costs_more_has_a_remedy_and_nothing_else_has() {
        let refused =
            |hooks: &[(Hook, &str)]| hooks.iter().map(|&(hook, why)| (hook, why.to_owned())).collect();
        let served = |purpose, by, hooks| Served { by, refused: refused(hooks), ..Served::nothing(purpose) };
        let no_fentry: &[_] = &[(Hook::Fentry, "refused at load"), (Hook::Kprobe, FORBIDDEN)];

        let best = served(Purpose::AcceptOpener, Some(Hook::Kprobe), no_fentry);
        assert_eq!((best.cost(), best.remedies()), (None, vec![]));

        let dear = served(Purpose::AcceptOpener, Some(Hook::SysExitAccept), no_fentry);
        assert!(dear.cost().unwrap().contains("every system call"));
        let remedies = dear.remedies();
        assert!(remedies[0].contains("CONFIG_FUNCTION_TRACER"), "{remedies:?}");
        assert_eq!(remedies[1], "no --without kprobe");

        let off = served(Purpose::Holders, None, &[(Hook::IterTaskFile, "the kernel's BTF has no file")]);
        assert!(off.remedies()[0].contains("task_file"));

        let pointers = served(Purpose::UserStack, Some(Hook::Stack), &[(Hook::UserStack, "no helper")]);
        assert_eq!(pointers.remedies().len(), 1);
        assert!(pointers.lost().unwrap().contains("frame pointers"));
    }
}

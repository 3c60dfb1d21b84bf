# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_closewait_trace_global_optspecs
    string join \n config= check-config t/threshold= o/output= p/pid= comm= local-port= remote-port= netns= cgroup= exclude-comm= exclude-port= group no-group limit= flame= html= fail-on-stuck allow-unknown v/verbose color= d/duration= stacks= jit-maps interval= record= record-max= redact metrics-listen= require-trace without= btf= room= h/help V/version
end

function __fish_closewait_trace_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_closewait_trace_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_closewait_trace_using_subcommand
    set -l cmd (__fish_closewait_trace_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l config -d 'Read options from this file (TOML, by their long names: threshold = "30s"); the command line wins. SIGHUP reads the filters again' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -s t -l threshold -d 'Report a socket once it has been in CLOSE_WAIT this long (10s, 500ms, 2m) [default: 10s]' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -s o -l output -d 'Format of the reports; JSON is one object per line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -s p -l pid -d 'Only sockets held by this process' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l comm -d 'Only sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l local-port -d 'Only sockets with this local port' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l remote-port -d 'Only sockets with this remote port' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l netns -d 'Only this network namespace: all, self, a pid, or a path such as /run/netns/blue' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l cgroup -d 'Only sockets held by processes in this cgroup or below it: a directory such as /sys/fs/cgroup/system.slice, or a path as /proc/PID/cgroup shows it' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l exclude-comm -d 'Not sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l exclude-port -d 'Not sockets with this port at either end' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l limit -d 'Show this many causes; the rest are counted' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l flame -d 'Write the stacks of stuck sockets to this file at the end: as folded stacks if it is called .folded or .txt, else as an SVG flame graph; may be given more than once' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l html -d 'Write everything that was reported to this file at the end, as one page of HTML that needs nothing else' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l color -d 'Colour the text' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -s d -l duration -d 'Stop after this long; until Ctrl-C when absent' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l stacks -d 'Take user stacks' -r -f -a "auto\t'The best way there is'
dwarf\t'By unwind tables'
fp\t'By frame pointers'
off\t'None'"
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l interval -d 'Repeat the full screen this often; when it changes, if absent' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l record -d 'Write what was seen to a file, for `replay`' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l record-max -d 'Let the recording and its predecessor (FILE.1) take this many bytes together (100M, 2G)' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l metrics-listen -d 'Serve metrics in the OpenMetrics format at http://ADDR/metrics; a port alone (9435) is for this machine only' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l without -d 'Do not use this hook' -r -f -a "tp_btf\t'Raw tracepoints whose arguments have the kernel\'s types'
raw_tp\t'Raw tracepoints'
tracepoint\t'The classic tracepoints sock:inet_sock_set_state and tcp:tcp_destroy_sock'
fentry\t'Trampolines on security_sock_graft and tcp_cleanup_rbuf'
kprobe\t'Probes on the same functions'
sys_exit_accept\t'syscalls:sys_exit_accept and sys_exit_accept4'
io_uring\t'io_uring:io_uring_complete'
tcp_destroy_sock\t'tcp:tcp_destroy_sock, by either kind of tracepoint'
sock_recv_length\t'sock:sock_recv_length'
sk_error_report\t'sock:inet_sk_error_report'
user_stack\t'User stacks copied, to be unwound by their tables'
stack\t'User stacks by the kernel\'s walk of frame pointers'
python_frames\t'The frames of Python functions, taken with the user stacks that are copied'
iter_task_file\t'The iterator over the descriptors of all tasks'"
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l btf -d 'Read kernel type information from here' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l room -d 'Give a BPF map room for so much: bytes of a ring, else entries' -r
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l check-config -d 'Print what would be used, and where it is from, and exit: 0 if it can be, else 2'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l group -d 'Group sockets by cause (the default in text)'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l no-group -d 'One report per socket (the default in json)'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l fail-on-stuck -d 'Exit 1 if a stuck socket was reported that is, or may be, a leak'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l allow-unknown -d 'With --fail-on-stuck: do not count sockets of which the evidence cannot tell'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -s v -l verbose -d 'Say more on stderr; twice for the log of the BPF programs'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l jit-maps -d 'Ask JVMs that hold stuck sockets to name their compiled methods, as jcmd does: they write /tmp/perf-PID.map (JDK 17 or later)'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l redact -d 'Leave addresses and command lines out of the recording; names of processes and files, and stacks, stay'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -l require-trace -d 'Fail with 77 when tracing cannot run, instead of repeating snapshots'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -s V -l version -d 'Print version'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "snapshot" -d 'One look at what is stuck now; needs no BPF'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "run" -d 'Run a command, trace only it and its children, and fail if it leaks sockets'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "replay" -d 'The same reports from a recording, by today\'s rules; needs no root'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "diff" -d 'Which causes are new, grown, shrunk or gone from one run to another'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "kill" -d 'Destroy stuck sockets; says what it would do, unless --yes is given'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "top" -d 'A live screen, for a terminal: causes by growth, their sockets and stacks'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "doctor" -d 'What this kernel offers, what will be used, what is lost'
complete -c closewait-trace -n "__fish_closewait_trace_needs_command" -f -a "explain" -d 'What a verdict means, its proof, the fix, and what does not help'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -s t -l threshold -d 'Report a socket once it has been in CLOSE_WAIT this long (10s, 500ms, 2m) [default: 10s]' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -s o -l output -d 'Format of the reports; JSON is one object per line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -s p -l pid -d 'Only sockets held by this process' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l comm -d 'Only sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l local-port -d 'Only sockets with this local port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l remote-port -d 'Only sockets with this remote port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l netns -d 'Only this network namespace: all, self, a pid, or a path such as /run/netns/blue' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l cgroup -d 'Only sockets held by processes in this cgroup or below it: a directory such as /sys/fs/cgroup/system.slice, or a path as /proc/PID/cgroup shows it' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l exclude-comm -d 'Not sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l exclude-port -d 'Not sockets with this port at either end' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l limit -d 'Show this many causes; the rest are counted' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l flame -d 'Write the stacks of stuck sockets to this file at the end: as folded stacks if it is called .folded or .txt, else as an SVG flame graph; may be given more than once' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l html -d 'Write everything that was reported to this file at the end, as one page of HTML that needs nothing else' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l color -d 'Colour the text' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l group -d 'Group sockets by cause (the default in text)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l no-group -d 'One report per socket (the default in json)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l fail-on-stuck -d 'Exit 1 if a stuck socket was reported that is, or may be, a leak'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -l allow-unknown -d 'With --fail-on-stuck: do not count sockets of which the evidence cannot tell'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -s v -l verbose -d 'Say more on stderr; twice for the log of the BPF programs'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand snapshot" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -s t -l threshold -d 'Report a socket once it has been in CLOSE_WAIT this long (10s, 500ms, 2m) [default: 10s]' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -s o -l output -d 'Format of the reports; JSON is one object per line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -s p -l pid -d 'Only sockets held by this process' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l comm -d 'Only sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l local-port -d 'Only sockets with this local port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l remote-port -d 'Only sockets with this remote port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l netns -d 'Only this network namespace: all, self, a pid, or a path such as /run/netns/blue' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l cgroup -d 'Only sockets held by processes in this cgroup or below it: a directory such as /sys/fs/cgroup/system.slice, or a path as /proc/PID/cgroup shows it' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l exclude-comm -d 'Not sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l exclude-port -d 'Not sockets with this port at either end' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l limit -d 'Show this many causes; the rest are counted' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l flame -d 'Write the stacks of stuck sockets to this file at the end: as folded stacks if it is called .folded or .txt, else as an SVG flame graph; may be given more than once' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l html -d 'Write everything that was reported to this file at the end, as one page of HTML that needs nothing else' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l color -d 'Colour the text' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l stacks -d 'Take user stacks' -r -f -a "auto\t'The best way there is'
dwarf\t'By unwind tables'
fp\t'By frame pointers'
off\t'None'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l report -d 'Write the report to this file, in the format of --output' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l junit -d 'Write what leaked to this file as JUnit XML' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l max -d 'Fail only if more sockets than this leaked' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l suppressions -d 'Do not count what a line of this file describes: `frame:PATTERN` (a function or module of a stack), `comm:`, `remote:ADDRESS:PORT`, `verdict:` or `cause:`, of which all on a line must fit; `*` is any text, `#` begins a comment' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l user -d 'Run CMD as this user; as the one who called sudo, if absent' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l without -d 'Do not use this hook' -r -f -a "tp_btf\t'Raw tracepoints whose arguments have the kernel\'s types'
raw_tp\t'Raw tracepoints'
tracepoint\t'The classic tracepoints sock:inet_sock_set_state and tcp:tcp_destroy_sock'
fentry\t'Trampolines on security_sock_graft and tcp_cleanup_rbuf'
kprobe\t'Probes on the same functions'
sys_exit_accept\t'syscalls:sys_exit_accept and sys_exit_accept4'
io_uring\t'io_uring:io_uring_complete'
tcp_destroy_sock\t'tcp:tcp_destroy_sock, by either kind of tracepoint'
sock_recv_length\t'sock:sock_recv_length'
sk_error_report\t'sock:inet_sk_error_report'
user_stack\t'User stacks copied, to be unwound by their tables'
stack\t'User stacks by the kernel\'s walk of frame pointers'
python_frames\t'The frames of Python functions, taken with the user stacks that are copied'
iter_task_file\t'The iterator over the descriptors of all tasks'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l btf -d 'Read kernel type information from here' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l room -d 'Give a BPF map room for so much: bytes of a ring, else entries' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l group -d 'Group sockets by cause (the default in text)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l no-group -d 'One report per socket (the default in json)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l fail-on-stuck -d 'Exit 1 if a stuck socket was reported that is, or may be, a leak'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l allow-unknown -d 'With --fail-on-stuck: do not count sockets of which the evidence cannot tell'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -s v -l verbose -d 'Say more on stderr; twice for the log of the BPF programs'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l jit-maps -d 'Ask JVMs that hold stuck sockets to name their compiled methods, as jcmd does: they write /tmp/perf-PID.map (JDK 17 or later)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l update-baseline -d 'Add what leaks now to the file of suppressions, and do not fail for it'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -l strict-exit -d 'Count every socket that was in CLOSE_WAIT when its process ended, however short or harmless'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l from -d 'Begin with what was stuck then: a time such as 2026-01-31T10:00:00Z, or a duration since the start such as 90s' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l to -d 'Report only what was seen until then' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -s t -l threshold -d 'Report a socket once it has been in CLOSE_WAIT this long (10s, 500ms, 2m) [default: 10s]' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -s o -l output -d 'Format of the reports; JSON is one object per line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -s p -l pid -d 'Only sockets held by this process' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l comm -d 'Only sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l local-port -d 'Only sockets with this local port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l remote-port -d 'Only sockets with this remote port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l netns -d 'Only this network namespace: all, self, a pid, or a path such as /run/netns/blue' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l cgroup -d 'Only sockets held by processes in this cgroup or below it: a directory such as /sys/fs/cgroup/system.slice, or a path as /proc/PID/cgroup shows it' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l exclude-comm -d 'Not sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l exclude-port -d 'Not sockets with this port at either end' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l limit -d 'Show this many causes; the rest are counted' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l flame -d 'Write the stacks of stuck sockets to this file at the end: as folded stacks if it is called .folded or .txt, else as an SVG flame graph; may be given more than once' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l html -d 'Write everything that was reported to this file at the end, as one page of HTML that needs nothing else' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l color -d 'Colour the text' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l group -d 'Group sockets by cause (the default in text)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l no-group -d 'One report per socket (the default in json)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l fail-on-stuck -d 'Exit 1 if a stuck socket was reported that is, or may be, a leak'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -l allow-unknown -d 'With --fail-on-stuck: do not count sockets of which the evidence cannot tell'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -s v -l verbose -d 'Say more on stderr; twice for the log of the BPF programs'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand diff" -s t -l threshold -d 'Of recordings, count sockets that were in CLOSE_WAIT this long; as recorded when absent' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand diff" -s o -l output -d 'Format; JSON is one object per line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand diff" -l all -d 'Show causes that are the same, too'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand diff" -l fail-on-growth -d 'Exit 1 if a cause is new or has grown'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand diff" -s v -l verbose -d 'Say more on stderr'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l remote -d 'Only sockets that are connected to this: ADDRESS, or ADDRESS:PORT; repeatable' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l older-than -d 'Only what has been in CLOSE_WAIT this long for certain: the lower bound of its age counts [default: --threshold]' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l verdict -d 'Only sockets with this verdict, such as EOF_IGNORED; repeatable' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -s p -l pid -d 'Only sockets held by this process' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l comm -d 'Only sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l local-port -d 'Only sockets with this local port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l remote-port -d 'Only sockets with this remote port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l netns -d 'Only this network namespace: all, self, a pid, or a path such as /run/netns/blue' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l cgroup -d 'Only sockets held by processes in this cgroup or below it: a directory such as /sys/fs/cgroup/system.slice, or a path as /proc/PID/cgroup shows it' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l exclude-comm -d 'Not sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l exclude-port -d 'Not sockets with this port at either end' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -s t -l threshold -d 'Look at sockets that have been, or may have been, in CLOSE_WAIT this long' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -s o -l output -d 'Format; JSON is one object per line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -l yes -d 'Destroy them; without this, only say what would be destroyed'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -s v -l verbose -d 'Say more on stderr'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand kill" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l config -d 'Read options from this file (TOML, by their long names: threshold = "30s"); the command line wins. SIGHUP reads the filters again' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -s t -l threshold -d 'Report a socket once it has been in CLOSE_WAIT this long (10s, 500ms, 2m) [default: 10s]' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -s o -l output -d 'Format of the reports; JSON is one object per line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -s p -l pid -d 'Only sockets held by this process' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l comm -d 'Only sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l local-port -d 'Only sockets with this local port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l remote-port -d 'Only sockets with this remote port' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l netns -d 'Only this network namespace: all, self, a pid, or a path such as /run/netns/blue' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l cgroup -d 'Only sockets held by processes in this cgroup or below it: a directory such as /sys/fs/cgroup/system.slice, or a path as /proc/PID/cgroup shows it' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l exclude-comm -d 'Not sockets held by a process of this name' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l exclude-port -d 'Not sockets with this port at either end' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l limit -d 'Show this many causes; the rest are counted' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l flame -d 'Write the stacks of stuck sockets to this file at the end: as folded stacks if it is called .folded or .txt, else as an SVG flame graph; may be given more than once' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l html -d 'Write everything that was reported to this file at the end, as one page of HTML that needs nothing else' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l color -d 'Colour the text' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always'
never\t'Never'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -s d -l duration -d 'Stop after this long; until Ctrl-C when absent' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l stacks -d 'Take user stacks' -r -f -a "auto\t'The best way there is'
dwarf\t'By unwind tables'
fp\t'By frame pointers'
off\t'None'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l interval -d 'Repeat the full screen this often; when it changes, if absent' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l record -d 'Write what was seen to a file, for `replay`' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l record-max -d 'Let the recording and its predecessor (FILE.1) take this many bytes together (100M, 2G)' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l metrics-listen -d 'Serve metrics in the OpenMetrics format at http://ADDR/metrics; a port alone (9435) is for this machine only' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l without -d 'Do not use this hook' -r -f -a "tp_btf\t'Raw tracepoints whose arguments have the kernel\'s types'
raw_tp\t'Raw tracepoints'
tracepoint\t'The classic tracepoints sock:inet_sock_set_state and tcp:tcp_destroy_sock'
fentry\t'Trampolines on security_sock_graft and tcp_cleanup_rbuf'
kprobe\t'Probes on the same functions'
sys_exit_accept\t'syscalls:sys_exit_accept and sys_exit_accept4'
io_uring\t'io_uring:io_uring_complete'
tcp_destroy_sock\t'tcp:tcp_destroy_sock, by either kind of tracepoint'
sock_recv_length\t'sock:sock_recv_length'
sk_error_report\t'sock:inet_sk_error_report'
user_stack\t'User stacks copied, to be unwound by their tables'
stack\t'User stacks by the kernel\'s walk of frame pointers'
python_frames\t'The frames of Python functions, taken with the user stacks that are copied'
iter_task_file\t'The iterator over the descriptors of all tasks'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l btf -d 'Read kernel type information from here' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l room -d 'Give a BPF map room for so much: bytes of a ring, else entries' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l check-config -d 'Print what would be used, and where it is from, and exit: 0 if it can be, else 2'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l group -d 'Group sockets by cause (the default in text)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l no-group -d 'One report per socket (the default in json)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l fail-on-stuck -d 'Exit 1 if a stuck socket was reported that is, or may be, a leak'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l allow-unknown -d 'With --fail-on-stuck: do not count sockets of which the evidence cannot tell'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -s v -l verbose -d 'Say more on stderr; twice for the log of the BPF programs'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l jit-maps -d 'Ask JVMs that hold stuck sockets to name their compiled methods, as jcmd does: they write /tmp/perf-PID.map (JDK 17 or later)'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l redact -d 'Leave addresses and command lines out of the recording; names of processes and files, and stacks, stay'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -l require-trace -d 'Fail with 77 when tracing cannot run, instead of repeating snapshots'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand doctor" -s o -l output -d 'Format; JSON is one line' -r -f -a "text\t'For people'
json\t'One JSON object per line'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand doctor" -l without -d 'Do not use this hook' -r -f -a "tp_btf\t'Raw tracepoints whose arguments have the kernel\'s types'
raw_tp\t'Raw tracepoints'
tracepoint\t'The classic tracepoints sock:inet_sock_set_state and tcp:tcp_destroy_sock'
fentry\t'Trampolines on security_sock_graft and tcp_cleanup_rbuf'
kprobe\t'Probes on the same functions'
sys_exit_accept\t'syscalls:sys_exit_accept and sys_exit_accept4'
io_uring\t'io_uring:io_uring_complete'
tcp_destroy_sock\t'tcp:tcp_destroy_sock, by either kind of tracepoint'
sock_recv_length\t'sock:sock_recv_length'
sk_error_report\t'sock:inet_sk_error_report'
user_stack\t'User stacks copied, to be unwound by their tables'
stack\t'User stacks by the kernel\'s walk of frame pointers'
python_frames\t'The frames of Python functions, taken with the user stacks that are copied'
iter_task_file\t'The iterator over the descriptors of all tasks'"
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand doctor" -l btf -d 'Read kernel type information from here' -r -F
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand doctor" -l room -d 'Give a BPF map room for so much: bytes of a ring, else entries' -r
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand doctor" -l self-test -d 'Leak a socket in a network namespace of its own, and see whether it is found'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand doctor" -s v -l verbose -d 'Say more on stderr'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c closewait-trace -n "__fish_closewait_trace_using_subcommand explain" -s h -l help -d 'Print help'

/* Somebody else who uses BPF: asks for the elements of a large map, which has none, again and
 * again. While the kernel serves that, it runs no program of a classic tracepoint or of a kprobe
 * on this CPU (`bpf_disable_instrumentation`): it skips them. What handles packets there comes on
 * top of that, as often as not.
 *
 *   map_reader --cpu N
 */
#include "scenario.h"
#include <linux/bpf.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static long bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

int main(int argc, char **argv)
{
	begin();
	if (argc != 3 || strcmp(argv[1], "--cpu"))
		usage("arguments", argv[1]);
	run_on_cpu(atoi(argv[2]));
	/* While another runs here, its programs do, too. */
	if (setpriority(PRIO_PROCESS, 0, -19))
		die("setpriority");

	/* A bucket for each: looking through them takes milliseconds. */
	union bpf_attr map = {
		.map_type = BPF_MAP_TYPE_HASH,
		.key_size = 4,
		.value_size = 4,
		.max_entries = 1 << 20,
		.map_flags = BPF_F_NO_PREALLOC,
	};
	int fd = bpf(BPF_MAP_CREATE, &map);
	if (fd < 0)
		die("BPF_MAP_CREATE");
	say("ready port=0 pid=%d", getpid());

	struct pollfd orders = {.fd = 0, .events = POLLIN};
	while (poll(&orders, 1, 0) == 0) {
		unsigned keys[16], values[16], last;
		union bpf_attr batch = {
			.batch = {
				.map_fd = fd,
				.keys = (unsigned long)keys,
				.values = (unsigned long)values,
				.out_batch = (unsigned long)&last,
				.count = 16,
			},
		};
		if (bpf(BPF_MAP_LOOKUP_BATCH, &batch) && errno != ENOENT)
			die("BPF_MAP_LOOKUP_BATCH");
	}
	return 0;
}

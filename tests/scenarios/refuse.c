/* Runs a command of which some system calls fail.
 *
 *   refuse CALL ERRNO FROM COUNT CMD [ARG...]
 *
 * Of its calls of CALL, those numbered FROM (0 is the first) and above, COUNT of them, fail with
 * ERRNO, a number. CALL: `recvfrom` (of netlink sockets only), `setns`, `getdents64`.
 * CMD has the process id of this program. Whoever decides is its child, and ends with it.
 */
#include "scenario.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

static int number_of(const char *call)
{
	if (!strcmp(call, "recvfrom"))
		return SYS_recvfrom;
	if (!strcmp(call, "setns"))
		return SYS_setns;
	if (!strcmp(call, "getdents64"))
		return SYS_getdents64;
	usage("call", call);
}

/* From now on whoever has the descriptor that is returned decides about the calls. */
static int install(int number)
{
	struct sock_filter filter[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
	int fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	if (fd < 0)
		die("seccomp");
	return fd;
}

/* A copy of the descriptor that a call is about. */
static bool is_netlink(pid_t pid, int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);
	int pidfd = syscall(SYS_pidfd_open, pid, 0);
	int copy = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	getsockopt(copy, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	close(copy);
	close(pidfd);
	return domain == AF_NETLINK;
}

__attribute__((noreturn))
static void decide(int listener, pid_t pid, int number, int error, unsigned long from, unsigned long count)
{
	unsigned long seen = 0;
	for (;;) {
		/* It may not be told of the end of one whose user may not end it. */
		struct pollfd left = {.fd = listener, .events = POLLIN};
		if (poll(&left, 1, -1) > 0 && left.revents & POLLHUP)
			_exit(0);
		struct seccomp_notif asked = {0};
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked)) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			_exit(0);
		}
		struct seccomp_notif_resp answer = {.id = asked.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		bool counts = number != SYS_recvfrom || is_netlink(pid, asked.data.args[0]);
		if (counts && seen >= from && seen - from < count) {
			answer.flags = 0;
			answer.error = -error;
		}
		seen += counts;
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	}
}

int main(int argc, char **argv)
{
	if (argc < 6)
		usage("that few", "arguments");
	int number = number_of(argv[1]), pair[2];
	pid_t pid = getpid();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		begin();
		int listener;
		if (read(pair[1], &listener, sizeof(listener)) != sizeof(listener))
			_exit(1);
		int pidfd = syscall(SYS_pidfd_open, pid, 0);
		int own = syscall(SYS_pidfd_getfd, pidfd, listener, 0);
		if (own < 0)
			die("pidfd_getfd");
		/* Nobody may wait for the end of a pipe because of this process. */
		dup2(own, 0);
		dup2(pair[1], 1);
		syscall(SYS_close_range, 2, ~0u, 0);
		if (write(1, "", 1) != 1)
			_exit(1);
		close(1);
		decide(0, pid, number, atoi(argv[2]), strtoul(argv[3], NULL, 10), strtoul(argv[4], NULL, 10));
	}
	char byte;
	int listener = install(number);
	if (write(pair[0], &listener, sizeof(listener)) != sizeof(listener) || read(pair[0], &byte, 1) != 1)
		die("the one who decides");
	close(listener);
	close(pair[0]);
	close(pair[1]);
	execvp(argv[5], argv + 5);
	die(argv[5]);
}

/* Sockets to which the kernel has a reference and no process a descriptor. The
 * EOF has been read. Options as in pair.h.
 *
 *   unheld KIND [OPTION...]
 *
 *   flight   sent over a unix socket (SCM_RIGHTS), not received
 *   uring    registered with an io_uring; `refused errno=N` where there is none
 */
#include "pair.h"

#include <linux/io_uring.h>
#include <sys/syscall.h>

static int channel[2], ring;

static int read_and_ignored(int listener, struct moment *since, int *port)
{
	struct pair pair = accepted(listener);
	*since = far_closes(&pair);
	*port = pair.port;
	read_to_eof(pair.near);
	return pair.near;
}

static void flight(int listener)
{
	struct moment since;
	int port, fd = read_and_ignored(listener, &since, &port);
	char control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec byte = {"x", 1};
	struct msghdr msg = {
		.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *rights = CMSG_FIRSTHDR(&msg);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &fd, sizeof(int));
	if (sendmsg(channel[0], &msg, 0) != 1)
		die("sendmsg");
	close(fd);
	say_leak(0, 0, port, since);
}

static void uring(int listener)
{
	struct moment since[64];
	int fds[64], ports[64];
	for (unsigned i = 0; i < opt.count; i++)
		fds[i] = read_and_ignored(listener, &since[i], &ports[i]);
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_FILES, fds, opt.count))
		die("io_uring_register");
	for (unsigned i = 0; i < opt.count; i++) {
		close(fds[i]);
		say_leak(0, 0, ports[i], since[i]);
	}
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{"flight", .one = flight},
		{"uring", .all = uring},
		{0},
	};
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel))
		die("socketpair");
	ring = syscall(SYS_io_uring_setup, 8, &(struct io_uring_params){0});
	if (ring < 0 && argc > 1 && !strcmp(argv[1], "uring")) {
		begin();
		say("refused errno=%d", errno);
		return obey();
	}
	make(argc, argv, kinds);
	return obey();
}

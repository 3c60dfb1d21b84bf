/* An owner of sockets: a process that listens, and does with connections what a director
 * orders (soak.c), one order after the other, each of which is answered. */
#ifndef SOAK_OWNER_H
#define SOAK_OWNER_H

#include "scenario.h"

#include <fcntl.h>
#include <sys/syscall.h>

/* Descriptors of an owner: orders, and a pipe that ends when the director does. */
enum { CONTROL = 3, LIFE = 4 };
/* So many sockets there are at most. */
enum { STANDING = 64 };

/* `a` accept (of the lazy listener if `arg`), and of descriptor `arg`: `e` read to EOF,
 * `c` close, `s` shut down, `x` wait for its end, `f` fork a process that keeps it, `p` pass it
 * to the director, `h` send and `l` read a little again and again. `g` gets one passed. */
struct order {
	char op;
	int arg;
};

/* With a descriptor, unless that is -1. */
static void tell(int to, const void *what, size_t size, int fd)
{
	char space[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec part = {(void *)what, size};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (fd >= 0) {
		message.msg_control = space;
		message.msg_controllen = sizeof(space);
		struct cmsghdr *head = CMSG_FIRSTHDR(&message);
		head->cmsg_level = SOL_SOCKET;
		head->cmsg_type = SCM_RIGHTS;
		head->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(head), &fd, sizeof(int));
	}
	if (sendmsg(to, &message, 0) != (ssize_t)size)
		die("sendmsg");
}

/* Returns the descriptor that came along, or -1. */
static int hear(int from, void *what, size_t size)
{
	char space[CMSG_SPACE(sizeof(int))];
	struct iovec part = {what, size};
	struct msghdr message = {
	    .msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space)};
	ssize_t got = recvmsg(from, &message, MSG_CMSG_CLOEXEC);
	if (got == 0)
		exit(0);
	if (got != (ssize_t)size)
		die("recvmsg");
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	int fd = -1;
	if (head)
		memcpy(&fd, CMSG_DATA(head), sizeof(int));
	return fd;
}

static int order_of(int control, char op, int arg)
{
	struct order order = {op, arg};
	int answer;
	tell(control, &order, sizeof(order), -1);
	hear(control, &answer, sizeof(answer));
	return answer;
}

static int ticking[STANDING];
static bool sends[STANDING];
static unsigned ticking_count;

static void tick(void)
{
	char byte = 'x';
	for (unsigned i = 0; i < ticking_count; i++) {
		if (sends[i])
			send(ticking[i], "ten bytes.", 10, MSG_DONTWAIT);
		else
			recv(ticking[i], &byte, 1, MSG_DONTWAIT);
	}
}

static void stop_ticking(int fd)
{
	for (unsigned i = 0; i < ticking_count; i++)
		if (ticking[i] == fd) {
			ticking[i] = ticking[--ticking_count];
			sends[i] = sends[ticking_count];
			return;
		}
}

/* A process that keeps one descriptor, until it is killed or the director ends. */
static pid_t fork_with(int fd)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		syscall(SYS_close_range, LIFE + 1, fd - 1, 0);
		syscall(SYS_close_range, fd + 1, ~0u, 0);
		close(CONTROL);
		char byte;
		while (read(LIFE, &byte, 1) > 0)
			;
		_exit(0);
	}
	/* CONTROL is the last that it closes. */
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", child, CONTROL);
	while (!access(path, F_OK))
		usleep(500);
	return child;
}

NAMED static int take_in(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("accept");
	return fd;
}

__attribute__((noreturn))
static void own(int port, int lazy_port)
{
	int listener = listen_on("127.0.0.1", port, 128), lazy = listen_on("127.0.0.1", lazy_port, 128);
	int ports[2] = {local_port(listener), local_port(lazy)};
	tell(CONTROL, ports, sizeof(ports), -1);
	signal(SIGCHLD, SIG_IGN);
	for (;;) {
		struct pollfd orders = {.fd = CONTROL, .events = POLLIN};
		if (poll(&orders, 1, ticking_count ? 50 : -1) < 0)
			die("poll");
		tick();
		if (!orders.revents)
			continue;
		struct order order;
		int passed = hear(CONTROL, &order, sizeof(order)), answer = 0, with = -1;
		switch (order.op) {
		case 'a': answer = take_in(order.arg ? lazy : listener); break;
		case 'e': read_to_eof(order.arg); break;
		case 'c': stop_ticking(order.arg); close(order.arg); break;
		case 's': shutdown(order.arg, SHUT_WR); break;
		case 'x': wait_for(order.arg, POLLHUP); break;
		case 'f': answer = fork_with(order.arg); break;
		case 'p': with = order.arg; break;
		case 'g': answer = passed; break;
		case 'h':
		case 'l':
			ticking[ticking_count] = order.arg;
			sends[ticking_count++] = order.op == 'h';
			break;
		default: usage("order", NULL);
		}
		tell(CONTROL, &answer, sizeof(answer), with);
	}
}

#endif

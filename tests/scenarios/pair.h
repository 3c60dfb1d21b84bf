/* Pairs of connected TCP sockets: the near end, which a situation is about, and
 * the far end, its peer. Both are in this process, so that it knows when what happened.
 *
 * Options:  [--count N] [--bind IP] [--to IP] [--far-in NETNS] [--mptcp]
 * --far-in: far ends belong to the network namespace of that file.
 */
#ifndef PAIR_H
#define PAIR_H

#include "scenario.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <time.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* A closed far end resets its peer after net.mptcp.close_timeout (60 s, Linux 6.8 on): that
 * makes a ghost of the near end, and on a slow machine the test has not got to its end. */
static inline void keep_mptcp(void)
{
	FILE *knob = fopen("/proc/sys/net/mptcp/close_timeout", "w");

	if (!knob)
		return;
	fputs("3600", knob);
	fclose(knob);
}

/* One pair; `port` is the client's. A closed end is -1. */
struct pair {
	int near, far, port;
};

/* The moment of something lies between these, in nanoseconds of CLOCK_MONOTONIC. */
struct moment {
	uint64_t from, to;
};

static struct {
	const char *bind, *to, *far_in;
	unsigned count;
	int protocol;
} opt = {.bind = "127.0.0.1", .to = "127.0.0.1", .count = 1};

static unsigned leaked;

/* What a program can do, by the name it is asked for: `one` socket, --count times, or
 * `all` at once. */
struct kind {
	const char *name;
	void (*one)(int listener);
	void (*all)(int listener);
};

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* Waits until the test has done what a line asked for, and says `go`. */
__attribute__((unused))
static void wait_for_go(void)
{
	char line[64];
	if (!fgets(line, sizeof(line), stdin) || strcmp(line, "go\n"))
		usage("command", "instead of go");
}

static int far_socket(int family)
{
	int own = -1;
	if (opt.far_in) {
		own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
		int other = open(opt.far_in, O_RDONLY | O_CLOEXEC);
		if (own < 0 || other < 0 || setns(other, CLONE_NEWNET))
			die(opt.far_in);
		close(other);
	}
	int fd = socket(family, SOCK_STREAM, opt.protocol);
	if (fd < 0)
		die("socket");
	if (own >= 0 && setns(own, CLONE_NEWNET))
		die("setns");
	close(own);
	return fd;
}

static int dial(int listener)
{
	struct sockaddr_storage addr;
	socklen_t len = address(opt.to, local_port(listener), &addr);
	int fd = far_socket(addr.ss_family);
	if (connect(fd, (void *)&addr, len))
		die("connect");
	return fd;
}

/* Inlined, so that whoever asks for it is the one that accepts. */
__attribute__((always_inline))
static inline int take_in(int listener)
{
	int fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	return fd;
}

/* The near end was accepted. */
__attribute__((unused))
NAMED static struct pair accepted(int listener)
{
	int far = dial(listener);
	return (struct pair){.near = take_in(listener), .far = far, .port = local_port(far)};
}

/* The near end was connected. */
__attribute__((unused))
NAMED static struct pair connected(int listener)
{
	int near = dial(listener);
	return (struct pair){.near = near, .far = take_in(listener), .port = local_port(near)};
}

__attribute__((unused))
static void send_all(int fd, size_t size)
{
	static char bytes[65536];
	if (size > sizeof(bytes) || send(fd, bytes, size, 0) != (ssize_t)size)
		die("send");
}

static bool in_close_wait(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		die("TCP_INFO");
	return info.tcpi_state == TCP_CLOSE_WAIT;
}

static struct moment sees_fin(struct pair *pair, uint64_t from)
{
	wait_for(pair->near, POLLRDHUP);
	/* An MPTCP socket's tcp_info has other states. */
	if (!opt.protocol && !in_close_wait(pair->near))
		usage("a socket that is not in", "CLOSE_WAIT");
	return (struct moment){from, now()};
}

/* The far end closes, which puts the near end into CLOSE_WAIT. */
__attribute__((unused))
NAMED static struct moment far_closes(struct pair *pair)
{
	uint64_t from = now();
	close(pair->far);
	pair->far = -1;
	return sees_fin(pair, from);
}

/* The far end sends its FIN and keeps its descriptor. */
__attribute__((unused))
NAMED static struct moment far_half_closes(struct pair *pair)
{
	uint64_t from = now();
	shutdown(pair->far, SHUT_WR);
	return sees_fin(pair, from);
}

/* Process `pid` has the near end as `fd`; both are 0 when nobody has a descriptor. */
__attribute__((unused))
static void say_leak(int pid, int fd, int port, struct moment since)
{
	leaked++;
	say("leak pid=%d fd=%d port=%d from=%llu to=%llu", pid, fd, port, (unsigned long long)since.from,
	    (unsigned long long)since.to);
}

/* This process keeps the near end. */
__attribute__((unused))
static void forget(const struct pair *pair, struct moment since)
{
	keep(pair->near, 0);
	say_leak(getpid(), pair->near, pair->port, since);
}

static int protocol_listener(void)
{
	if (!opt.protocol)
		return listen_on(opt.bind, 0, 128);
	struct sockaddr_storage addr;
	socklen_t len = address(opt.bind, 0, &addr);
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, opt.protocol);
	if (fd < 0) {
		say("refused errno=%d", errno);
		exit(obey());
	}
	if (bind(fd, (void *)&addr, len) || listen(fd, 128))
		die("listen");
	return fd;
}

/* `main` of a program that makes one kind of situation and says what it keeps. */
__attribute__((unused))
static void make(int argc, char **argv, const struct kind *kinds)
{
	begin();
	if (argc < 2)
		usage("no", "kind");
	for (int i = 2; i < argc; i++) {
		const char *name = argv[i];
		if (!strcmp(name, "--mptcp")) {
			opt.protocol = IPPROTO_MPTCP;
			keep_mptcp();
		} else if (++i == argc)
			usage(name, NULL);
		else if (!strcmp(name, "--count"))
			opt.count = atoi(argv[i]);
		else if (!strcmp(name, "--bind"))
			opt.bind = argv[i];
		else if (!strcmp(name, "--to"))
			opt.to = argv[i];
		else if (!strcmp(name, "--far-in"))
			opt.far_in = argv[i];
		else
			usage(name, argv[i]);
	}
	for (; kinds->name; kinds++)
		if (!strcmp(kinds->name, argv[1])) {
			int listener = protocol_listener();
			say("ready port=%d pid=%d", local_port(listener), getpid());
			if (kinds->all)
				kinds->all(listener);
			for (unsigned i = 0; kinds->one && i < opt.count; i++)
				kinds->one(listener);
			say("done leaked=%u closed=%u", leaked, opt.count - leaked);
			return;
		}
	usage("kind", argv[1]);
}

/* Obeys as obey() does, and calls `move` every 50 ms for every descriptor kept.
 * One command at a time: the next must wait for the answer to the last. */
__attribute__((unused))
static int obey_and(void (*move)(int fd))
{
	char line[64];
	for (;;) {
		struct pollfd orders = {.fd = 0, .events = POLLIN};
		if (poll(&orders, 1, 50) < 0)
			die("poll");
		for (unsigned i = 0; i < kept_count; i++)
			move(kept[i].fd);
		if (!orders.revents)
			continue;
		if (!fgets(line, sizeof(line), stdin))
			return 0;
		if (strcmp(line, "close\n"))
			usage("command", line);
		close_all_kept();
	}
}

#endif

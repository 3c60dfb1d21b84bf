/* What the scenario programs share: words on stdout, commands on stdin, addresses.
 *
 * A program speaks in lines of `word key=value ...`:
 *   ready port=8080 pid=17           it listens, or is about to connect
 *   leak pid=17 fd=5 port=51334      that process keeps that fd; `port` is the
 *                                    client's end, by which a test names the socket
 *   done leaked=101 closed=997       everything asked for has happened
 * and then obeys: `close` closes all it kept, `shutdown` shuts it down, end of input ends it. So a test
 * waits for a line, never for a time.
 */
#ifndef SCENARIO_H
#define SCENARIO_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Keeps a function's frame and its plain name, so that tests can ask for it. */
#define NAMED __attribute__((noipa))

/* Who keeps a socket: this process by an fd, or a child (then fd is -1). */
struct kept {
	int fd;
	pid_t child;
};

static struct kept kept[65536];
static unsigned kept_count;

__attribute__((format(printf, 1, 2), unused))
static void say(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

__attribute__((noreturn, unused))
static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

__attribute__((noreturn, unused))
static void usage(const char *what, const char *value)
{
	fprintf(stderr, "cannot use %s %s\n", what, value ? value : "");
	exit(2);
}

/* To be called first: a program must not outlive the test that started it. */
__attribute__((unused))
static void begin(void)
{
	signal(SIGPIPE, SIG_IGN);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

__attribute__((unused))
static void run_on_cpu(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity");
}

__attribute__((unused))
NAMED static void wait_for(int fd, short events)
{
	struct pollfd poller = {.fd = fd, .events = events};
	do {
		if (poll(&poller, 1, -1) != 1)
			die("poll");
	} while (!(poller.revents & (events | POLLERR | POLLHUP)));
}

/* `text` is an IPv4 or IPv6 address. */
__attribute__((unused))
static socklen_t address(const char *text, int port, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;

	memset(out, 0, sizeof(*out));
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return sizeof(*v4);
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		return sizeof(*v6);
	}
	usage("address", text);
}

static int port_of(const struct sockaddr_storage *addr)
{
	if (addr->ss_family == AF_INET)
		return ntohs(((const struct sockaddr_in *)addr)->sin_port);
	return ntohs(((const struct sockaddr_in6 *)addr)->sin6_port);
}

__attribute__((unused))
static int local_port(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	if (getsockname(fd, (void *)&addr, &len))
		die("getsockname");
	return port_of(&addr);
}

__attribute__((unused))
static int remote_port(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr);
	if (getpeername(fd, (void *)&addr, &len))
		die("getpeername");
	return port_of(&addr);
}

/* `::` also takes IPv4 clients, which then are v4-mapped. */
__attribute__((unused))
static int listen_on(const char *bind_to, int port, int backlog)
{
	struct sockaddr_storage addr;
	socklen_t len = address(bind_to, port, &addr);
	int off = 0, on = 1;
	int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (addr.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, (void *)&addr, len))
		die("bind");
	if (listen(fd, backlog))
		die("listen");
	return fd;
}

/* Of leak + close connections, whether the one numbered `i` leaks: they are
 * spread evenly, and the last one leaks, so that whoever has seen the last leak
 * reported knows that the deadline of every other connection has passed. */
__attribute__((unused))
static bool leaks(unsigned long i, unsigned long leak, unsigned long close)
{
	unsigned long all = leak + close;
	return (i + 1) * leak / all != i * leak / all;
}

__attribute__((unused))
static void read_to_eof(int fd)
{
	char buf[4096];
	ssize_t n;
	while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
		;
	if (n < 0)
		die("recv");
}

__attribute__((unused))
static void keep(int fd, pid_t child)
{
	if (kept_count == sizeof(kept) / sizeof(kept[0]))
		usage("that many leaks", NULL);
	kept[kept_count++] = (struct kept){fd, child};
}

__attribute__((unused))
static void close_all_kept(void)
{
	for (unsigned i = 0; i < kept_count; i++) {
		if (kept[i].child) {
			kill(kept[i].child, SIGKILL);
			waitpid(kept[i].child, NULL, 0);
		} else {
			close(kept[i].fd);
		}
	}
	say("closed count=%u", kept_count);
	kept_count = 0;
}

/* The last thing a program does. */
__attribute__((unused))
static int obey(void)
{
	char line[64];
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "close\n"))
			close_all_kept();
		else if (!strcmp(line, "shutdown\n"))
			for (unsigned i = 0; i < kept_count; i++)
				shutdown(kept[i].fd, SHUT_RDWR);
		else
			usage("command", line);
	}
	return 0;
}

#endif

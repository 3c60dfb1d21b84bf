/* A TCP server that forgets to close some of the connections it accepts.
 *
 *   leaky_server [--bind IP] [--port N] [--backlog N] [--cpu N] [--cloexec]
 *                [--leak N] [--close N] [--read none|peek|some|once|eof]
 *                [--fork] [--leave] [--first] [--never-accept] [--listen-in NETNS]
 *                [--uid N] [--nofile N] [--wait N]
 *
 * It accepts leak + close connections, one after the other. Those that leak
 * are read as --read says and then forgotten; the others are closed as soon as
 * the client has closed, or at once with --first (the client must send nothing).
 * --fork: a child keeps the leaked socket, the server closes its own fd; with
 * --leave too, the server then ends and its children stay until the end of input.
 * --listen-in: the sockets belong to the network namespace of that file, in which
 * the process itself is not. --uid: it is a process of that user. --nofile: it may
 * have so many descriptors; it says `full` when accept() has no more, and goes on
 * asking. --wait: so many threads wait in accept() on a listener that nobody calls.
 */
#include "scenario.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/resource.h>

static struct {
	const char *bind, *read, *listen_in;
	int port, backlog, cpu;
	unsigned leak, close, nofile, wait;
	bool cloexec, fork, leave, first, never_accept;
} opt = {.bind = "127.0.0.1", .read = "eof", .backlog = 128, .cpu = -1};

/* The only caller of accept(). A walk by frame pointers loses the direct caller
 * of a libc wrapper; the names that tests ask for are the callers of this one. */
NAMED static int take(int listener)
{
	bool told = false;
	int fd;

	while ((fd = opt.cloexec ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : accept(listener, NULL, NULL)) < 0) {
		if (errno != EMFILE || !opt.nofile)
			die("accept");
		if (!told)
			say("full");
		told = true;
		poll(NULL, 0, 100);
	}
	return fd;
}

static void *wait_in_accept(void *listener)
{
	accept(*(int *)listener, NULL, NULL);
	die("the listener that nobody calls");
}

NAMED static void have_others_wait(void)
{
	static int listener;

	listener = listen_on("127.0.0.1", 0, 1);
	for (unsigned i = 0; i < opt.wait; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, wait_in_accept, &listener))
			die("pthread_create");
	}
}

NAMED static void wait_for_fin(int fd)
{
	struct pollfd poller = {.fd = fd, .events = POLLRDHUP};
	if (poll(&poller, 1, -1) != 1)
		die("poll");
}

NAMED static void read_as_told(int fd)
{
	/* Not on the stack, of which the tool copies 16 KiB. */
	static char buf[65536];
	ssize_t n = 0;

	if (!strcmp(opt.read, "none"))
		return;
	if (!strcmp(opt.read, "eof")) {
		read_to_eof(fd);
		return;
	}
	if (!strcmp(opt.read, "peek")) {
		n = recv(fd, buf, sizeof(buf), MSG_PEEK);
	} else if (!strcmp(opt.read, "some")) {
		n = recv(fd, buf, 1, 0);
	} else if (!strcmp(opt.read, "once")) {
		/* With the FIN there already, one recv takes it along with the last bytes. */
		wait_for_fin(fd);
		n = recv(fd, buf, sizeof(buf), 0);
	} else {
		usage("--read", opt.read);
	}
	if (n < 0)
		die("recv");
}

/* Returns the child that now keeps the socket. */
NAMED static pid_t leave_to_child(int fd)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0) {
		if (opt.leave) {
			char byte;
			while (read(0, &byte, 1) > 0)
				;
			exit(0);
		}
		begin();
		for (;;)
			pause();
	}
	close(fd);
	return child;
}

NAMED static void accept_and_forget(int listener)
{
	int fd = take(listener);
	int port = remote_port(fd);
	pid_t child = 0;

	read_as_told(fd);
	if (opt.fork)
		child = leave_to_child(fd);
	keep(fd, child);
	say("leak pid=%d fd=%d port=%d", child ? child : getpid(), fd, port);
}

NAMED static void accept_and_close(int listener)
{
	int fd = take(listener);
	if (!opt.first)
		read_to_eof(fd);
	close(fd);
}

/* Becomes a process of that user, as if it had been started by them. */
NAMED static void become(uid_t uid)
{
	if (setresuid(uid, uid, uid))
		die("setresuid");
	prctl(PR_SET_DUMPABLE, 1);
	begin();
}

/* Enters the network namespace of a file; returns an fd of the one left. */
NAMED static int enter(const char *netns)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int other = open(netns, O_RDONLY | O_CLOEXEC);
	if (own < 0 || other < 0 || setns(other, CLONE_NEWNET))
		die(netns);
	close(other);
	return own;
}

NAMED static void handle_client(int listener, bool leak)
{
	if (leak)
		accept_and_forget(listener);
	else
		accept_and_close(listener);
}

NAMED static void serve(int listener)
{
	for (unsigned i = 0; i < opt.leak + opt.close; i++)
		handle_client(listener, leaks(i, opt.leak, opt.close));
}

int main(int argc, char **argv)
{
	begin();
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(name, "--cloexec"))
			opt.cloexec = true;
		else if (!strcmp(name, "--fork"))
			opt.fork = true;
		else if (!strcmp(name, "--leave"))
			opt.leave = true;
		else if (!strcmp(name, "--first"))
			opt.first = true;
		else if (!strcmp(name, "--never-accept"))
			opt.never_accept = true;
		else if (!value)
			usage(name, NULL);
		else if (i++, !strcmp(name, "--bind"))
			opt.bind = value;
		else if (!strcmp(name, "--port"))
			opt.port = atoi(value);
		else if (!strcmp(name, "--backlog"))
			opt.backlog = atoi(value);
		else if (!strcmp(name, "--cpu"))
			opt.cpu = atoi(value);
		else if (!strcmp(name, "--leak"))
			opt.leak = atoi(value);
		else if (!strcmp(name, "--close"))
			opt.close = atoi(value);
		else if (!strcmp(name, "--read"))
			opt.read = value;
		else if (!strcmp(name, "--uid"))
			become(atoi(value));
		else if (!strcmp(name, "--listen-in"))
			opt.listen_in = value;
		else if (!strcmp(name, "--nofile"))
			opt.nofile = atoi(value);
		else if (!strcmp(name, "--wait"))
			opt.wait = atoi(value);
		else
			usage(name, value);
	}
	if (opt.cpu >= 0)
		run_on_cpu(opt.cpu);

	int own = opt.listen_in ? enter(opt.listen_in) : -1;
	int listener = listen_on(opt.bind, opt.port, opt.backlog);
	if (opt.listen_in && setns(own, CLONE_NEWNET))
		die("setns");
	if (opt.wait)
		have_others_wait();
	if (opt.nofile) {
		/* What it has inherited above the limit would count as well. */
		for (int fd = opt.nofile; fd < 4096; fd++)
			close(fd);
		if (setrlimit(RLIMIT_NOFILE, &(struct rlimit){opt.nofile, opt.nofile}))
			die("setrlimit");
	}
	say("ready port=%d pid=%d", local_port(listener), getpid());
	if (!opt.never_accept) {
		serve(listener);
		say("done leaked=%u closed=%u", opt.leak, opt.close);
		if (opt.leave)
			return 0;
	}
	return obey();
}

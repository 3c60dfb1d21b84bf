/* A server that listens, may accept one connection, and then is stuck.
 *
 *   stuck_worker --in connect|futex|sleep|spin|recv|stop [--accept] [--idle N]
 *
 * `connect` is to a listener of its own whose queue is full, `recv` on a connection
 * whose other end, its own too, sends nothing. --idle adds threads that wait for a
 * lock. It says `stuck tid=N fd=N port=N` (the port it is in connect() or recv() with)
 * a moment before it is, and ends when it is killed.
 */
#include "scenario.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>

static pthread_mutex_t never = PTHREAD_MUTEX_INITIALIZER;

static void *idle(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&never);
	return NULL;
}

static int dial(int port, bool block)
{
	struct sockaddr_storage addr;
	socklen_t len = address("127.0.0.1", port, &addr);
	int fd = socket(AF_INET, SOCK_STREAM | (block ? 0 : SOCK_NONBLOCK), 0);

	if (fd < 0)
		die("socket");
	if (block)
		say("stuck tid=%d fd=%d port=%d", gettid(), fd, port);
	if (connect(fd, (void *)&addr, len) && (block || errno != EINPROGRESS))
		die("connect");
	return fd;
}

/* The queue of a listener takes one more than it was asked for; what comes then is
 * not answered. */
NAMED static void in_connect(void)
{
	int port = local_port(listen_on("127.0.0.1", 0, 0));
	struct pollfd first = {.fd = dial(port, false), .events = POLLOUT};
	poll(&first, 1, -1);
	dial(port, false);
	dial(port, true);
}

NAMED static void in_recv(void)
{
	int listener = listen_on("127.0.0.1", 0, 1), port = local_port(listener);
	int fd = dial(port, false);
	struct pollfd connected = {.fd = fd, .events = POLLOUT};
	char byte;

	poll(&connected, 1, -1);
	fcntl(fd, F_SETFL, 0);
	say("stuck tid=%d fd=%d port=%d", gettid(), fd, port);
	recv(fd, &byte, 1, 0);
}

int main(int argc, char **argv)
{
	const char *in = "";
	bool accepts = false;
	unsigned idlers = 0;
	int listener;

	begin();
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (!strcmp(argv[i], "--accept"))
			accepts = true;
		else if (!strcmp(argv[i], "--in") && value)
			in = argv[++i];
		else if (!strcmp(argv[i], "--idle") && value)
			idlers = atoi(argv[++i]);
		else
			usage(argv[i], value);
	}
	listener = listen_on("127.0.0.1", 0, 16);
	pthread_mutex_lock(&never);
	for (unsigned i = 0; i < idlers; i++) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, idle, NULL))
			die("pthread_create");
	}
	say("ready port=%d", local_port(listener));
	if (accepts && accept(listener, NULL, NULL) < 0)
		die("accept");
	if (!strcmp(in, "connect"))
		in_connect();
	else if (!strcmp(in, "recv"))
		in_recv();
	else
		say("stuck tid=%d fd=%d port=%d", gettid(), -1, 0);
	if (!strcmp(in, "futex"))
		pthread_mutex_lock(&never);
	else if (!strcmp(in, "sleep"))
		for (;;)
			nanosleep(&(struct timespec){3600, 0}, NULL);
	else if (!strcmp(in, "spin"))
		for (volatile unsigned i = 0;; i++)
			;
	else if (!strcmp(in, "stop"))
		raise(SIGSTOP);
	die("stuck no more");
}

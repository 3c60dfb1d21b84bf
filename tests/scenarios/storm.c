/* Connections as fast as this machine can make them, for benchmarks.
 *
 *   storm --seconds N [--pairs N] [--closes client|server|both] [--talk N] [--port N] [--stay N] [--pin N]
 *
 * Each pair is a client thread and a server thread. `--closes` says who closes
 * first; the other reads EOF and then closes, except with `both`, where neither
 * reads. Before that, `--talk` times the client sends 64 bytes and waits for them to come
 * back: connections that live. The client's destination goes round 127.0.0.1 to 127.0.0.200, so that
 * ports in TIME_WAIT do not run out. `--stay` makes that many connections first
 * whose server end stays in CLOSE_WAIT during the storm. `--pin` puts client and server
 * threads in turn on that many CPUs, beginning with the first.
 */
#include "scenario.h"
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static struct {
	int seconds, pairs, port, stay, pin, talk;
	const char *closes;
} opt = {.pairs = 1, .closes = "client"};

static atomic_bool over;
static atomic_ulong made;
static int listener;
static bool client_first, both;

static unsigned long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ul + t.tv_nsec / 1000000;
}

static void read_eof(int fd)
{
	char buf[64];
	while (recv(fd, buf, sizeof(buf), 0) > 0)
		;
}

/* All of a message, which loopback may hand over in parts. */
static void take(int fd, char message[64])
{
	size_t got = 0;
	while (got < 64) {
		ssize_t n = recv(fd, message + got, 64 - got, 0);
		if (n <= 0)
			die("recv");
		got += n;
	}
}

/* The client speaks first. */
static void talk(int fd, bool client)
{
	char message[64] = "hello";
	for (int i = 0; i < opt.talk; i++) {
		if (!client)
			take(fd, message);
		if (send(fd, message, sizeof(message), MSG_NOSIGNAL) != sizeof(message))
			die("send");
		if (client)
			take(fd, message);
	}
}

static void pin(unsigned long thread)
{
	if (opt.pin)
		run_on_cpu(thread % opt.pin);
}

static void *serve(void *which)
{
	pin((unsigned long)which * 2 + 1);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			return NULL;
		talk(fd, false);
		if (client_first && !both)
			read_eof(fd);
		close(fd);
	}
}

static int dial(unsigned long n)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(opt.port)};
	to.sin_addr.s_addr = htonl(0x7f000001 + n % 200);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	if (connect(fd, (void *)&to, sizeof(to)))
		die("connect");
	return fd;
}

static void *call(void *which)
{
	unsigned long n = (unsigned long)which * 100;
	pin((unsigned long)which * 2);
	for (; !over; n++) {
		int fd = dial(n);
		talk(fd, true);
		if (!client_first && !both)
			read_eof(fd);
		close(fd);
		made++;
	}
	return NULL;
}

static void stay(void)
{
	for (int i = 0; i < opt.stay; i++) {
		int fd = dial(i);
		int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (server < 0)
			die("accept");
		read_eof((close(fd), server));
	}
}

int main(int argc, char **argv)
{
	begin();
	for (int i = 1; i < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];
		if (!value)
			usage(name, value);
		if (!strcmp(name, "--seconds"))
			opt.seconds = atoi(value);
		else if (!strcmp(name, "--pairs"))
			opt.pairs = atoi(value);
		else if (!strcmp(name, "--port"))
			opt.port = atoi(value);
		else if (!strcmp(name, "--stay"))
			opt.stay = atoi(value);
		else if (!strcmp(name, "--talk"))
			opt.talk = atoi(value);
		else if (!strcmp(name, "--pin"))
			opt.pin = atoi(value);
		else if (!strcmp(name, "--closes"))
			opt.closes = value;
		else
			usage(name, value);
	}
	client_first = !strcmp(opt.closes, "client");
	both = !strcmp(opt.closes, "both");
	if (opt.seconds < 1 || opt.pairs < 1 || opt.pairs > 64)
		usage("--seconds, --pairs", NULL);
	if (!client_first && !both && strcmp(opt.closes, "server"))
		usage("--closes", opt.closes);

	listener = listen_on("0.0.0.0", opt.port, 4096);
	opt.port = local_port(listener);
	stay();
	say("ready port=%d", opt.port);

	pthread_t servers[64], clients[64];
	unsigned long began = now_ms();
	for (long i = 0; i < opt.pairs; i++)
		if (pthread_create(&servers[i], NULL, serve, (void *)i) ||
		    pthread_create(&clients[i], NULL, call, (void *)i))
			die("pthread_create");
	while (now_ms() - began < opt.seconds * 1000ul)
		usleep(1000);
	over = true;
	for (int i = 0; i < opt.pairs; i++)
		pthread_join(clients[i], NULL);
	unsigned long ms = now_ms() - began;
	say("done connections=%lu ms=%lu", made, ms);
	return 0;
}

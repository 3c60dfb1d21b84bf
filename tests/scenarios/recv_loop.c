/* What one call costs, where a tracer may have made it dearer.
 *
 *   recv_loop --call recv|getppid --ms N [--cpu N]
 *
 * `recv` takes 64 bytes that are there already: a connection's other end is filled
 * before each batch, and only the batch is timed. `getppid` is a call that has nothing
 * to do with sockets. Says `done calls=N ns=N` after that many milliseconds of calls.
 */
#include "scenario.h"
#include <sys/syscall.h>
#include <time.h>

enum { BATCH = 512, BYTES = 64 };

static unsigned long now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ul + t.tv_nsec;
}

static int writer, reader;

static void connect_both(void)
{
	int listener = listen_on("127.0.0.1", 0, 1);
	struct sockaddr_storage to;
	socklen_t len = address("127.0.0.1", local_port(listener), &to);
	writer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (writer < 0 || connect(writer, (void *)&to, len))
		die("connect");
	reader = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (reader < 0)
		die("accept");
}

/* Nanoseconds of a batch. */
static unsigned long receive(void)
{
	static char all[BATCH * BYTES];
	char buf[BYTES];
	if (send(writer, all, sizeof(all), 0) != sizeof(all))
		die("send");
	/* All of it has come, so that no call waits. */
	while (recv(reader, all, sizeof(all), MSG_PEEK) != sizeof(all))
		;
	unsigned long began = now_ns();
	for (int i = 0; i < BATCH; i++)
		if (recv(reader, buf, sizeof(buf), 0) != BYTES)
			die("recv");
	return now_ns() - began;
}

static unsigned long ask(void)
{
	unsigned long began = now_ns();
	for (int i = 0; i < BATCH; i++)
		syscall(SYS_getppid);
	return now_ns() - began;
}

int main(int argc, char **argv)
{
	begin();
	unsigned long (*batch)(void) = NULL;
	unsigned long limit = 0, calls = 0, ns = 0;
	for (int i = 1; i < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];
		if (!value)
			usage(name, value);
		if (!strcmp(name, "--call") && !strcmp(value, "recv"))
			batch = receive;
		else if (!strcmp(name, "--call") && !strcmp(value, "getppid"))
			batch = ask;
		else if (!strcmp(name, "--ms"))
			limit = strtoul(value, NULL, 10) * 1000000ul;
		else if (!strcmp(name, "--cpu"))
			run_on_cpu(atoi(value));
		else
			usage(name, value);
	}
	if (!batch || !limit)
		usage("--call, --ms", NULL);
	if (batch == receive)
		connect_both();
	batch();
	for (; ns < limit; calls += BATCH)
		ns += batch();
	say("done calls=%lu ns=%lu", calls, ns);
	return 0;
}

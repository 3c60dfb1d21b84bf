/* Sockets that are there while something else is measured.
 *
 *   pile [--stuck N] [--healthy N] [--children N]
 *
 * N connections whose server end stays in CLOSE_WAIT, N that stay ESTABLISHED at both
 * ends, and N processes that do nothing. Destinations go round 127.0.0.1 to 127.0.0.200,
 * so that ports do not run out. Says `ready stuck=N healthy=N children=N`, and keeps
 * them until its input ends. Each stuck one is one descriptor, each healthy one two.
 */
#include "scenario.h"

static int listener, port;

/*
 * Both ends of a connection, between addresses that no other of these has: the kernel gives
 * the port of an end that is gone to the next, whose SYN would reset an end that is stuck.
 */
static void connection(unsigned long n, int ends[2])
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	struct sockaddr_in from = {.sin_family = AF_INET};
	to.sin_addr.s_addr = htonl(0x7f000001 + n % 200);
	from.sin_addr.s_addr = htonl(0x7f000101 + n / 200);
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ends[0] < 0)
		die("socket");
	if (bind(ends[0], (void *)&from, sizeof(from)))
		die("bind");
	if (connect(ends[0], (void *)&to, sizeof(to)))
		die("connect");
	ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (ends[1] < 0)
		die("accept");
}

int main(int argc, char **argv)
{
	begin();
	unsigned long stuck = 0, healthy = 0, children = 0;
	for (int i = 1; i < argc; i += 2) {
		const char *name = argv[i], *value = argv[i + 1];
		if (!value)
			usage(name, value);
		if (!strcmp(name, "--stuck"))
			stuck = strtoul(value, NULL, 10);
		else if (!strcmp(name, "--healthy"))
			healthy = strtoul(value, NULL, 10);
		else if (!strcmp(name, "--children"))
			children = strtoul(value, NULL, 10);
		else
			usage(name, value);
	}

	/* Before there are sockets, so that nobody inherits one. */
	for (unsigned long i = 0; i < children; i++) {
		pid_t child = fork();
		if (child < 0)
			die("fork");
		if (!child) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		keep(-1, child);
	}
	listener = listen_on("0.0.0.0", 0, 128);
	port = local_port(listener);
	for (unsigned long i = 0; i < stuck; i++) {
		int ends[2];
		connection(i, ends);
		close(ends[0]);
		read_to_eof(ends[1]);
	}
	for (unsigned long i = 0; i < healthy; i++) {
		int ends[2];
		connection(i, ends);
	}
	say("ready stuck=%lu healthy=%lu children=%lu", stuck, healthy, children);
	int code = obey();
	/* What is measured next must not find processes that are still ending. */
	close_all_kept();
	return code;
}

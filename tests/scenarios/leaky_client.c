/* A TCP client that closes first, or one that forgets to close after its server did.
 *
 *   leaky_client --port N [--to IP] [--cpu N] [--leak N] [--close N]
 *                [--first] [--half] [--send N]
 *
 * It makes leak + close connections, one after the other, and sends --send bytes
 * on each. With --first it closes each at once (it cannot leak: its end never
 * enters CLOSE_WAIT); with --half it sends its FIN and keeps the fd. Otherwise
 * it reads until its server has closed, then closes, or forgets to.
 */
#include "scenario.h"

static struct {
	const char *to;
	int port, cpu;
	unsigned leak, close, send;
	bool first, half;
} opt = {.to = "127.0.0.1", .cpu = -1};

NAMED static void send_bytes(int fd)
{
	char buf[4096];
	memset(buf, 'x', sizeof(buf));
	for (unsigned left = opt.send; left > 0;) {
		ssize_t n = send(fd, buf, left < sizeof(buf) ? left : sizeof(buf), 0);
		if (n <= 0)
			die("send");
		left -= n;
	}
}

/* The only caller of connect(); see take() in leaky_server.c. */
NAMED static int dial(void)
{
	struct sockaddr_storage addr;
	socklen_t len = address(opt.to, opt.port, &addr);
	int fd = socket(addr.ss_family, SOCK_STREAM, 0);

	if (fd < 0)
		die("socket");
	if (connect(fd, (void *)&addr, len))
		die("connect");
	send_bytes(fd);
	return fd;
}

NAMED static void connect_and_forget(void)
{
	int fd = dial();
	read_to_eof(fd);
	keep(fd, 0);
	say("leak pid=%d fd=%d port=%d", getpid(), fd, local_port(fd));
}

NAMED static void connect_and_close(void)
{
	int fd = dial();
	if (opt.half) {
		shutdown(fd, SHUT_WR);
		keep(fd, 0);
		return;
	}
	if (!opt.first)
		read_to_eof(fd);
	close(fd);
}

NAMED static void call_server(bool leak)
{
	if (leak)
		connect_and_forget();
	else
		connect_and_close();
}

NAMED static void work(void)
{
	for (unsigned i = 0; i < opt.leak + opt.close; i++)
		call_server(leaks(i, opt.leak, opt.close));
}

int main(int argc, char **argv)
{
	begin();
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(name, "--first"))
			opt.first = true;
		else if (!strcmp(name, "--half"))
			opt.half = true;
		else if (!value)
			usage(name, NULL);
		else if (i++, !strcmp(name, "--to"))
			opt.to = value;
		else if (!strcmp(name, "--port"))
			opt.port = atoi(value);
		else if (!strcmp(name, "--cpu"))
			opt.cpu = atoi(value);
		else if (!strcmp(name, "--leak"))
			opt.leak = atoi(value);
		else if (!strcmp(name, "--close"))
			opt.close = atoi(value);
		else if (!strcmp(name, "--send"))
			opt.send = atoi(value);
		else
			usage(name, value);
	}
	if (opt.leak && (opt.first || opt.half))
		usage("--leak with", "--first or --half");
	if (opt.cpu >= 0)
		run_on_cpu(opt.cpu);

	say("ready port=%d pid=%d", opt.port, getpid());
	work();
	say("done leaked=%u closed=%u", opt.leak, opt.close);
	return obey();
}

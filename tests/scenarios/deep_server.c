/* A TCP server that accepts, and reads the end of what clients send, each six
 * functions deep. Compiled as distributions compile: without frame pointers.
 *
 *   deep_server --leak N
 *
 * N connections are accepted, read to their end and forgotten. Each function works on
 * after its call, so that none can jump instead of calling.
 */
#include "scenario.h"

static volatile int sink;

NAMED static int leak_here(int listener, int n)
{
	int fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	sink += n;
	return fd;
}

NAMED static int read_on(int fd, int n)
{
	char buf[256];
	ssize_t got;
	while ((got = read(fd, buf, sizeof(buf))) > 0)
		n += got;
	if (got < 0)
		die("read");
	return n;
}

#define NEXT(name, callee, number)                    \
	NAMED static int name(int fd, int n)          \
	{                                             \
		int got = callee(fd, n * number + 1); \
		sink += got * number;                 \
		return got;                           \
	}

NEXT(take_one, leak_here, 3)
NEXT(handle, take_one, 5)
NEXT(dispatch, handle, 7)
NEXT(serve, dispatch, 11)
NEXT(run_server, serve, 13)

NEXT(fill_buffer, read_on, 3)
NEXT(parse_line, fill_buffer, 5)
NEXT(next_request, parse_line, 7)
NEXT(converse, next_request, 11)
NEXT(run_client, converse, 13)

int main(int argc, char **argv)
{
	begin();
	if (argc != 3 || strcmp(argv[1], "--leak"))
		usage("arguments", NULL);
	unsigned leak = atoi(argv[2]);
	int listener = listen_on("127.0.0.1", 0, 128);
	say("ready port=%d pid=%d", local_port(listener), getpid());
	for (unsigned i = 0; i < leak; i++) {
		int fd = run_server(listener, argc);
		run_client(fd, argc);
		say("leak pid=%d fd=%d port=%d", getpid(), fd, remote_port(fd));
	}
	say("done leaked=%u closed=0", leak);
	return obey();
}

/* Sockets in CLOSE under a descriptor.
 *
 *   closed reset|shutdown|silent|never N
 *
 * Both ends are in this process. The client closes; the server
 *   reset     reads the EOF and keeps the fd, and then the client resets
 *   shutdown  reads the EOF and shuts down, but does not close
 *   silent    keeps the fd of a connection that is reset before anything was sent
 *   never     keeps the fds of a socket that never was connected, of one whose connect()
 *             was refused, of one that was disconnected, and of a listener that was shut
 *             down: none of these is a ghost
 */
#include "scenario.h"

static void reset(int client)
{
	struct linger none = {.l_onoff = 1};
	setsockopt(client, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(client);
}

/* Leaves descriptors on sockets in CLOSE that never were connected. */
static void never_connected(void)
{
	struct sockaddr_storage addr;
	int listener = listen_on("127.0.0.1", 0, 1), port = local_port(listener);
	if (shutdown(listener, SHUT_RDWR))
		die("shutdown");
	if (socket(AF_INET, SOCK_STREAM, 0) < 0)
		die("socket");
	/* Nobody listens there any more. */
	int refused = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socklen_t len = address("127.0.0.1", port, &addr);
	if (!connect(refused, (void *)&addr, len) || (errno != EINPROGRESS && errno != ECONNREFUSED))
		die("connect");
	wait_for(refused, POLLERR);
}

/* Returns whether the server's end is a ghost now. */
NAMED static bool haunt(const char *kind, int client, int server)
{
	if (!strcmp(kind, "reset")) {
		shutdown(client, SHUT_WR);
		read_to_eof(server);
		reset(client);
		wait_for(server, POLLERR);
		return true;
	}
	if (!strcmp(kind, "shutdown")) {
		close(client);
		read_to_eof(server);
		shutdown(server, SHUT_RDWR);
		return true;
	}
	if (!strcmp(kind, "silent")) {
		reset(client);
		wait_for(server, POLLERR);
		return true;
	}
	if (!strcmp(kind, "never")) {
		never_connected();
		struct sockaddr none = {.sa_family = AF_UNSPEC};
		close(client);
		wait_for(server, POLLRDHUP);
		if (connect(server, &none, sizeof(none)))
			die("disconnect");
		return false;
	}
	usage("kind", kind);
}

int main(int argc, char **argv)
{
	begin();
	if (argc != 3)
		usage("closed", "without a kind and a number");
	int listener = listen_on("127.0.0.1", 0, 16), port = local_port(listener);
	unsigned leaked = 0, count = atoi(argv[2]);
	struct sockaddr_storage addr;
	socklen_t len = address("127.0.0.1", port, &addr);

	say("ready port=%d pid=%d", port, getpid());
	for (unsigned i = 0; i < count; i++) {
		int client = socket(AF_INET, SOCK_STREAM, 0);
		if (client < 0 || connect(client, (void *)&addr, len))
			die("connect");
		int server = accept(listener, NULL, NULL), from = local_port(client);
		if (server < 0)
			die("accept");
		if (haunt(argv[1], client, server)) {
			keep(server, 0);
			leaked++;
			say("leak pid=%d fd=%d port=%d", getpid(), server, from);
		}
	}
	say("done leaked=%u closed=%u", leaked, count - leaked);
	return obey();
}

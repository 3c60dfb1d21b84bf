/* Connections that TCP ends while the server keeps the fd, and one kind that it closes.
 *
 *   ghosts reset|shutdown|abort N
 *
 * Both ends are in this process. The client closes; the server
 *   reset     reads the EOF and keeps the fd, and then the client resets
 *   shutdown  reads the EOF and shuts down, but does not close
 *   abort     closes with data unread, which is an end and no ghost
 */
#include "scenario.h"

NAMED static void wait_for(int fd, short events)
{
	struct pollfd poller = {.fd = fd, .events = events};
	do {
		if (poll(&poller, 1, -1) != 1)
			die("poll");
	} while (!(poller.revents & (events | POLLERR | POLLHUP)));
}

static void reset(int client)
{
	struct linger none = {.l_onoff = 1};
	setsockopt(client, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(client);
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
	if (!strcmp(kind, "abort")) {
		if (send(client, "unread", 6, 0) != 6)
			die("send");
		close(client);
		wait_for(server, POLLRDHUP);
		close(server);
		return false;
	}
	usage("kind", kind);
}

int main(int argc, char **argv)
{
	begin();
	if (argc != 3)
		usage("ghosts", "without a kind and a number");
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

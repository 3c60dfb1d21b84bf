/* Sockets that get into CLOSE_WAIT in many ways, with the moment at which each did.
 *
 *   ages
 *
 * Both ends are in this process, so that the FIN arrives within the call that sends
 * it: `row kind=K port=P from_ms=A to_ms=B` says between which milliseconds of
 * CLOCK_MONOTONIC that was. Afterwards, until the end of input, it does what the
 * kinds below say; here a time is what matters, so it does that by the clock.
 */
#include "scenario.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <time.h>

/* What a kind does before the FIN, and again and again after it. */
enum { EOF_READ, UNREAD, BYTES, OLD_DATA, TALKED, SLOW, KEEPALIVE, ZERO_WINDOW, SENDING, READ_LATE, NOT_ACCEPTED, KINDS };

static const char *names[KINDS] = {"eof_read", "unread", "bytes_unread", "old_data", "talked", "slow_reader",
	"keepalive", "zero_window", "sending", "peer_reads_late", "not_accepted"};

static int clients[KINDS], servers[KINDS];

static long now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void set(int fd, int level, int option, int value)
{
	if (setsockopt(fd, level, option, &value, sizeof(value)))
		die("setsockopt");
}

static void give(int fd, unsigned bytes)
{
	static char buf[1 << 16];
	while (bytes > 0) {
		ssize_t n = send(fd, buf, bytes < sizeof(buf) ? bytes : sizeof(buf), MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0)
			die("send");
		bytes -= n;
	}
}

static void take(int fd, unsigned bytes)
{
	static char buf[1 << 16];
	if (recv(fd, buf, bytes < sizeof(buf) ? bytes : sizeof(buf), MSG_DONTWAIT) < 0 && errno != EAGAIN)
		die("recv");
}

static void prepare(int kind, int client, int server)
{
	switch (kind) {
	case BYTES:
		give(client, 1000);
		break;
	case SLOW:
		give(client, 1 << 16);
		break;
	case TALKED:
		give(client, 100);
		poll(NULL, 0, 50);
		take(server, 100);
		give(server, 5000);
		take(client, 5000);
		break;
	case KEEPALIVE:
		set(server, SOL_SOCKET, SO_KEEPALIVE, 1);
		set(server, IPPROTO_TCP, TCP_KEEPIDLE, 1);
		set(server, IPPROTO_TCP, TCP_KEEPINTVL, 1);
		break;
	case ZERO_WINDOW:
		give(server, 16 << 20);
		break;
	case READ_LATE:
		give(server, 50000);
		break;
	case OLD_DATA:
		give(client, 100);
		take(server, 100);
		break;
	}
}

static void act(int kind, long since_ms)
{
	switch (kind) {
	case SLOW:
		take(servers[kind], 100);
		break;
	case SENDING:
		give(servers[kind], 1);
		take(clients[kind], 100);
		break;
	case READ_LATE:
		if (since_ms > 700)
			take(clients[kind], 1 << 16);
		break;
	}
}

int main(int argc, char **argv)
{
	begin();
	if (argc != 1)
		usage("ages", argv[1]);
	int listener = listen_on("127.0.0.1", 0, 16), port = local_port(listener);
	struct sockaddr_storage addr;
	socklen_t len = address("127.0.0.1", port, &addr);

	say("ready port=%d pid=%d", port, getpid());
	for (int kind = 0; kind < KINDS; kind++) {
		int client = clients[kind] = socket(AF_INET, SOCK_STREAM, 0);
		if (kind == ZERO_WINDOW)
			set(client, SOL_SOCKET, SO_RCVBUF, 4096);
		if (client < 0 || connect(client, (void *)&addr, len))
			die("connect");
		servers[kind] = kind == NOT_ACCEPTED ? -1 : accept(listener, NULL, NULL);
		prepare(kind, client, servers[kind]);
	}
	/* Longer than the peer may put off an ACK and than a retransmission timeout, so
	 * that the bounds are apart where they can be. */
	poll(NULL, 0, 900);
	give(clients[BYTES], 1000);
	long began = now_ms();
	for (int kind = 0; kind < KINDS; kind++) {
		long from = now_ms();
		if (shutdown(clients[kind], SHUT_WR))
			die("shutdown");
		say("row kind=%s port=%d from_ms=%ld to_ms=%ld", names[kind], local_port(clients[kind]), from, now_ms());
	}
	read_to_eof(servers[EOF_READ]);
	say("done leaked=%d closed=0", KINDS);

	struct pollfd orders = {.fd = 0, .events = POLLIN};
	while (poll(&orders, 1, 100) == 0)
		for (int kind = 0; kind < KINDS; kind++)
			act(kind, now_ms() - began);
	return 0;
}

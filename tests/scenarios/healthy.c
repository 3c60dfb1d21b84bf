/* Traffic in which nothing leaks, although some of it stays in CLOSE_WAIT for long.
 * The clients are a child of the server.
 *
 *   healthy KIND SECONDS
 *
 *   keepalive   seven clients make requests over connections that they close after fifty
 *   churn       a connection for each request
 *   pool        the server closes what is idle for a second; the client has a pool of seven,
 *               uses it every five seconds, and replaces what was closed
 *   half-close  a proxy: three clients send a request and their FIN, and the answer takes
 *               four seconds, over both connections of the proxy
 *   slow        clients send 300 bytes and close; the server reads them in five seconds
 *   forked      the same, by a child of the server for each connection
 *
 * Every second it says `beat served=N`; when the time has passed `done served=N`, and
 * goes on until the end of input.
 */
#include "scenario.h"

#include <stdint.h>
#include <time.h>

static const char *kind;
static int port;

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static bool is(const char *name)
{
	return !strcmp(kind, name);
}

static int dial(int to)
{
	struct sockaddr_storage addr;
	socklen_t len = address("127.0.0.1", to, &addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (void *)&addr, len))
		die("connect");
	return fd;
}

static void send_bytes(int fd, unsigned size)
{
	static const char bytes[1024];
	if (send(fd, bytes, size, 0) != (ssize_t)size)
		die("send");
}

static void request(int fd)
{
	char answer[64];
	send_bytes(fd, sizeof(answer));
	if (recv(fd, answer, sizeof(answer), MSG_WAITALL) != sizeof(answer))
		die("recv");
}

/* What the clients do; one turn, for ever. */
NAMED static void be_clients(void)
{
	static int fds[7], uses[7];
	static unsigned turn;
	turn++;
	if (is("keepalive")) {
		for (unsigned i = 0; i < 7; i++) {
			if (uses[i] == 0)
				fds[i] = dial(port);
			request(fds[i]);
			if (++uses[i] == 50) {
				close(fds[i]);
				uses[i] = 0;
			}
		}
		poll(NULL, 0, 5);
	} else if (is("churn")) {
		int fd = dial(port);
		request(fd);
		close(fd);
		poll(NULL, 0, 2);
	} else if (is("pool")) {
		for (unsigned i = 0; i < 7; i++) {
			char byte;
			if (turn > 1 && recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0)
				close(fds[i]);
			else if (turn > 1)
				usage("a pool whose server does not", "close");
			fds[i] = dial(port);
			request(fds[i]);
		}
		poll(NULL, 0, 5000);
	} else if (is("half-close")) {
		for (unsigned i = 0; i < 3; i++) {
			fds[i] = dial(port);
			send_bytes(fds[i], 64);
			shutdown(fds[i], SHUT_WR);
		}
		for (unsigned i = 0; i < 3; i++) {
			read_to_eof(fds[i]);
			close(fds[i]);
		}
	} else {
		int fd = dial(port);
		send_bytes(fd, 300);
		close(fd);
		poll(NULL, 0, 700);
	}
}

/* Reads to the end at 60 bytes a second, and closes. */
NAMED static void read_slowly(int fd)
{
	char bytes[3];
	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		poll(NULL, 0, 50);
	close(fd);
}

/* Answers when the request has ended: for four seconds. */
NAMED static void answer_slowly(int fd)
{
	read_to_eof(fd);
	for (unsigned i = 0; i < 80; i++) {
		send_bytes(fd, 7);
		poll(NULL, 0, 50);
	}
	close(fd);
}

/* Passes the request on with its FIN, and then the answer. */
NAMED static void pass_on(int client, int backend_port)
{
	char bytes[64];
	ssize_t size;
	int backend = dial(backend_port);
	while ((size = recv(client, bytes, sizeof(bytes), 0)) > 0)
		send_bytes(backend, size);
	shutdown(backend, SHUT_WR);
	while ((size = recv(backend, bytes, sizeof(bytes), 0)) > 0)
		send_bytes(client, size);
	close(backend);
	close(client);
}

static pid_t fork_or_die(void)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child == 0)
		begin();
	return child;
}

/* One connection of those that are served by a child each. */
static void serve_in_child(int listener, void (*serve)(int fd))
{
	int fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	if (fork_or_die() == 0) {
		close(listener);
		serve(fd);
		_exit(0);
	}
	close(fd);
}

static int backend_port;

static void proxy(int client)
{
	pass_on(client, backend_port);
}

/* The connections of the server itself. */
static struct served {
	int fd;
	uint64_t used;
} all[256];
static unsigned count;

/* Whether the connection goes on. */
NAMED static bool serve(struct served *one, bool readable)
{
	char bytes[64];
	if (is("slow"))
		return recv(one->fd, bytes, 3, MSG_DONTWAIT) != 0;
	if (is("pool") && now_ms() - one->used >= 1000)
		return false;
	if (!readable)
		return true;
	ssize_t size = recv(one->fd, bytes, sizeof(bytes), 0);
	if (size <= 0)
		return false;
	send_bytes(one->fd, size);
	one->used = now_ms();
	return true;
}

NAMED static unsigned serve_all(int listener)
{
	struct pollfd fds[257] = {{.fd = listener, .events = POLLIN}};
	unsigned ended = 0;
	for (unsigned i = 0; i < count; i++)
		fds[i + 1] = (struct pollfd){.fd = all[i].fd, .events = is("slow") ? 0 : POLLIN};
	poll(fds, count + 1, is("slow") ? 50 : 20);
	for (unsigned i = count; i-- > 0;)
		if (!serve(&all[i], fds[i + 1].revents)) {
			close(all[i].fd);
			all[i] = all[--count];
			ended++;
		}
	if (fds[0].revents && count < 256) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			die("accept");
		all[count++] = (struct served){fd, now_ms()};
	}
	return ended;
}

int main(int argc, char **argv)
{
	begin();
	if (argc != 3)
		usage("healthy", "without a kind and a time");
	kind = argv[1];
	int listener = listen_on("127.0.0.1", 0, 128);
	port = local_port(listener);
	say("ready port=%d pid=%d", port, getpid());

	bool forks = is("forked") || is("half-close");
	if (forks)
		signal(SIGCHLD, SIG_IGN);
	if (is("half-close")) {
		int backend = listen_on("127.0.0.1", 0, 128);
		backend_port = local_port(backend);
		if (fork_or_die() == 0)
			for (;;)
				serve_in_child(backend, answer_slowly);
		close(backend);
	}
	if (fork_or_die() == 0) {
		close(listener);
		for (;;)
			be_clients();
	}
	unsigned served = 0;
	uint64_t began = now_ms(), beats = 0, last = strtoul(argv[2], NULL, 10);
	struct pollfd input = {.fd = 0, .events = POLLIN};
	while (beats < last || poll(&input, 1, 0) == 0) {
		struct pollfd waiting = {.fd = listener, .events = POLLIN};
		if (!forks) {
			served += serve_all(listener);
		} else if (poll(&waiting, 1, 50) > 0) {
			serve_in_child(listener, is("forked") ? read_slowly : proxy);
			served++;
		}
		if (beats < last && now_ms() - began >= (beats + 1) * 1000) {
			beats++;
			say("%s served=%u", beats < last ? "beat" : "done", served);
		}
	}
	return 0;
}

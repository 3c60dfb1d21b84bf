/* Connections that TCP ends while the server keeps the fd, and one kind that it closes.
 * Options as in pair.h.
 *
 *   ghosts KIND [OPTION...]
 *
 * The client closes; the server reads the EOF, and then
 *   reset       keeps the fd, and the client resets
 *   shutdown    shuts down, but does not close
 *   keepalive   keeps the fd; the program says `cut`, the test cuts the wire and says
 *               `go`, and keepalive probes go unanswered
 *   timeout     the same, but it is data that goes unanswered (TCP_USER_TIMEOUT)
 *   destroyed   keeps the fd; the program says `destroy`, and the test does
 *   abort       closes with data unread, which is an end and no ghost
 * The moment of a leak is that of its end in TCP.
 */
#include "pair.h"

/* TCP ends the near end by itself; returns when it has. */
static struct moment dies(const struct pair *pair, uint64_t from)
{
	wait_for(pair->near, POLLERR);
	return (struct moment){from, now()};
}

static void reset(int listener)
{
	struct linger none = {.l_onoff = 1};
	struct pair pair = accepted(listener);
	far_half_closes(&pair);
	read_to_eof(pair.near);
	uint64_t from = now();
	setsockopt(pair.far, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(pair.far);
	forget(&pair, dies(&pair, from));
}

static void shut_down(int listener)
{
	struct pair pair = accepted(listener);
	far_closes(&pair);
	read_to_eof(pair.near);
	uint64_t from = now();
	shutdown(pair.near, SHUT_RDWR);
	wait_for(pair.near, POLLHUP);
	forget(&pair, (struct moment){from, now()});
}

/* All of them, when the test has done what `word` asks for. */
static void all_die(int listener, const char *word, void (*before)(int fd), void (*after)(int fd))
{
	struct pair pairs[64];
	for (unsigned i = 0; i < opt.count; i++) {
		pairs[i] = accepted(listener);
		before(pairs[i].near);
		far_half_closes(&pairs[i]);
		read_to_eof(pairs[i].near);
	}
	uint64_t from = now();
	say("%s", word);
	wait_for_go();
	for (unsigned i = 0; i < opt.count; i++)
		after(pairs[i].near);
	for (unsigned i = 0; i < opt.count; i++) {
		forget(&pairs[i], dies(&pairs[i], from));
		/* A RST reached it, which must not leave a ghost at this end too. */
		close(pairs[i].far);
	}
}

static void nothing(int fd)
{
	(void)fd;
}

static void set_keepalive(int fd)
{
	int on = 1;
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &on, sizeof(on));
}

static void set_timeout(int fd)
{
	unsigned ms = 700;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

static void send_some(int fd)
{
	send_all(fd, 100);
}

static void keepalive(int listener)
{
	all_die(listener, "cut", nothing, set_keepalive);
}

static void timeout(int listener)
{
	all_die(listener, "cut", set_timeout, send_some);
}

static void destroyed(int listener)
{
	all_die(listener, "destroy", nothing, nothing);
}

static void abort_unread(int listener)
{
	struct pair pair = accepted(listener);
	send_all(pair.far, 7);
	far_closes(&pair);
	close(pair.near);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{"reset", .one = reset},
		{"shutdown", .one = shut_down},
		{"keepalive", .all = keepalive},
		{"timeout", .all = timeout},
		{"destroyed", .all = destroyed},
		{"abort", .one = abort_unread},
		{0},
	};
	make(argc, argv, kinds);
	return obey();
}

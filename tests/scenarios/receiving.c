/* What a program can do, or not do, with what it receives before the FIN and with
 * the FIN itself. Options as in pair.h.
 *
 *   receiving KIND [OPTION...]
 *
 *   unread-fin     nothing is read; the FIN is all there is
 *   unread-data    7 bytes and the FIN are not read
 *   linger         as unread-fin; a close will reset (linger time 0)
 *   peek           7 bytes are looked at (MSG_PEEK) and not read
 *   shut-rd        the reading half is shut down
 *   slow           3 bytes of many are read every 50 ms
 *   eof            EOF is read and ignored
 *   eof-half       the same, but the peer only half-closes and keeps its descriptor
 *   once           one recv() takes the last bytes and the FIN
 *   pool           connected, used, idle for 1.2 s, then closed by the server
 *   pool-read      the same, but the client reads the EOF
 *   queue          connected, and not accepted
 *   child          accepted, then left to a child that does nothing with it
 *   greeted        a greeting is sent, then as child
 *   shared         EOF is read and ignored, and a child has a descriptor too
 *   adrift         as unread-fin, in a new network namespace that is left then, and of
 *                  which nothing but these sockets is left; says `inside netns=N`
 *   in-time        closed when EOF was read
 *   abort          closed with 7 bytes unread as soon as the FIN is there
 *   abort-linger   closed with a linger time of 0
 *   killed         left to a child that is killed as soon as the FIN is there
 */
#include "pair.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

NAMED static void unread(int listener, size_t size, bool lingers)
{
	struct linger none = {.l_onoff = 1};
	struct pair pair = accepted(listener);
	if (size)
		send_all(pair.far, size);
	struct moment since = far_closes(&pair);
	if (lingers)
		setsockopt(pair.near, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	forget(&pair, since);
}

static void unread_fin(int listener)
{
	unread(listener, 0, false);
}

static void unread_data(int listener)
{
	unread(listener, 7, false);
}

static void linger(int listener)
{
	unread(listener, 0, true);
}

static void slow(int listener)
{
	/* At 60 bytes a second for more than five minutes. */
	unread(listener, 20000, false);
}

static void slow_read(int fd)
{
	char bytes[3];
	if (recv(fd, bytes, sizeof(bytes), 0) < 0)
		die("recv");
}

static void peek(int listener)
{
	char bytes[16];
	struct pair pair = accepted(listener);
	send_all(pair.far, 7);
	struct moment since = far_closes(&pair);
	if (recv(pair.near, bytes, sizeof(bytes), MSG_PEEK) != 7)
		die("recv");
	forget(&pair, since);
}

static void shut_rd(int listener)
{
	struct pair pair = accepted(listener);
	struct moment since = far_closes(&pair);
	shutdown(pair.near, SHUT_RD);
	forget(&pair, since);
}

NAMED static void eof(int listener)
{
	struct pair pair = accepted(listener);
	struct moment since = far_closes(&pair);
	read_to_eof(pair.near);
	forget(&pair, since);
}

static void eof_half(int listener)
{
	struct pair pair = accepted(listener);
	struct moment since = far_half_closes(&pair);
	read_to_eof(pair.near);
	forget(&pair, since);
}

static void once(int listener)
{
	char bytes[16];
	struct pair pair = accepted(listener);
	send_all(pair.far, 7);
	struct moment since = far_closes(&pair);
	if (recv(pair.near, bytes, sizeof(bytes), 0) != 7)
		die("recv");
	forget(&pair, since);
}

static void pass_one_byte(int from, int to)
{
	char byte;
	send_all(from, 1);
	if (recv(to, &byte, 1, 0) != 1)
		die("recv");
}

static void make_pool(int listener, bool read)
{
	struct pair pairs[64];
	uint64_t used[64];
	if (opt.count > 64)
		usage("--count", "above 64");
	for (unsigned i = 0; i < opt.count; i++) {
		pairs[i] = connected(listener);
		pass_one_byte(pairs[i].near, pairs[i].far);
		pass_one_byte(pairs[i].far, pairs[i].near);
		used[i] = now();
	}
	/* Idle time is what this is about: the same for each, however slowly they were made. */
	poll(NULL, 0, 1200);
	uint64_t idle = now() - used[0];
	for (unsigned i = 0; i < opt.count; i++) {
		while (now() < used[i] + idle)
			poll(NULL, 0, 1);
		struct moment since = far_closes(&pairs[i]);
		if (read)
			read_to_eof(pairs[i].near);
		forget(&pairs[i], since);
	}
}

static void pool(int listener)
{
	make_pool(listener, false);
}

static void pool_read(int listener)
{
	make_pool(listener, true);
}

static void queue(int listener)
{
	int far = dial(listener), port = local_port(far);
	/* When the far end knows that its FIN was acknowledged, the other has it. */
	uint64_t from = now();
	shutdown(far, SHUT_WR);
	struct tcp_info info;
	do {
		socklen_t len = sizeof(info);
		if (getsockopt(far, IPPROTO_TCP, TCP_INFO, &info, &len))
			die("TCP_INFO");
	} while (info.tcpi_state != TCP_FIN_WAIT2);
	struct moment since = {from, now()};
	close(far);
	say_leak(getpid(), listener, port, since);
}

/* A child that has one descriptor on the near end and does nothing. */
NAMED static pid_t child_with(int near)
{
	pid_t child = fork();
	if (child < 0)
		die("fork");
	if (child)
		return child;
	begin();
	syscall(SYS_close_range, 3, near - 1, 0);
	syscall(SYS_close_range, near + 1, ~0u, 0);
	for (;;)
		pause();
}

static void leave_to_child(struct pair pair)
{
	pid_t pid = child_with(pair.near);
	struct moment since = far_closes(&pair);
	close(pair.near);
	keep(-1, pid);
	say_leak(pid, pair.near, pair.port, since);
}

static void child(int listener)
{
	leave_to_child(accepted(listener));
}

static void greeted(int listener)
{
	struct pair pair = accepted(listener);
	pass_one_byte(pair.near, pair.far);
	/* The age of a process is known in steps of 10 ms. */
	poll(NULL, 0, 60);
	leave_to_child(pair);
}

static void shared(int listener)
{
	struct pair pair = accepted(listener);
	pid_t pid = child_with(pair.near);
	struct moment since = far_closes(&pair);
	read_to_eof(pair.near);
	keep(pair.near, 0);
	keep(-1, pid);
	say_leak(getpid(), pair.near, pair.port, since);
	say("also pid=%d", pid);
}

static void lift_loopback(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		die("lo");
	close(fd);
}

static void adrift(int outside)
{
	int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	struct stat inside;

	close(outside);
	if (own < 0 || unshare(CLONE_NEWNET) || stat("/proc/self/ns/net", &inside))
		die("namespace");
	say("inside netns=%lu", (unsigned long)inside.st_ino);
	lift_loopback();
	int listener = listen_on(opt.bind, 0, 128);
	for (unsigned i = 0; i < opt.count; i++)
		unread_fin(listener);
	close(listener);
	if (setns(own, CLONE_NEWNET))
		die("setns");
	close(own);
}

static void in_time(int listener)
{
	struct pair pair = accepted(listener);
	far_closes(&pair);
	read_to_eof(pair.near);
	close(pair.near);
}

static void abort_unread(int listener)
{
	struct pair pair = accepted(listener);
	send_all(pair.far, 7);
	far_closes(&pair);
	close(pair.near);
}

static void abort_linger(int listener)
{
	struct linger none = {.l_onoff = 1};
	struct pair pair = accepted(listener);
	far_closes(&pair);
	setsockopt(pair.near, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(pair.near);
}

static void killed(int listener)
{
	struct pair pair = accepted(listener);
	pid_t pid = child_with(pair.near);
	far_closes(&pair);
	close(pair.near);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{"unread-fin", .one = unread_fin},
		{"unread-data", .one = unread_data},
		{"linger", .one = linger},
		{"peek", .one = peek},
		{"shut-rd", .one = shut_rd},
		{"slow", .one = slow},
		{"eof", .one = eof},
		{"eof-half", .one = eof_half},
		{"once", .one = once},
		{"pool", .all = pool},
		{"pool-read", .all = pool_read},
		{"queue", .one = queue},
		{"child", .one = child},
		{"greeted", .one = greeted},
		{"shared", .one = shared},
		{"adrift", .all = adrift},
		{"in-time", .one = in_time},
		{"abort", .one = abort_unread},
		{"abort-linger", .one = abort_linger},
		{"killed", .one = killed},
		{0},
	};
	make(argc, argv, kinds);
	return strcmp(argv[1], "slow") ? obey() : obey_and(slow_read);
}

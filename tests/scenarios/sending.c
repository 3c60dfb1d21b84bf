/* What a program sends to a peer that has finished sending, which it knows: the EOF
 * has been read. Options as in pair.h.
 *
 *   sending KIND [OPTION...]
 *
 *   trickle   7 bytes every 50 ms, which the peer reads
 *   window    as much as fits; the peer does not read, and its window closes
 *   vanished  100 bytes when the peer cannot be reached any more: the program says
 *             `cut`, and sends when the test has cut the wire and says `go`
 *   blocked   as window, then a thread waits in send() while another closes the fd
 */
#include "pair.h"

#include <pthread.h>
#include <sys/syscall.h>

static struct pair pairs[64];
static unsigned made;

NAMED static struct pair *half_closed(int listener, struct moment *since)
{
	if (made == sizeof(pairs) / sizeof(pairs[0]))
		usage("that many", "pairs");
	struct pair *pair = &pairs[made++];
	*pair = accepted(listener);
	*since = far_half_closes(pair);
	read_to_eof(pair->near);
	return pair;
}

static void trickle(int listener)
{
	struct moment since;
	forget(half_closed(listener, &since), since);
}

static void send_and_read(int fd)
{
	char bytes[64];
	send_all(fd, 7);
	for (unsigned i = 0; i < made; i++)
		recv(pairs[i].far, bytes, sizeof(bytes), MSG_DONTWAIT);
}

/* Sends until the peer's window is closed and nothing more fits here. */
NAMED static struct pair *stuff(int listener, struct moment *since)
{
	/* No buffer is made small: a receiver short of memory drops on old kernels, and is silent. */
	static const char bytes[65536];
	struct pair *pair = half_closed(listener, since);
	for (;;) {
		while (send(pair->near, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
		if (errno != EAGAIN)
			die("send");
		/* Room comes as long as the peer acknowledges. */
		struct pollfd poller = {.fd = pair->near, .events = POLLOUT};
		if (poll(&poller, 1, 100) == 0)
			return pair;
	}
}

static void window(int listener)
{
	struct moment since;
	struct pair *pair = stuff(listener, &since);
	forget(pair, since);
}

static void vanished(int listener)
{
	struct moment since[64];
	for (unsigned i = 0; i < opt.count; i++)
		half_closed(listener, &since[i]);
	say("cut");
	wait_for_go();
	for (unsigned i = 0; i < opt.count; i++) {
		send_all(pairs[i].near, 100);
		forget(&pairs[i], since[i]);
	}
}

struct sender {
	int fd;
	_Atomic pid_t tid;
};

static void *send_on(void *arg)
{
	struct sender *sender = arg;
	/* More than any buffer takes. */
	static char bytes[16 << 20];
	sender->tid = syscall(SYS_gettid);
	send(sender->fd, bytes, sizeof(bytes), 0);
	return NULL;
}

/* proc_pid_stat(5): the state follows the name, which is in brackets. */
static bool is_asleep(pid_t tid)
{
	char path[64], stat[512] = "";
	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	FILE *file = fopen(path, "r");
	if (!file || !fgets(stat, sizeof(stat), file))
		die(path);
	fclose(file);
	return strstr(stat, ") S ") != NULL;
}

static void blocked(int listener)
{
	struct moment since;
	struct pair *pair = stuff(listener, &since);
	struct sender *sender = calloc(1, sizeof(*sender));
	pthread_t thread;
	sender->fd = pair->near;
	if (pthread_create(&thread, NULL, send_on, sender))
		die("pthread_create");
	while (!sender->tid || !is_asleep(sender->tid))
		sched_yield();
	close(pair->near);
	say_leak(0, 0, pair->port, since);
}

int main(int argc, char **argv)
{
	static const struct kind kinds[] = {
		{"trickle", .one = trickle},
		{"window", .one = window},
		{"vanished", .all = vanished},
		{"blocked", .one = blocked},
		{0},
	};
	make(argc, argv, kinds);
	return strcmp(argv[1], "trickle") ? obey() : obey_and(send_and_read);
}

/* A client whose pool forgets connections: it opens one every second, uses it once, and
 * never looks at it again; its server closes what has been idle for 1.2 s.
 *
 *   growing_pool
 */
#include "pair.h"

#define EVERY_NS 1000000000ull
#define IDLE_NS 1200000000ull
/* More than a test ever waits for. */
#define MOST 1000

NAMED static struct pair lease(int listener)
{
	char byte = 0;
	struct pair pair = connected(listener);
	if (send(pair.near, &byte, 1, 0) != 1 || recv(pair.far, &byte, 1, 0) != 1)
		die("request");
	if (send(pair.far, &byte, 1, 0) != 1 || recv(pair.near, &byte, 1, 0) != 1)
		die("response");
	return pair;
}

int main(void)
{
	static struct pair pairs[MOST];
	static uint64_t used[MOST];
	unsigned opened = 0, closed = 0;

	begin();
	int listener = listen_on(opt.bind, 0, 128);
	say("ready port=%d pid=%d", local_port(listener), getpid());
	for (;;) {
		struct pollfd orders = {.fd = 0, .events = POLLIN};
		if (poll(&orders, 1, 20) < 0)
			die("poll");
		if (orders.revents)
			return obey();
		if (opened < MOST && (!opened || now() >= used[opened - 1] + EVERY_NS)) {
			pairs[opened] = lease(listener);
			used[opened++] = now();
		}
		if (closed < opened && now() >= used[closed] + IDLE_NS) {
			struct moment since = far_closes(&pairs[closed]);
			forget(&pairs[closed++], since);
		}
	}
}

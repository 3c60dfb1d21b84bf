/* A server that accepts one connection and then waits in poll() on one descriptor, having put a
 * page over the `struct pollfd` that is fetched from a file whose server never answers.
 *
 *   hung_memory --mount DIR
 *
 * The file system is FUSE's, mounted over DIR in a mount namespace of its own, and served by a
 * child. It says `ready port=N`, then `hung`, or `without errno=N` where there is no FUSE. Nobody
 * can end who reads that page but the end of the child, which comes with that of this process.
 */
#include "fuse.h"

#include <pthread.h>
#include <sys/mman.h>

static struct pollfd *page;
static volatile pid_t poller;

static void *polls(void *unused)
{
	(void)unused;
	poller = gettid();
	poll(page, 1, -1);
	die("poll");
	return NULL;
}

static bool is_asleep(pid_t tid)
{
	char path[64], text[256] = "", *state;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	file = fopen(path, "r");
	if (!file || !fgets(text, sizeof(text), file))
		die("stat");
	fclose(file);
	state = strrchr(text, ')');
	return state && state[2] == 'S';
}

int main(int argc, char **argv)
{
	char path[256] = "";
	int listener, never[2], file;
	pthread_t thread;
	struct files files = {.options = "", .mode = 0100644, .size = 4096, .valid = 100};

	begin();
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (!strcmp(argv[i], "--mount") && value)
			snprintf(path, sizeof(path), "%s/page", argv[++i]);
		else
			usage(argv[i], value);
	}
	*strrchr(path, '/') = 0;
	if (!mounted(path, &files)) {
		say("without errno=%d", errno);
		return 0;
	}
	path[strlen(path)] = '/';
	listener = listen_on("127.0.0.1", 0, 16);
	say("ready port=%d", local_port(listener));
	if (accept(listener, NULL, NULL) < 0 || pipe(never))
		die("accept");
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	*page = (struct pollfd){.fd = never[0], .events = POLLIN};
	if (pthread_create(&thread, NULL, polls, NULL))
		die("pthread_create");
	while (!poller || !is_asleep(poller))
		sched_yield();
	file = open(path, O_RDONLY);
	if (file < 0 || mmap(page, 4096, PROT_READ, MAP_PRIVATE | MAP_FIXED, file, 0) != (void *)page)
		die("mmap");
	say("hung");
	pthread_join(thread, NULL);
}

/* A server with names that are chosen to do harm: its own, those of its threads, its command
 * line, and of the code it made at run time.
 *
 *   names COMM ARGV0 SYMBOL [--count N]
 *
 * It executes itself anew with ARGV0, calls itself and a thread COMM, and accepts connections that it
 * forgets, from code for which its perf map has the name SYMBOL, where the machine is an x86-64. Its
 * clients are its own and have closed. It removes its perf map when it ends by the end of input.
 */
#include "pair.h"

#include <pthread.h>
#include <sys/mman.h>

static struct pair made;
static char map_path[64];

NAMED static void accept_in_a_way(int listener)
{
	made = accepted(listener);
}

/* Calls it from code that no file has; `name` is what the perf map says of that. */
static void through_made_code(void (*callee)(int), int listener, const char *name)
{
#ifdef __x86_64__
	/* push rbp; mov rbp, rsp; mov rax, rdi; mov edi, esi; call rax; pop rbp; ret */
	static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf8,
					     0x89, 0xf7, 0xff, 0xd0, 0x5d, 0xc3};
	static unsigned char *page;
	if (!page) {
		page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED)
			die("mmap");
		memcpy(page, code, sizeof(code));
		snprintf(map_path, sizeof(map_path), "/tmp/perf-%d.map", getpid());
		FILE *map = fopen(map_path, "w");
		if (!map)
			die(map_path);
		fprintf(map, "%lx %zx %s\n", (unsigned long)page, sizeof(code), name);
		fclose(map);
	}
	((void (*)(void (*)(int), int))page)(callee, listener);
#else
	(void)name;
	callee(listener);
#endif
}

static void *idle(void *name)
{
	prctl(PR_SET_NAME, name);
	while (pause())
		;
	return NULL;
}

int main(int argc, char **argv)
{
	begin();
	if (argc < 4)
		usage("that few", "names");
	if (!getenv("NAMES_SET")) {
		setenv("NAMES_SET", "1", 1);
		char exe[4096];
		ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
		if (len < 0)
			die("readlink");
		exe[len] = 0;
		char *const again[] = {argv[2], argv[1], argv[2], argv[3], argc > 5 ? argv[5] : "1", NULL};
		execv(exe, again);
		die(exe);
	}
	opt.count = atoi(argv[4]);
	prctl(PR_SET_NAME, argv[1]);
	pthread_t thread;
	if (pthread_create(&thread, NULL, idle, argv[1]))
		die("pthread_create");
	int listener = protocol_listener();
	say("ready port=%d pid=%d", local_port(listener), getpid());
	for (unsigned i = 0; i < opt.count; i++) {
		through_made_code(accept_in_a_way, listener, argv[3]);
		forget(&made, far_closes(&made));
	}
	say("done leaked=%u closed=0", leaked);
	int code = obey();
	unlink(map_path);
	return code;
}

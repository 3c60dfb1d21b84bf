/* A server that accepts one connection and then waits in poll() on one descriptor, having put a
 * page over the `struct pollfd` that is fetched from a file whose server never answers.
 *
 *   hung_memory --mount DIR
 *
 * The file system is FUSE's, mounted over DIR in a mount namespace of its own, and served by a
 * child. It says `ready port=N`, then `hung`, or `without errno=N` where there is no FUSE. Nobody
 * can end who reads that page but the end of the child, which comes with that of this process.
 */
#include "scenario.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/uio.h>

static struct pollfd *page;
static volatile pid_t poller;

static void reply(int fuse, __u64 unique, int error, const void *body, size_t len)
{
	struct fuse_out_header header = {.len = sizeof(header) + len, .error = error, .unique = unique};
	struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, len}};

	if (writev(fuse, parts, 2) < 0)
		die("writev");
}

/* Node 1 is the directory, node 2 a file of a page in it, by any name. */
static struct fuse_attr attr(__u64 node)
{
	return (struct fuse_attr){.ino = node, .size = 4096, .mode = node == 1 ? 040755 : 0100644, .nlink = 1};
}

static void serve(int fuse)
{
	static union {
		struct fuse_in_header header;
		char bytes[1 << 17];
	} in;

	while (read(fuse, &in, sizeof(in)) > 0) {
		__u64 unique = in.header.unique;
		struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 65536, .max_background = 8};
		struct fuse_attr_out node = {.attr_valid = 100, .attr = attr(in.header.nodeid)};
		struct fuse_entry_out entry = {.nodeid = 2, .attr_valid = 100, .entry_valid = 100, .attr = attr(2)};
		struct fuse_open_out open = {.fh = 1};

		switch (in.header.opcode) {
		case FUSE_INIT:
			reply(fuse, unique, 0, &init, sizeof(init));
			break;
		case FUSE_GETATTR:
			reply(fuse, unique, 0, &node, sizeof(node));
			break;
		case FUSE_LOOKUP:
			reply(fuse, unique, 0, &entry, sizeof(entry));
			break;
		case FUSE_OPEN:
			reply(fuse, unique, 0, &open, sizeof(open));
			break;
		/* Never. */
		case FUSE_READ:
		case FUSE_INTERRUPT:
		case FUSE_FORGET:
			break;
		default:
			reply(fuse, unique, -ENOSYS, NULL, 0);
		}
	}
}

/* Whether there is a file system at `dir` now. */
static bool mounted(const char *dir)
{
	char options[96];
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	pid_t us = getpid();

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
	if (fuse < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
	    || mount("hung", dir, "fuse", 0, options))
		return false;
	switch (fork()) {
	case -1:
		die("fork");
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == us)
			serve(fuse);
		_exit(0);
	}
	close(fuse);
	return true;
}

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

	begin();
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (!strcmp(argv[i], "--mount") && value)
			snprintf(path, sizeof(path), "%s/page", argv[++i]);
		else
			usage(argv[i], value);
	}
	*strrchr(path, '/') = 0;
	if (!mounted(path)) {
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

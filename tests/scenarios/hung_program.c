/* A server whose executable lies on a file system that answers nobody but itself, and is called as
 * an interpreter of Python is.
 *
 *   hung_program --mount DIR
 *
 * The file system is FUSE's, for all users, mounted over DIR in a mount namespace of its own and
 * served by a child. It executes itself from there, says `ready port=N`, or `without errno=N` where
 * there is no FUSE, and leaks one connection that its peer has closed: `leak`. Who waits for the file
 * system can be ended by the end of the child only, which comes with that of this process.
 */
#include "scenario.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>

static char program[8 << 20];
static size_t size;

static void reply(int fuse, __u64 unique, int error, const void *body, size_t len)
{
	struct fuse_out_header header = {.len = sizeof(header) + len, .error = error, .unique = unique};
	struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, len}};

	if (writev(fuse, parts, 2) < 0)
		die("writev");
}

/* Node 1 is the directory, node 2 the program, by any name. */
static struct fuse_attr attr(__u64 node)
{
	return (struct fuse_attr){
		.ino = node, .size = node == 1 ? 4096 : size, .mode = node == 1 ? 040755 : 0100755, .nlink = 1,
	};
}

static void send_part(int fuse, __u64 unique, const struct fuse_read_in *what)
{
	size_t from = what->offset < size ? what->offset : size;

	reply(fuse, unique, 0, program + from, what->size < size - from ? what->size : size - from);
}

/* Answers its owner only, and nothing for longer than it is asked. */
static void serve(int fuse, pid_t owner)
{
	static union {
		struct fuse_in_header header;
		struct {
			struct fuse_in_header header;
			struct fuse_read_in what;
		} read;
		char bytes[1 << 17];
	} in;

	while (read(fuse, &in, sizeof(in)) > 0) {
		__u64 unique = in.header.unique;
		struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 65536, .max_background = 8};
		struct fuse_attr_out node = {.attr = attr(in.header.nodeid)};
		struct fuse_entry_out entry = {.nodeid = 2, .attr = attr(2)};
		struct fuse_open_out open = {.fh = 1};

		if (in.header.opcode == FUSE_INIT)
			reply(fuse, unique, 0, &init, sizeof(init));
		if (in.header.pid != (__u32)owner)
			continue;
		switch (in.header.opcode) {
		case FUSE_GETATTR:
			reply(fuse, unique, 0, &node, sizeof(node));
			break;
		case FUSE_LOOKUP:
			reply(fuse, unique, 0, &entry, sizeof(entry));
			break;
		case FUSE_OPEN:
			reply(fuse, unique, 0, &open, sizeof(open));
			break;
		case FUSE_READ:
			send_part(fuse, unique, &in.read.what);
			break;
		case FUSE_INIT:
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
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC), own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(own, program, sizeof(program));
	pid_t us = getpid();

	if (len <= 0 || len == sizeof(program))
		die("read");
	size = len;
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fuse);
	if (fuse < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
	    || mount("hung", dir, "fuse", 0, options))
		return false;
	switch (fork()) {
	case -1:
		die("fork");
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == us)
			serve(fuse, us);
		_exit(0);
	}
	close(fuse);
	return true;
}

NAMED void leak_one(void)
{
	int listener = listen_on("127.0.0.1", 0, 16), fd;
	char byte;

	say("ready port=%d", local_port(listener));
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		die("accept");
	while (read(fd, &byte, 1) > 0)
		;
	say("leak");
	while (read(0, &byte, 1) > 0)
		;
}

int main(int argc, char **argv)
{
	char path[256] = "";

	begin();
	if (argc == 1) {
		leak_one();
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;
		if (!strcmp(argv[i], "--mount") && value)
			snprintf(path, sizeof(path), "%s", argv[++i]);
		else
			usage(argv[i], value);
	}
	if (!mounted(path)) {
		say("without errno=%d", errno);
		return 0;
	}
	strncat(path, "/python3", sizeof(path) - strlen(path) - 1);
	execl(path, path, NULL);
	die("execl");
}

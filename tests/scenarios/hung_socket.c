/* A process whose descriptors are a socket at one moment and at the next a file whose server answers
 * nobody else: neither what its attributes are, nor that it was closed.
 *
 *   hung_socket --mount DIR
 *
 * The file system is FUSE's, mounted over DIR in a mount namespace of its own as fusermount mounts
 * one for a user, and served by a child. It says `ready pid=N`, or `without errno=N` where there is
 * no FUSE. Who waits for that server can be ended by its end only, which comes with that of this process.
 */
#include "scenario.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/uio.h>

enum { USER = 65534, FIRST = 100, SLOTS = 400 };

static void reply(int fuse, __u64 unique, int error, const void *body, size_t len)
{
	struct fuse_out_header header = {.len = sizeof(header) + len, .error = error, .unique = unique};
	struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, len}};

	if (writev(fuse, parts, 2) < 0)
		die("writev");
}

/* Node 1 is the directory, node 2 a file in it, by any name. */
static struct fuse_attr attr(__u64 node)
{
	return (struct fuse_attr){
		.ino = node, .size = 4096, .mode = node == 1 ? 040755 : 0100644, .nlink = 1,
		.uid = USER, .gid = USER,
	};
}

/* Answers its owner only. */
static void serve(int fuse, pid_t owner)
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
		case FUSE_FLUSH:
			reply(fuse, unique, 0, NULL, 0);
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

/* Whether there is a file system at `dir` now, which is that of another user, as we are then. */
static bool mounted(const char *dir)
{
	char options[96];
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	pid_t us = getpid();

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%d,group_id=%d", fuse, USER, USER);
	if (fuse < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
	    || mount("hung", dir, "fuse", 0, options))
		return false;
	if (setresgid(USER, USER, USER) || setresuid(USER, USER, USER))
		die("setresuid");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
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

int main(int argc, char **argv)
{
	char path[256] = "";
	struct pollfd end = {.fd = 0, .events = POLLIN};
	int file, sock;

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
	file = open(path, O_RDONLY);
	sock = socket(AF_INET, SOCK_STREAM, 0);
	if (file < 0 || sock < 0)
		die("open");
	say("ready pid=%d", getpid());
	while (!poll(&end, 1, 0))
		for (int is_file = 0; is_file < 2; is_file++)
			for (int i = 0; i < SLOTS; i++)
				dup2(is_file ? file : sock, FIRST + i);
}

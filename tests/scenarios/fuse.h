/* A file system of FUSE's, mounted over a directory in a mount namespace of its own and served by a
 * child: a directory with one file in it, by any name. Who waits for what is never answered can be ended
 * by the end of the child only, which comes with that of this process.
 */
#include "scenario.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/uio.h>

struct files {
	/* Whose it is, and who this process is once it is mounted. */
	uid_t user;
	/* More options of the mount, each after a comma. */
	const char *options;
	mode_t mode;
	size_t size;
	/* What is in the file; NULL: who reads it is never answered. */
	const char *bytes;
	/* For how many seconds the kernel need not ask again. */
	__u64 valid;
	/* Nobody but this process is answered. */
	bool owner_only;
};

static void reply(int fuse, __u64 unique, int error, const void *body, size_t len)
{
	struct fuse_out_header header = {.len = sizeof(header) + len, .error = error, .unique = unique};
	struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, len}};

	if (writev(fuse, parts, 2) < 0)
		die("writev");
}

/* Node 1 is the directory, node 2 the file. */
static struct fuse_attr attr(const struct files *files, __u64 node)
{
	return (struct fuse_attr){
		.ino = node, .size = node == 1 ? 4096 : files->size, .mode = node == 1 ? 040755 : files->mode,
		.nlink = 1, .uid = files->user, .gid = files->user,
	};
}

static void send_part(int fuse, __u64 unique, const struct files *files, const struct fuse_read_in *what)
{
	size_t from = what->offset < files->size ? what->offset : files->size, left = files->size - from;

	reply(fuse, unique, 0, files->bytes + from, what->size < left ? what->size : left);
}

static void serve(int fuse, const struct files *files, pid_t owner)
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
		__u64 unique = in.header.unique, valid = files->valid;
		struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 65536, .max_background = 8};
		struct fuse_attr_out node = {.attr_valid = valid, .attr = attr(files, in.header.nodeid)};
		struct fuse_entry_out entry = {
			.nodeid = 2, .attr_valid = valid, .entry_valid = valid, .attr = attr(files, 2),
		};
		struct fuse_open_out open = {.fh = 1};

		if (in.header.opcode == FUSE_INIT)
			reply(fuse, unique, 0, &init, sizeof(init));
		else if (files->owner_only && in.header.pid != (__u32)owner)
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
		case FUSE_READ:
			if (files->bytes)
				send_part(fuse, unique, files, &in.read.what);
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

/* Whether they are at `dir` now. */
static bool mounted(const char *dir, const struct files *files)
{
	char options[128];
	int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	pid_t us = getpid();

	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u%s", fuse, files->user,
		 files->user, files->options);
	if (fuse < 0 || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)
	    || mount("hung", dir, "fuse", 0, options))
		return false;
	if (files->user) {
		if (setresgid(files->user, files->user, files->user)
		    || setresuid(files->user, files->user, files->user))
			die("setresuid");
		/* Another user has to ask for it again. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	}
	switch (fork()) {
	case -1:
		die("fork");
	case 0:
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == us)
			serve(fuse, files, us);
		_exit(0);
	}
	close(fuse);
	return true;
}

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
#include "fuse.h"

static char program[8 << 20];

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
	int own = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(own, program, sizeof(program));
	struct files files = {
		.options = ",allow_other", .mode = 0100755, .size = len, .bytes = program, .owner_only = true,
	};

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
	if (len <= 0 || len == sizeof(program))
		die("read");
	if (!mounted(path, &files)) {
		say("without errno=%d", errno);
		return 0;
	}
	strncat(path, "/python3", sizeof(path) - strlen(path) - 1);
	execl(path, path, NULL);
	die("execl");
}

/* A process whose descriptors are a socket at one moment and at the next a file whose server answers
 * nobody else: neither what its attributes are, nor that it was closed.
 *
 *   hung_socket --mount DIR
 *
 * The file system is FUSE's, mounted over DIR in a mount namespace of its own as fusermount mounts
 * one for a user, and served by a child. It says `ready pid=N`, or `without errno=N` where there is
 * no FUSE. Who waits for that server can be ended by its end only, which comes with that of this process.
 */
#include "fuse.h"

enum { USER = 65534, FIRST = 100, SLOTS = 400 };

int main(int argc, char **argv)
{
	char path[256] = "";
	struct pollfd end = {.fd = 0, .events = POLLIN};
	int file, sock;
	struct files files = {
		.user = USER, .options = "", .mode = 0100644, .size = 4096, .valid = 100, .owner_only = true,
	};

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

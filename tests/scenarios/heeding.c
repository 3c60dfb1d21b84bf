/* A TCP server that never closes what its clients have closed, but closes at once what
 * is destroyed under it: it waits for errors.
 *
 *   heeding --leak N
 */
#include "scenario.h"

int main(int argc, char **argv)
{
	begin();
	if (argc != 3 || strcmp(argv[1], "--leak"))
		usage("arguments", argc > 1 ? argv[1] : NULL);
	unsigned leak = atoi(argv[2]);
	struct pollfd polled[leak + 1];
	int listener = listen_on("127.0.0.1", 0, 128);

	polled[leak] = (struct pollfd){.fd = 0, .events = POLLIN};
	say("ready port=%d pid=%d", local_port(listener), getpid());
	for (unsigned i = 0; i < leak; i++) {
		int fd = accept(listener, NULL, NULL);
		if (fd < 0)
			die("accept");
		read_to_eof(fd);
		/* No events: errors are told all the same. */
		polled[i] = (struct pollfd){.fd = fd};
		say("leak pid=%d fd=%d port=%d", getpid(), fd, remote_port(fd));
	}
	say("done leaked=%u closed=0", leak);
	while (poll(polled, leak + 1, -1) > 0 && !polled[leak].revents) {
		for (unsigned i = 0; i < leak; i++) {
			if (polled[i].revents & POLLERR) {
				close(polled[i].fd);
				polled[i].fd = -1;
			}
		}
	}
	return 0;
}

/* More of something than a host should have, while a tool looks at it.
 *
 *   crowd [--processes N] [--fds M] [--namespaces N] [--within S] [--tell 1] [--churn N]
 *
 * N processes with M descriptors each; N network namespaces, each with a process and a socket
 * in CLOSE_WAIT, or as many as can be made within S seconds; or connections without end, each of
 * which stays in CLOSE_WAIT until N newer ones have been made. Says, if it is to tell, of each
 * namespace `leak port=P pid=P fd=F netns=N`, where the port is that of the peer; then `ready`,
 * of namespaces `ready namespaces=N`. It keeps it all until its input ends; then it says, of a
 * churn, `ended connections=N`.
 */
#include "scenario.h"
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static unsigned long processes, descriptors, namespaces, within, tell, churn;

static unsigned long number(const char *name, const char *value)
{
	if (!value)
		usage(name, value);
	return strtoul(value, NULL, 10);
}

/* One child after the other, each of which is ready before the next is made. */
static void child(void (*made)(void))
{
	int ready[2];
	char byte;
	if (pipe2(ready, O_CLOEXEC))
		die("pipe2");
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		made();
		if (write(ready[1], "", 1) != 1)
			die("write");
		close(ready[1]);
		for (;;)
			pause();
	}
	close(ready[1]);
	ssize_t told = read(ready[0], &byte, 1);
	if (told < 0)
		die("read");
	if (!told) {
		/* It has said why. */
		fprintf(stderr, "process %d ended before it was ready\n", pid);
		exit(1);
	}
	close(ready[0]);
	keep(-1, pid);
}

static void holds_descriptors(void)
{
	int null = open("/dev/null", O_RDONLY);
	if (null < 0)
		die("/dev/null");
	for (unsigned long i = 1; i < descriptors; i++)
		if (dup(null) < 0)
			die("dup");
}

static int pair(int listener, int port, unsigned long n, int *far_port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	to.sin_addr.s_addr = htonl(0x7f000001 + n % 200);
	int far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (far < 0)
		die("socket");
	if (connect(far, (void *)&to, sizeof(to)))
		die("connect");
	*far_port = local_port(far);
	int near = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (near < 0)
		die("accept");
	close(far);
	read_to_eof(near);
	return near;
}

static void holds_a_namespace(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	if (unshare(CLONE_NEWNET))
		die("unshare");
	int listener = listen_on("0.0.0.0", 0, 8);
	if (ioctl(listener, SIOCSIFFLAGS, &lo))
		die("lo");
	int port, fd = pair(listener, local_port(listener), 0, &port);
	struct stat netns;
	if (!tell)
		return;
	if (stat("/proc/self/ns/net", &netns))
		die("/proc/self/ns/net");
	say("leak port=%d pid=%d fd=%d netns=%lu", port, getpid(), fd, (unsigned long)netns.st_ino);
}

static time_t seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void *ends_with_input(void *ended)
{
	char byte;
	while (read(0, &byte, 1) > 0)
		;
	__atomic_store_n((bool *)ended, true, __ATOMIC_RELAXED);
	return NULL;
}

static void churns(void)
{
	static int held[sizeof(kept) / sizeof(kept[0])];
	static bool ended;
	pthread_t reader;
	unsigned long made = 0;
	int far_port;
	if (churn > sizeof(held) / sizeof(held[0]))
		usage("--churn", "so many");
	int listener = listen_on("0.0.0.0", 0, 128), port = local_port(listener);
	if (pthread_create(&reader, NULL, ends_with_input, &ended))
		die("pthread_create");
	say("ready");
	for (; !__atomic_load_n(&ended, __ATOMIC_RELAXED); made++) {
		int *slot = &held[made % churn];
		if (made >= churn)
			close(*slot);
		*slot = pair(listener, port, made, &far_port);
	}
	say("ended connections=%lu", made);
}

int main(int argc, char **argv)
{
	begin();
	for (int i = 1; i < argc; i += 2) {
		const char *name = argv[i];
		unsigned long value = number(name, argv[i + 1]);
		if (!strcmp(name, "--processes"))
			processes = value;
		else if (!strcmp(name, "--fds"))
			descriptors = value;
		else if (!strcmp(name, "--namespaces"))
			namespaces = value;
		else if (!strcmp(name, "--within"))
			within = value;
		else if (!strcmp(name, "--tell"))
			tell = value;
		else if (!strcmp(name, "--churn"))
			churn = value;
		else
			usage(name, argv[i + 1]);
	}
	if (churn) {
		churns();
		return 0;
	}
	for (unsigned long i = 0; i < processes; i++)
		child(holds_descriptors);
	time_t began = seconds();
	unsigned long made = 0;
	while (made < namespaces && (!within || seconds() - began < (time_t)within)) {
		child(holds_a_namespace);
		made++;
	}
	if (namespaces)
		say("ready namespaces=%lu", made);
	else
		say("ready");
	int code = obey();
	close_all_kept();
	return code;
}

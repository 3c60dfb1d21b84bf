/* A mixed load that goes on and on, and keeps the truth of it: who has which socket since
 * when, and when it was let go.
 *
 *   soak SEED
 *
 * This process is the director: it has all the clients, and orders its owners, which are
 * processes that listen, what to do with the other ends. One thing at a time, so that
 * the moment of each lies between two looks at the clock. It says, in lines:
 *   born id=N kind=K local=PORT remote=PORT opener=PID reader=PID from=NS to=NS
 *                              a socket entered CLOSE_WAIT; reader was told EOF (0: nobody)
 *   hold id=N pid=P fd=N from=NS to=NS    a process has it from now on
 *   drop id=N pid=P from=NS to=NS         and not any more
 *   ghost id=N from=NS to=NS              TCP has ended, the descriptor stays
 *   gone id=N exited=0|1 from=NS to=NS    the last descriptor was closed, or its process ended
 *   transient pid=P from=NS to=NS         a process that was forked, and had all of its parent's
 * Kinds: `ignored`, `unread`, `unaccepted` leak; `sending`, `slow`, `pool`, `brief` do not.
 * `storm` on stdin makes many connections at once; `stop` ends the load: it says
 * `done sockets=N healthy=N`, and all stays as it is.
 */
#include "soak_owner.h"

#include <netinet/tcp.h>
#include <stdint.h>
#include <time.h>

enum { OWNERS = 3, FULL = 48, HOLDERS = 6, POOL = 5, PORTS = 150, FIRST_PORT = 20000 };
enum { DIRECTOR = -1, CHILD = -2 };
/* A brief stay that is longer than this is told, lest it be taken for a false report. */
#define BRIEF_NS 200000000ull

enum kind { IGNORED, UNREAD, UNACCEPTED, SENDING, SLOW, POOLED, BRIEF };
static const char *const kinds[] = {"ignored", "unread", "unaccepted", "sending", "slow", "pool", "brief"};

struct owner {
	pid_t pid;
	int control, port, lazy_port;
};

struct holder {
	pid_t pid;
	int fd, owner;
};

/* One that is, or was, in CLOSE_WAIT; `client` is our end of it, -1 when closed. */
struct near {
	unsigned id;
	enum kind kind;
	int client, client_port, server_port, owner;
	bool is_ghost;
	unsigned count;
	struct holder holders[HOLDERS];
};

static struct owner owners[OWNERS];
static struct near standing[STANDING];
static unsigned standing_count, next_id, healthy;
static uint64_t state;
static int life[2];

static uint64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* xorshift64*; the load is the same for the same seed, as far as time allows. */
static unsigned below(unsigned limit)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 2685821657736338717ull >> 33) % limit;
}

static void say_transient(pid_t pid, uint64_t from)
{
	say("transient pid=%d from=%llu to=%llu", pid, (unsigned long long)from, (unsigned long long)now());
}

static void start_owner(struct owner *owner)
{
	int pair[2], ports[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	uint64_t from = now();
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		int control = fcntl(pair[1], F_DUPFD, 20), alive = fcntl(life[0], F_DUPFD, 20);
		dup2(control, CONTROL);
		dup2(alive, LIFE);
		syscall(SYS_close_range, LIFE + 1, ~0u, 0);
		own(owner->port, owner->lazy_port);
	}
	close(pair[1]);
	owner->pid = pid;
	owner->control = pair[0];
	hear(owner->control, ports, sizeof(ports));
	owner->port = ports[0];
	owner->lazy_port = ports[1];
	say_transient(pid, from);
}

static int order(int owner, char op, int arg)
{
	return order_of(owners[owner].control, op, arg);
}

static bool is_used(int client, int server)
{
	for (unsigned i = 0; i < standing_count; i++)
		if (standing[i].client_port == client && standing[i].server_port == server)
			return true;
	return false;
}

/* From one of a few ports, so that each pair of ends comes again. */
NAMED static int dial(int to, int *port)
{
	unsigned first = below(PORTS);
	for (unsigned i = 0; i < PORTS; i++) {
		struct sockaddr_storage addr;
		int on = 1, from = FIRST_PORT + (first + i) % PORTS;
		if (is_used(from, to))
			continue;
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		socklen_t len = address("127.0.0.1", from, &addr);
		if (fd >= 0 && !bind(fd, (void *)&addr, len)) {
			address("127.0.0.1", to, &addr);
			if (!connect(fd, (void *)&addr, len)) {
				*port = from;
				return fd;
			}
		}
		if (fd < 0 || (errno != EADDRINUSE && errno != EADDRNOTAVAIL))
			die("connect");
		close(fd);
	}
	usage("that many connections", NULL);
}

static int state_of(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		die("TCP_INFO");
	return info.tcpi_state;
}

/* Our FIN is acknowledged: the other end is in CLOSE_WAIT. */
static void send_fin(int fd)
{
	shutdown(fd, SHUT_WR);
	while (state_of(fd) == TCP_FIN_WAIT1)
		usleep(200);
	if (state_of(fd) != TCP_FIN_WAIT2)
		usage("a connection that is not in", "FIN_WAIT2");
}

static void say_at(const char *word, unsigned id, pid_t pid, uint64_t from)
{
	say("%s id=%u pid=%d from=%llu to=%llu", word, id, pid, (unsigned long long)from,
	    (unsigned long long)now());
}

static void hold(struct near *near, pid_t pid, int fd, int owner, uint64_t from)
{
	if (near->count == HOLDERS)
		usage("that many holders", NULL);
	near->holders[near->count++] = (struct holder){pid, fd, owner};
	say("hold id=%u pid=%d fd=%d from=%llu to=%llu", near->id, pid, fd, (unsigned long long)from,
	    (unsigned long long)now());
}

static void say_born(const struct near *near, pid_t opener, pid_t reader, uint64_t from, uint64_t to)
{
	bool is_client = near->kind == POOLED;
	say("born id=%u kind=%s local=%d remote=%d opener=%d reader=%d from=%llu to=%llu", near->id,
	    kinds[near->kind], is_client ? near->client_port : near->server_port,
	    is_client ? near->server_port : near->client_port, opener, reader, (unsigned long long)from,
	    (unsigned long long)to);
}

/* A new one that is no leak yet. */
static struct near *add(enum kind kind, int owner)
{
	if (standing_count == STANDING)
		usage("that many sockets", NULL);
	struct near *near = &standing[standing_count++];
	*near = (struct near){.id = next_id++, .kind = kind, .client = -1, .owner = owner};
	return near;
}

static void remove_near(struct near *near)
{
	if (near->client >= 0)
		close(near->client);
	*near = standing[--standing_count];
}

static void end_process(pid_t pid)
{
	kill(pid, SIGKILL);
	/* Its files are closed before it can be waited for, by us or by its owner. */
	while (!kill(pid, 0)) {
		waitpid(pid, NULL, WNOHANG);
		usleep(300);
	}
}

static void say_gone(const struct near *near, bool exited, uint64_t from)
{
	say("gone id=%u exited=%d from=%llu to=%llu", near->id, exited, (unsigned long long)from,
	    (unsigned long long)now());
}

/* One holder lets go; returns whether it was the last, and `near` is no more. */
static bool let_go(struct near *near, unsigned which)
{
	struct holder holder = near->holders[which];
	uint64_t from = now();
	if (holder.owner == CHILD)
		end_process(holder.pid);
	else if (holder.owner == DIRECTOR)
		close(holder.fd);
	else
		order(holder.owner, 'c', holder.fd);
	near->holders[which] = near->holders[--near->count];
	say_at("drop", near->id, holder.pid, from);
	if (near->count)
		return false;
	say_gone(near, holder.owner == CHILD, from);
	if (near->kind == POOLED)
		near->client = -1;
	remove_near(near);
	return true;
}

static void end(struct near *near)
{
	/* Nobody has it: it is accepted first. */
	if (near->kind == UNACCEPTED && !near->count) {
		uint64_t from = now();
		int fd = order(near->owner, 'a', 1);
		struct near *oldest = near;
		for (unsigned i = 0; i < standing_count; i++)
			if (standing[i].kind == UNACCEPTED && !standing[i].count &&
			    standing[i].owner == near->owner && standing[i].id < oldest->id)
				oldest = &standing[i];
		near = oldest;
		hold(near, owners[near->owner].pid, fd, near->owner, from);
		say("opened id=%u pid=%d", near->id, owners[near->owner].pid);
		return;
	}
	while (!let_go(near, near->count - 1))
		;
}

static void make_near(enum kind kind)
{
	int owner = below(OWNERS), fd = -1;
	if (standing_count >= FULL)
		return;
	struct near *near = add(kind, owner);
	struct owner *it = &owners[owner];
	near->server_port = kind == UNACCEPTED ? it->lazy_port : it->port;
	int client = dial(near->server_port, &near->client_port);
	near->client = client;
	static char bytes[60000];
	if (send(client, bytes, kind == SLOW ? sizeof(bytes) : 10, 0) < 0)
		die("send");
	if (kind != UNACCEPTED)
		fd = order(owner, 'a', 0);
	uint64_t from = now();
	send_fin(client);
	uint64_t to = now();
	if (kind != SENDING && below(2)) {
		close(client);
		near->client = -1;
	}
	if (kind == IGNORED || kind == SENDING)
		order(owner, 'e', fd);
	if (kind == SENDING || kind == SLOW)
		order(owner, kind == SENDING ? 'h' : 'l', fd);
	bool is_read = kind == IGNORED || kind == SENDING;
	say_born(near, kind == UNACCEPTED ? 0 : it->pid, is_read ? it->pid : 0, from, to);
	if (fd >= 0)
		hold(near, it->pid, fd, owner, from);
}

/* The owner closes first, our end waits in a pool. */
static void fill_pool(void)
{
	int owner = below(OWNERS);
	struct near *near = add(POOLED, owner);
	near->server_port = owners[owner].port;
	near->client = dial(near->server_port, &near->client_port);
	int fd = order(owner, 'a', 0);
	uint64_t from = now();
	order(owner, 'c', fd);
	wait_for(near->client, POLLRDHUP);
	say_born(near, getpid(), 0, from, now());
	hold(near, getpid(), near->client, DIRECTOR, from);
}

/* One of the pool is used, found closed and replaced. */
static void use_pool(void)
{
	for (unsigned i = 0; i < standing_count; i++)
		if (standing[i].kind == POOLED) {
			let_go(&standing[i], 0);
			fill_pool();
			return;
		}
}

/* A connection as it should be. */
static void be_healthy(void)
{
	int owner = below(OWNERS);
	struct near near = {.kind = BRIEF, .server_port = owners[owner].port};
	int client = dial(near.server_port, &near.client_port);
	if (send(client, "ten bytes.", 10, 0) != 10)
		die("send");
	int fd = order(owner, 'a', 0);
	uint64_t from = now();
	send_fin(client);
	uint64_t to = now();
	order(owner, 'e', fd);
	order(owner, 'c', fd);
	if (now() - from > BRIEF_NS) {
		near.id = next_id++;
		say_born(&near, owners[owner].pid, owners[owner].pid, from, to);
		hold(&near, owners[owner].pid, fd, owner, from);
		say_at("drop", near.id, owners[owner].pid, to);
		say_gone(&near, false, to);
	}
	close(client);
	healthy++;
}

static struct near *one_of(bool (*fits)(const struct near *))
{
	unsigned first = standing_count ? below(standing_count) : 0;
	for (unsigned i = 0; i < standing_count; i++) {
		struct near *near = &standing[(first + i) % standing_count];
		if (fits(near))
			return near;
	}
	return NULL;
}

static bool may_end(const struct near *near)
{
	/* The first few stay for ever. */
	return near->kind != POOLED && near->id >= POOL + 6;
}

static bool is_kept_by_its_owner(const struct near *near)
{
	return (near->kind == IGNORED || near->kind == UNREAD) && near->count == 1 &&
	       near->holders[0].owner >= 0 && !near->is_ghost;
}

static bool can_be_a_ghost(const struct near *near)
{
	return is_kept_by_its_owner(near) && near->client >= 0;
}

static bool has_two(const struct near *near)
{
	return near->count > 1;
}

static void inherit(void)
{
	struct near *near = one_of(is_kept_by_its_owner);
	if (!near)
		return;
	struct holder holder = near->holders[0];
	uint64_t from = now();
	pid_t child = order(holder.owner, 'f', holder.fd);
	hold(near, child, holder.fd, CHILD, from);
	say_transient(child, from);
	if (below(2))
		let_go(near, 0);
}

static void hand_over(void)
{
	struct near *near = one_of(is_kept_by_its_owner);
	if (!near)
		return;
	struct holder holder = near->holders[0];
	int to = (holder.owner + 1) % OWNERS, answer;
	struct order give = {'p', holder.fd}, get = {'g', 0};
	uint64_t from = now();
	tell(owners[holder.owner].control, &give, sizeof(give), -1);
	int fd = hear(owners[holder.owner].control, &answer, sizeof(answer));
	tell(owners[to].control, &get, sizeof(get), fd);
	hear(owners[to].control, &answer, sizeof(answer));
	close(fd);
	say_transient(getpid(), from);
	hold(near, owners[to].pid, answer, to, from);
	let_go(near, 0);
}

static void make_ghost(void)
{
	struct near *near = one_of(can_be_a_ghost);
	if (!near)
		return;
	struct holder holder = near->holders[0];
	uint64_t from = now();
	if (below(2)) {
		struct linger reset = {.l_onoff = 1};
		setsockopt(near->client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(near->client);
		near->client = -1;
	} else {
		order(holder.owner, 's', holder.fd);
	}
	order(holder.owner, 'x', holder.fd);
	/* Else our end is a ghost too. */
	if (near->client >= 0)
		close(near->client);
	near->client = -1;
	near->is_ghost = true;
	say_at("ghost", near->id, holder.pid, from);
}

static void kill_owner(void)
{
	int which = below(OWNERS);
	struct owner *owner = &owners[which];
	uint64_t from = now();
	end_process(owner->pid);
	close(owner->control);
	for (unsigned i = standing_count; i-- > 0;) {
		struct near *near = &standing[i];
		bool had = near->kind == UNACCEPTED && !near->count && near->owner == which;
		for (unsigned h = near->count; h-- > 0;)
			if (near->holders[h].pid == owner->pid) {
				near->holders[h] = near->holders[--near->count];
				say_at("drop", near->id, owner->pid, from);
				had = true;
			}
		if (had && !near->count) {
			say_gone(near, true, from);
			remove_near(near);
		}
	}
	start_owner(owner);
}

/* Many connections at once, by a process of their own. */
static void storm(void)
{
	uint64_t from = now();
	pid_t pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		syscall(SYS_close_range, CONTROL, ~0u, 0);
		int listener = listen_on("0.0.0.0", 0, 128), port = local_port(listener);
		for (unsigned i = 0; i < 600; i++) {
			struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
			to.sin_addr.s_addr = htonl(0x7f000001 + i % 200);
			int client = socket(AF_INET, SOCK_STREAM, 0);
			if (client < 0 || connect(client, (void *)&to, sizeof(to)))
				die("a storm's connect");
			int server = accept(listener, NULL, NULL);
			close(client);
			read_to_eof(server);
			close(server);
		}
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	say_transient(pid, from);
}

static void drain_clients(void)
{
	char bytes[4096];
	for (unsigned i = 0; i < standing_count; i++)
		if (standing[i].kind == SENDING)
			while (recv(standing[i].client, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
				;
}

static void step(void)
{
	unsigned chance = below(1000);
	struct near *near;
	if (chance < 110)
		make_near((enum kind[]){IGNORED, UNREAD, IGNORED, UNREAD, UNACCEPTED, SENDING, SLOW}[below(7)]);
	else if (chance < 195) {
		if ((near = one_of(may_end)))
			end(near);
	} else if (chance < 220)
		make_ghost();
	else if (chance < 240)
		inherit();
	else if (chance < 250)
		hand_over();
	else if (chance < 260) {
		if ((near = one_of(has_two)))
			let_go(near, below(near->count));
	} else if (chance < 280)
		use_pool();
	else if (chance < 282)
		kill_owner();
	else if (chance < 286)
		storm();
	else
		be_healthy();
}

int main(int argc, char **argv)
{
	begin();
	if (argc != 2)
		usage("no", "seed");
	state = strtoull(argv[1], NULL, 10) * 2654435761u + 88172645463325252ull;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe2(life, O_CLOEXEC))
		die("pipe");
	for (unsigned i = 0; i < OWNERS; i++)
		start_owner(&owners[i]);
	say("ready pid=%d", getpid());
	for (unsigned i = 0; i < POOL; i++)
		fill_pool();
	for (;;) {
		char line[64];
		struct pollfd orders = {.fd = 0, .events = POLLIN};
		if (poll(&orders, 1, 30 + below(100)) < 0)
			die("poll");
		drain_clients();
		if (!orders.revents)
			step();
		else if (!fgets(line, sizeof(line), stdin) || !strcmp(line, "stop\n"))
			break;
		else if (!strcmp(line, "storm\n"))
			storm();
		else
			usage("command", line);
	}
	say("done sockets=%u healthy=%u", next_id, healthy);
	for (;;) {
		char line[64];
		struct pollfd orders = {.fd = 0, .events = POLLIN};
		if (poll(&orders, 1, 100) < 0)
			die("poll");
		drain_clients();
		if (orders.revents && !fgets(line, sizeof(line), stdin))
			return 0;
	}
}

/* A TCP server that accepts through io_uring (raw system calls) and never closes.
 *
 *   uring_server [--leak N]
 *
 * Where this kernel refuses io_uring it says `refused errno=N` instead of `ready`.
 */
#include "scenario.h"

#include <linux/io_uring.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct {
	int fd;
	_Atomic unsigned *sq_tail, *cq_head, *cq_tail;
	unsigned *sq_mask, *cq_mask, *sq_array;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
} ring;

static void *map(size_t size, off_t offset)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);
	if (at == MAP_FAILED)
		die("mmap");
	return at;
}

static bool open_ring(void)
{
	struct io_uring_params p = {0};

	ring.fd = syscall(SYS_io_uring_setup, 8, &p);
	if (ring.fd < 0)
		return false;
	char *sq = map(p.sq_off.array + p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	char *cq = map(p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.sqes = map(p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	ring.sq_tail = (void *)(sq + p.sq_off.tail);
	ring.sq_mask = (void *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (void *)(sq + p.sq_off.array);
	ring.cq_head = (void *)(cq + p.cq_off.head);
	ring.cq_tail = (void *)(cq + p.cq_off.tail);
	ring.cq_mask = (void *)(cq + p.cq_off.ring_mask);
	ring.cqes = (void *)(cq + p.cq_off.cqes);
	return true;
}

/* The only caller of io_uring_enter(); see take() in leaky_server.c. */
NAMED static int take(int listener)
{
	unsigned tail = atomic_load(ring.sq_tail);
	unsigned slot = tail & *ring.sq_mask;

	ring.sqes[slot] = (struct io_uring_sqe){.opcode = IORING_OP_ACCEPT, .fd = listener};
	ring.sq_array[slot] = slot;
	atomic_store(ring.sq_tail, tail + 1);
	if (syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		die("io_uring_enter");

	unsigned head = atomic_load(ring.cq_head);
	if (head == atomic_load(ring.cq_tail))
		usage("a completion queue that is", "empty");
	int fd = ring.cqes[head & *ring.cq_mask].res;
	atomic_store(ring.cq_head, head + 1);
	if (fd < 0) {
		errno = -fd;
		die("accept by io_uring");
	}
	return fd;
}

NAMED static void accept_and_forget(int listener)
{
	int fd = take(listener);
	int port = remote_port(fd);
	read_to_eof(fd);
	keep(fd, 0);
	say("leak pid=%d fd=%d port=%d", getpid(), fd, port);
}

NAMED static void serve(int listener, unsigned leak)
{
	for (unsigned i = 0; i < leak; i++)
		accept_and_forget(listener);
}

int main(int argc, char **argv)
{
	unsigned leak = 1;

	begin();
	if (argc == 3 && !strcmp(argv[1], "--leak"))
		leak = atoi(argv[2]);
	else if (argc != 1)
		usage("arguments", argv[1]);
	if (!open_ring()) {
		say("refused errno=%d", errno);
		return obey();
	}
	int listener = listen_on("127.0.0.1", 0, 128);
	say("ready port=%d pid=%d", local_port(listener), getpid());
	serve(listener, leak);
	say("done leaked=%u closed=0", leak);
	return obey();
}

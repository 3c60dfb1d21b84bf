/* A process that has nothing to do with any socket and keeps a CPU busy, so that
 * it is what runs there when a packet arrives.
 *
 *   bystander --cpu N
 */
#include "scenario.h"

int main(int argc, char **argv)
{
	begin();
	if (argc != 3 || strcmp(argv[1], "--cpu"))
		usage("arguments", argv[1]);
	run_on_cpu(atoi(argv[2]));
	say("ready port=0 pid=%d", getpid());

	struct pollfd orders = {.fd = 0, .events = POLLIN};
	while (poll(&orders, 1, 0) == 0)
		;
	return 0;
}

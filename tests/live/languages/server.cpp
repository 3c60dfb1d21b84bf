// The server of tests/scenarios/deep_server.c in C++: through templates, members, a virtual
// call, a lambda, and frames that an exception could unwind.
#include <arpa/inet.h>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEPT __attribute__((noinline))

namespace shop {
static volatile int sink;

struct Guard {
	explicit Guard(int n) : name(std::to_string(n)) {}
	~Guard() { sink = sink + static_cast<int>(name.size()); }
	std::string name;
};

template <typename T> struct Pool {
	KEPT T leak_here(T listener)
	{
		Guard guard(listener);
		T got = accept(listener, nullptr, nullptr);
		if (got < 0)
			throw std::runtime_error(guard.name);
		return got;
	}
	KEPT T read_on(T fd)
	{
		Guard guard(fd);
		char buf[256];
		ssize_t got;
		while ((got = read(fd, buf, sizeof(buf))) > 0)
			sink = sink + 1;
		if (got < 0)
			throw std::runtime_error(guard.name);
		return fd;
	}
};

template <typename T> KEPT T take_one(Pool<T> &pool, T n)
{
	Guard guard(n);
	try {
		return pool.leak_here(n);
	} catch (const std::exception &) {
		return n;
	}
}

template <typename T> KEPT T fill_buffer(Pool<T> &pool, T n)
{
	Guard guard(n);
	try {
		return pool.read_on(n);
	} catch (const std::exception &) {
		return n;
	}
}

struct Handler {
	virtual ~Handler() = default;
	virtual int handle(int n) = 0;
	virtual int parse_line(int n) = 0;
};
struct Real : Handler {
	Pool<int> pool;
	KEPT int handle(int n) override { Guard guard(n); return take_one(pool, n); }
	KEPT int parse_line(int n) override { Guard guard(n); return fill_buffer(pool, n); }
};

using Call = std::function<int(int)>;
KEPT int dispatch(const Call &call, int n) { Guard guard(n); return call(n); }
KEPT int next_request(const Call &call, int n) { Guard guard(n); return call(n); }

KEPT int serve(int n)
{
	std::unique_ptr<Handler> handler = std::make_unique<Real>();
	return dispatch([&](int n) { return handler->handle(n); }, n);
}
KEPT int converse(int n)
{
	std::unique_ptr<Handler> handler = std::make_unique<Real>();
	return next_request([&](int n) { return handler->parse_line(n); }, n);
}
} // namespace shop

KEPT int run_server(int n) { shop::Guard guard(n); return shop::serve(n); }
KEPT int run_client(int n) { shop::Guard guard(n); return shop::converse(n); }

int main(int, char **argv)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int leak = atoi(argv[2]);
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	sockaddr_in at = {};
	socklen_t len = sizeof(at);
	at.sin_family = AF_INET;
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	auto *any = reinterpret_cast<sockaddr *>(&at);
	if (bind(listener, any, len) || listen(listener, 128) || getsockname(listener, any, &len))
		return 1;
	printf("ready port=%d pid=%d\n", ntohs(at.sin_port), getpid());
	fflush(stdout);
	for (int i = 0; i < leak; i++)
		run_client(run_server(listener));
	// Until the test ends.
	while (getchar() != EOF)
		;
}

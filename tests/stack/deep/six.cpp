// Six functions deep through templates, members, a lambda and frames that an
// exception could unwind, and then for ever in read().
#include <functional>
#include <memory>
#include <string>
#include <stdexcept>
#include <unistd.h>

namespace shop {
struct Guard {
    explicit Guard(int n) : name(std::to_string(n)) {}
    ~Guard() { asm volatile("" ::: "memory"); }
    std::string name;
};

template <typename T> struct Pool {
    __attribute__((noinline)) T leak_here(T n) {
        Guard guard(n);
        char byte;
        T got = static_cast<T>(read(0, &byte, 1));
        if (got > 4711) throw std::runtime_error(guard.name);
        return got + n;
    }
};

template <typename T> __attribute__((noinline)) T take_one(Pool<T> &pool, T n) {
    Guard guard(n);
    try {
        return pool.leak_here(n + 1) * 3;
    } catch (const std::exception &) {
        return n;
    }
}

struct Handler {
    virtual ~Handler() = default;
    virtual int handle(int n) = 0;
};
struct Real : Handler {
    Pool<int> pool;
    __attribute__((noinline)) int handle(int n) override { return take_one(pool, n + 1) * 5; }
};

__attribute__((noinline)) int dispatch(const std::function<int(int)> &call, int n) {
    Guard guard(n);
    return call(n + 1) * 7;
}

__attribute__((noinline)) int serve(int n) {
    std::unique_ptr<Handler> handler = std::make_unique<Real>();
    return dispatch([&](int n) { return handler->handle(n) * 2; }, n + 1) * 11;
}
} // namespace shop

__attribute__((noinline)) int run_server(int n) { return shop::serve(n + 1) * 13; }

int main(int argc, char **) { return run_server(argc) == 4711; }

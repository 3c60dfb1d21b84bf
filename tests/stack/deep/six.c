/* Six functions deep, and then for ever in read(). `chain` is different code in each
 * of them, so that no two can be merged, and works on after its call, so that none
 * can jump instead of calling. With the argument "frames N" each has N more bytes of
 * stack; with "signal" the deepest is interrupted by a signal, whose handler reads. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int extra;
static int by_signal;
static volatile int sink;

static void handler(int number) {
    char byte;
    sink += number + (int)read(0, &byte, 1);
}

#define NEXT(name, callee, number)                            \
    __attribute__((noinline, noclone)) int name(int n) {      \
        volatile char room[extra + 1];                        \
        room[extra / 2] = (char)n;                            \
        int got = callee(n * number + 1);                     \
        return got * number + room[extra / 2];                \
    }

__attribute__((noinline, noclone)) int leak_here(int n) {
    char byte;
    if (by_signal) {
        raise(SIGUSR1);
        return sink;
    }
    return (int)read(0, &byte, 1) + n;
}
NEXT(take_one, leak_here, 3)
NEXT(handle, take_one, 5)
NEXT(dispatch, handle, 7)
NEXT(serve, dispatch, 11)
NEXT(run_server, serve, 13)

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "frames")) extra = atoi(argv[2]);
    if (argc > 1 && !strcmp(argv[1], "signal")) by_signal = 1;
    signal(SIGUSR1, handler);
    return run_server(argc) == 4711;
}

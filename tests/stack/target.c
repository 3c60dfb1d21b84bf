/* A process whose own call path is known: prints it, waits for its input to
 * end, exits. The path is read as the kernel reads it, by frame pointers.
 * With the argument "jit" it prints an address in anonymous executable memory
 * instead; with "thread" the path is that of a thread, and the main thread exits. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static __attribute__((noinline, noreturn)) void wait_and_exit(void) {
    char byte;
    fflush(stdout);
    while (read(0, &byte, 1) > 0) {}
    _exit(0);
}

static __attribute__((noinline, noreturn)) void report(void) {
    void **frame = __builtin_frame_address(0);
    for (int depth = 0; depth < 3; depth++) {
        printf("%p ", frame[1]);
        if ((void **)frame[0] <= frame) break;
        frame = frame[0];
    }
    printf("\n");
    wait_and_exit();
}

static inline __attribute__((always_inline)) void take(void) {
    report(); /* line of take */
}

/* report() does not return, so its call is the last instruction: the return
 * address is the first one of the function that follows, which is not serve. */
__attribute__((noinline, noclone)) void serve(void) {
    take(); /* line of serve */
}

__attribute__((noinline, noclone)) void follower(void) { __asm__ volatile("" ::: "memory"); }

static void *thread(void *unused) {
    pthread_join(*(pthread_t *)unused, NULL);
    printf("%d ", gettid());
    serve();
    return NULL;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "jit")) {
        char *code = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        printf("%p\n", code + 0x11);
        wait_and_exit();
    }
    if (argc > 1 && !strcmp(argv[1], "thread")) {
        static pthread_t self;
        pthread_t other;
        self = pthread_self();
        pthread_create(&other, NULL, thread, &self);
        pthread_exit(NULL);
    }
    serve(); /* line of main */
    follower();
    return 0;
}

/* Asks the time for ever, once its input has given it a byte. */
#include <time.h>
#include <unistd.h>

__attribute__((noinline, noclone)) long tell(void) {
    struct timespec now;
    long sum = 0;
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        sum += now.tv_nsec;
        if (sum == 4711) return sum;
    }
}

int main(void) {
    char byte;
    return (int)read(0, &byte, 1) + (int)tell() == 12;
}

/* A read() as in a C library that was compiled without unwind tables and without
 * frame pointers: a system call instruction two functions deep. */
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/types.h>

__attribute__((noinline)) static long bare_syscall(long number, long a, void *b, long c) {
    volatile long room[9];
    long got;
    room[3] = number;
    __asm__ volatile("syscall" : "=a"(got) : "a"(room[3]), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    room[5] = got;
    return room[5];
}

ssize_t bare_read(int fd, void *to, size_t size) {
    volatile long room[5];
    room[2] = bare_syscall(SYS_read, fd, to, (long)size);
    return room[2] + 1;
}

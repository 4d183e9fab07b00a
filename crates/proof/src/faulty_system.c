/* Stands between the server under proof and its system, loaded before the C library: fails fsyncs of the
 * log's journals, and steps the wall clock. What it shall do is in the file that
 * LOSS_PROOF_FAULTS names, which the proof writes to while the server runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct control {
    int64_t clock_seconds; /* What the wall clock is ahead. */
    int64_t failing;       /* Fsyncs that are to fail. */
    int64_t failed;        /* Fsyncs that did. */
};

static struct control *control;
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("LOSS_PROOF_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map != MAP_FAILED) control = map;
}

static int is_journal(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 5) return 0;
    path[length] = 0;
    return !strcmp(path + length - 4, ".jnl");
}

static int sync_with(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (control && __atomic_load_n(&control->failing, __ATOMIC_SEQ_CST) > 0 && is_journal(fd)
        && __atomic_fetch_sub(&control->failing, 1, __ATOMIC_SEQ_CST) > 0) {
        __atomic_fetch_add(&control->failed, 1, __ATOMIC_SEQ_CST);
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }

int clock_gettime(clockid_t id, struct timespec *now) {
    if (!real_clock) {
        real_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int failed = real_clock(id, now);
    if (!failed && control && id == CLOCK_REALTIME) {
        now->tv_sec += __atomic_load_n(&control->clock_seconds, __ATOMIC_SEQ_CST);
    }
    return failed;
}

/* A disk below the test, as a library that is loaded before the system's: it remembers of every
 * journal what was made durable, fails one fsync when it is told to, and then does as Linux does:
 * the bytes stay readable, and the next fsync of that file says that all is well.
 *
 * OFFHOOK_TEST_DISK is a directory. `fail` in it fails the next fsync of a journal. `INODE` in it
 * is what the disk holds of the file with that number after a power cut. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEMORY (1 << 20)

static int is_journal(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 5) return 0;
    path[length] = 0;
    const char *end = strrchr(path, '.');
    return end && (!strcmp(end, ".jnl") || !strcmp(end, ".copy"));
}

static void remember(int fd, const char *disk, unsigned long inode) {
    static char bytes[MEMORY];
    char own[64], path[4096];
    /* The descriptor may be for writing only. */
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    int from = open(own, O_RDONLY);
    ssize_t length = pread(from, bytes, sizeof bytes, 0);
    close(from);
    snprintf(path, sizeof path, "%s/%lu", disk, inode);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (length < 0 || write(to, bytes, length) != length) abort();
    close(to);
}

static int sync_with(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *disk = getenv("OFFHOOK_TEST_DISK");
    struct stat file;
    if (!disk || !is_journal(fd) || fstat(fd, &file)) return real(fd);
    unsigned long inode = file.st_ino;
    char fail[4096], forgotten[4096];
    snprintf(fail, sizeof fail, "%s/fail", disk);
    snprintf(forgotten, sizeof forgotten, "%s/%lu.forgotten", disk, inode);
    if (!unlink(fail)) {
        close(open(forgotten, O_WRONLY | O_CREAT, 0600));
        dup(fd); /* No other file gets its number. */
        errno = EIO;
        return -1;
    }
    if (access(forgotten, F_OK)) remember(fd, disk, inode);
    return real(fd);
}

int fsync(int fd) { return sync_with("fsync", fd); }
int fdatasync(int fd) { return sync_with("fdatasync", fd); }

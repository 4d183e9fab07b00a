/* A disk below the test, as a library that is loaded before the system's: it remembers of every
 * journal what was made durable, fails one fsync when it is told to, and then does as Linux does:
 * the bytes stay readable, and the next fsync of that file says that all is well.
 *
 * OFFHOOK_TEST_DISK is a directory. `fail` in it fails the next fsync of a journal. `INODE` in it
 * is what the disk holds of the file with that number after a power cut. `entries` in it lists what
 * happened to entries of directories: `changed DIRECTORY` after a rename or a new directory, `synced
 * DIRECTORY` after an fsync of the directory. */
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

static void note(const char *what, const char *directory) {
    const char *disk = getenv("OFFHOOK_TEST_DISK");
    char path[4096], line[8192];
    if (!disk) return;
    snprintf(path, sizeof path, "%s/entries", disk);
    int length = snprintf(line, sizeof line, "%s %s\n", what, directory);
    int to = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (write(to, line, length) != length) abort();
    close(to);
}

/* The directory of an entry, by the path that leads to it. */
static void changed(const char *entry) {
    char path[4096], *end;
    if (!realpath(entry, path) || !(end = strrchr(path, '/'))) return;
    *end = 0;
    note("changed", path);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) =
        (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    int result = real(from, to);
    if (!result) changed(to);
    return result;
}

int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t) = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
    int result = real(path, mode);
    if (!result) changed(path);
    return result;
}

static void sync_directory(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    note("synced", path);
}

static int sync_with(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *disk = getenv("OFFHOOK_TEST_DISK");
    struct stat file;
    if (disk && !fstat(fd, &file) && S_ISDIR(file.st_mode)) {
        int result = real(fd);
        if (!result) sync_directory(fd);
        return result;
    }
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

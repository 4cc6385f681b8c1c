/* Stands between a process and its disk (LD_PRELOAD): sees each call that writes, syncs or names beneath one folder,
 * and each word to and from the network; kills at one of them, lets it fail, or writes down what it did.
 *
 * Nothing happens before shim_arm(). Real calls go straight to the kernel, so nothing here comes by twice.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum op { CREATE, WRITE, TRUNCATE, SYNC, RENAME, LINK, UNLINK, MKDIR, RMDIR, RECV, SEND, OPEN, READ, SAY, NOTHING };
enum how { LOOK, KILL, TEAR, FAIL, FAIL_ON, SHORT, SHORT_ON };

struct record { /* what the log has of a call, followed by path, other and bytes */
    uint32_t op, path, other, bytes;
    int64_t offset, size;
};

static char root[PATH_MAX], only[PATH_MAX]; /* calls count whose path has `only` in it */
static size_t root_length;
static int log_to = -1, keeps_bytes, how, error;
static unsigned watched; /* bits of `enum op` that count */
static long at, seen;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

void shim_arm(const char *folder, int log, int bytes, unsigned ops, int what, long number, int fails_with,
              const char *part)
{
    strncpy(root, folder, sizeof root - 1);
    strncpy(only, part, sizeof only - 1);
    log_to = log, keeps_bytes = bytes, watched = ops, how = what, at = number, error = fails_with;
    root_length = strlen(root);
}

static int is_ours(const char *path)
{
    return root_length && !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int path_of(int file, char *path)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = 0;
    return is_ours(path);
}

static int resolve(int folder, const char *name, char *path)
{
    if (!root_length)
        return 0;
    if (name[0] == '/')
        snprintf(path, PATH_MAX, "%s", name);
    else {
        char above[PATH_MAX];
        long length = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/cwd", above, PATH_MAX - 1);
        above[length > 0 ? length : 0] = 0;
        if (folder != AT_FDCWD) {
            char link[32];
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            length = syscall(SYS_readlinkat, AT_FDCWD, link, above, PATH_MAX - 1);
            above[length > 0 ? length : 0] = 0;
        }
        if ((size_t)snprintf(path, PATH_MAX, "%s/%s", above, name) >= PATH_MAX)
            return 0;
    }
    return is_ours(path);
}

static void put(const void *bytes, size_t size)
{
    while (size > 0) {
        long done = syscall(SYS_write, log_to, bytes, size);
        if (done <= 0)
            return;
        bytes = (const char *)bytes + done, size -= done;
    }
}

static void note(enum op op, const char *path, const char *other, int64_t offset, int64_t size, const void *bytes,
                 size_t kept)
{
    if (log_to < 0 || !(op == SAY || op == NOTHING || watched >> op & 1))
        return;
    struct record head = {op, strlen(path), strlen(other), keeps_bytes ? kept : 0, offset, size};
    char text[sizeof head + 2 * PATH_MAX];
    memcpy(text, &head, sizeof head);
    memcpy(text + sizeof head, path, head.path);
    memcpy(text + sizeof head + head.path, other, head.other);
    put(text, sizeof head + head.path + head.other);
    if (head.bytes)
        put(bytes, head.bytes);
}

/* What the log is told: a call that changed nothing counts all the same. */
static enum op told(enum op op, long result) { return result >= 0 || !(watched >> op & 1) ? op : NOTHING; }

static void die(void)
{
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;)
        pause();
}

/* The turn of one call, with the lock held. 0: let it be done; 1: it is to be done by half; -1: it fails. */
static int comes(enum op op, const char *path)
{
    pthread_mutex_lock(&turn);
    if (!(watched >> op & 1) || !strstr(path, only))
        return 0;
    seen++;
    int hit = how == FAIL_ON || how == SHORT_ON ? seen >= at : seen == at;
    if (!hit || how == LOOK)
        return 0;
    if (how == KILL || (how == TEAR && op != WRITE)) {
        note(op, path, "", 0, -1, "", 0);
        die();
    }
    if (how == TEAR || how == SHORT || how == SHORT_ON)
        return 1;
    note(op, path, "", 0, -error, "", 0);
    errno = error;
    return -1;
}

static void done(void)
{
    int kept = errno;
    pthread_mutex_unlock(&turn);
    errno = kept;
}

/* How many calls were made, with none under way. */
long shim_seen(void)
{
    pthread_mutex_lock(&turn);
    long count = seen;
    pthread_mutex_unlock(&turn);
    return count;
}

static long write_at(int file, const void *bytes, size_t size, off_t offset, int has_offset)
{
    char path[PATH_MAX];
    if (root_length && file == 2 && keeps_bytes) {
        pthread_mutex_lock(&turn);
        note(SAY, "", "", 0, size, bytes, size);
        pthread_mutex_unlock(&turn);
    }
    if (!root_length || !path_of(file, path))
        return has_offset ? syscall(SYS_pwrite64, file, bytes, size, offset) : syscall(SYS_write, file, bytes, size);
    long result = -1;
    int half = comes(WRITE, path);
    if (half >= 0) {
        if (!has_offset) {
            struct stat found;
            int is_appended = fcntl(file, F_GETFL) & O_APPEND;
            offset = is_appended && !fstat(file, &found) ? found.st_size : lseek(file, 0, SEEK_CUR);
        }
        size_t wanted = half && size > 1 ? size / 2 : size;
        result = has_offset ? syscall(SYS_pwrite64, file, bytes, wanted, offset) : syscall(SYS_write, file, bytes, wanted);
        note(told(WRITE, result), path, "", offset, result, bytes, result > 0 ? result : 0);
        if (half && how == TEAR)
            die();
    }
    done();
    return result;
}

ssize_t write(int file, const void *bytes, size_t size) { return write_at(file, bytes, size, 0, 0); }
ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) { return write_at(file, bytes, size, offset, 1); }
ssize_t pwrite64(int file, const void *bytes, size_t size, off_t offset) { return write_at(file, bytes, size, offset, 1); }

ssize_t writev(int file, const struct iovec *parts, int count)
{
    char path[PATH_MAX];
    if (!root_length || !path_of(file, path))
        return syscall(SYS_writev, file, parts, count);
    for (int part = 0; part < count; part++)
        if (parts[part].iov_len)
            return write(file, parts[part].iov_base, parts[part].iov_len); /* may write less than asked: callers go on */
    return 0;
}

/* Copies inside the kernel: what has arrived is read back for the log. */
static ssize_t copied(int to, off_t *to_offset, ssize_t (*copy)(void *), void *with)
{
    char path[PATH_MAX];
    if (!root_length || !path_of(to, path))
        return copy(with);
    ssize_t result = -1;
    if (comes(WRITE, path) >= 0) {
        off_t offset = to_offset ? *to_offset : lseek(to, 0, SEEK_CUR);
        result = copy(with);
        if (result <= 0)
            note(NOTHING, path, "", 0, result, "", 0);
        else {
            static char block[1 << 20];
            char link[32];
            snprintf(link, sizeof link, "/proc/self/fd/%d", to);
            int again = syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
            for (ssize_t at = 0; at < result;) {
                long got = syscall(SYS_pread64, again, block, sizeof block < (size_t)(result - at) ? sizeof block : (size_t)(result - at), offset + at);
                if (got <= 0)
                    break;
                note(WRITE, path, "", offset + at, got, block, got);
                at += got;
            }
            syscall(SYS_close, again);
        }
        if (how == TEAR && seen == at)
            die();
    }
    done();
    return result;
}

struct sending { int to, from; off_t *offset; size_t size; };
static ssize_t send_it(void *with)
{
    struct sending *all = with;
    return syscall(SYS_sendfile, all->to, all->from, all->offset, all->size);
}
ssize_t sendfile(int to, int from, off_t *offset, size_t size)
{
    struct sending all = {to, from, offset, size};
    return copied(to, NULL, send_it, &all);
}
ssize_t sendfile64(int to, int from, off_t *offset, size_t size) { return sendfile(to, from, offset, size); }

struct copying { int from, to; off_t *from_offset, *to_offset; size_t size; unsigned flags; };
static ssize_t copy_it(void *with)
{
    struct copying *all = with;
    return syscall(SYS_copy_file_range, all->from, all->from_offset, all->to, all->to_offset, all->size, all->flags);
}
ssize_t copy_file_range(int from, off_t *from_offset, int to, off_t *to_offset, size_t size, unsigned flags)
{
    struct copying all = {from, to, from_offset, to_offset, size, flags};
    return copied(to, to_offset, copy_it, &all);
}

/* Noted, not made: only after a power cut it would show, and these disks are built from the notes. */
static int sync_file(int file, int number)
{
    char path[PATH_MAX];
    if (!root_length || !path_of(file, path))
        return syscall(number, file);
    int result = -1;
    if (comes(SYNC, path) >= 0) {
        result = 0;
        note(SYNC, path, "", 0, 0, "", 0);
    }
    done();
    return result;
}
int fsync(int file) { return sync_file(file, SYS_fsync); }
int fdatasync(int file) { return sync_file(file, SYS_fdatasync); }

int ftruncate(int file, off_t size)
{
    char path[PATH_MAX];
    if (!root_length || !path_of(file, path))
        return syscall(SYS_ftruncate, file, size);
    int result = -1;
    if (comes(TRUNCATE, path) >= 0) {
        result = syscall(SYS_ftruncate, file, size);
        note(told(TRUNCATE, result), path, "", size, 0, "", 0);
    }
    done();
    return result;
}
int ftruncate64(int file, off_t size) { return ftruncate(file, size); }

int fallocate(int file, int mode, off_t offset, off_t size)
{
    char path[PATH_MAX];
    if (!root_length || !path_of(file, path))
        return syscall(SYS_fallocate, file, mode, offset, size);
    errno = EOPNOTSUPP; /* as on many file systems: callers then write, which is seen */
    return -1;
}
int fallocate64(int file, int mode, off_t offset, off_t size) { return fallocate(file, mode, offset, size); }
int posix_fallocate(int file, off_t offset, off_t size) { return fallocate(file, 0, offset, size) ? errno : 0; }
int posix_fallocate64(int file, off_t offset, off_t size) { return posix_fallocate(file, offset, size); }

static int named(enum op op, int folder, const char *name, int number, int flags)
{
    char path[PATH_MAX];
    if (!resolve(folder, name, path))
        return syscall(number, folder, name, flags);
    int result = -1;
    if (comes(op, path) >= 0) {
        result = syscall(number, folder, name, flags);
        note(told(op, result), path, "", 0, 0, "", 0);
    }
    done();
    return result;
}
int unlink(const char *name) { return named(UNLINK, AT_FDCWD, name, SYS_unlinkat, 0); }
int rmdir(const char *name) { return named(RMDIR, AT_FDCWD, name, SYS_unlinkat, AT_REMOVEDIR); }
int unlinkat(int folder, const char *name, int flags)
{
    return named(flags & AT_REMOVEDIR ? RMDIR : UNLINK, folder, name, SYS_unlinkat, flags);
}
int remove(const char *name)
{
    struct stat found;
    int is_folder = !fstatat(AT_FDCWD, name, &found, AT_SYMLINK_NOFOLLOW) && S_ISDIR(found.st_mode);
    return is_folder ? rmdir(name) : unlink(name);
}
int mkdirat(int folder, const char *name, mode_t mode) { return named(MKDIR, folder, name, SYS_mkdirat, mode); }
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

static int moved(enum op op, int from, const char *name, int to, const char *other, int flags)
{
    int number = op == RENAME ? SYS_renameat2 : SYS_linkat;
    char path[PATH_MAX], target[PATH_MAX];
    int ours = resolve(from, name, path);
    if (!resolve(to, other, target) && !ours)
        return syscall(number, from, name, to, other, flags);
    int result = -1;
    if (comes(op, path) >= 0) {
        result = syscall(number, from, name, to, other, flags);
        note(told(op, result), path, target, 0, 0, "", 0);
    }
    done();
    return result;
}
int rename(const char *name, const char *other) { return moved(RENAME, AT_FDCWD, name, AT_FDCWD, other, 0); }
int renameat(int from, const char *name, int to, const char *other) { return moved(RENAME, from, name, to, other, 0); }
int renameat2(int from, const char *name, int to, const char *other, unsigned flags)
{
    return moved(RENAME, from, name, to, other, flags);
}
int link(const char *name, const char *other) { return moved(LINK, AT_FDCWD, name, AT_FDCWD, other, 0); }
int linkat(int from, const char *name, int to, const char *other, int flags)
{
    return moved(LINK, from, name, to, other, flags);
}

static int open_file(int folder, const char *name, int flags, mode_t mode)
{
    char path[PATH_MAX];
    if (!resolve(folder, name, path))
        return syscall(SYS_openat, folder, name, flags, mode);
    struct stat found;
    int is_here = !fstatat(AT_FDCWD, path, &found, 0);
    enum op op = flags & O_CREAT && !is_here ? CREATE : is_here && flags & O_TRUNC && found.st_size ? TRUNCATE : OPEN;
    int result = -1;
    if (comes(op, path) >= 0) {
        result = syscall(SYS_openat, folder, name, flags, mode);
        note(told(op, result), path, "", 0, 0, "", 0);
    }
    done();
    return result;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, int); \
        va_end(more); \
    }
int open(const char *name, int flags, ...) { MODE(flags) return open_file(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return open_file(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *name, int flags, ...) { MODE(flags) return open_file(folder, name, flags, mode); }
int openat64(int folder, const char *name, int flags, ...) { MODE(flags) return open_file(folder, name, flags, mode); }
int __open_2(const char *name, int flags) { return open_file(AT_FDCWD, name, flags, 0); }
int __open64_2(const char *name, int flags) { return open_file(AT_FDCWD, name, flags, 0); }
int __openat_2(int folder, const char *name, int flags) { return open_file(folder, name, flags, 0); }
int __openat64_2(int folder, const char *name, int flags) { return open_file(folder, name, flags, 0); }
int creat(const char *name, mode_t mode) { return open_file(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

static int may_read(int file)
{
    char path[PATH_MAX];
    if (!root_length || !(watched >> READ & 1) || !path_of(file, path))
        return 1;
    int result = comes(READ, path) >= 0;
    if (result)
        note(READ, path, "", 0, 0, "", 0);
    done();
    return result;
}
ssize_t read(int file, void *bytes, size_t size) { return may_read(file) ? syscall(SYS_read, file, bytes, size) : -1; }
ssize_t pread(int file, void *bytes, size_t size, off_t offset)
{
    return may_read(file) ? syscall(SYS_pread64, file, bytes, size, offset) : -1;
}
ssize_t pread64(int file, void *bytes, size_t size, off_t offset) { return pread(file, bytes, size, offset); }

static int is_network(int socket)
{
    int domain = 0;
    socklen_t length = sizeof domain;
    return root_length && !getsockopt(socket, SOL_SOCKET, SO_DOMAIN, &domain, &length) && domain == AF_INET;
}

ssize_t sendto(int socket, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t length)
{
    if (!is_network(socket))
        return syscall(SYS_sendto, socket, bytes, size, flags, to, length);
    ssize_t result = -1;
    if (comes(SEND, "") >= 0) {
        result = syscall(SYS_sendto, socket, bytes, size, flags, to, length);
        note(SEND, "", "", 0, result, "", 0);
    }
    done();
    return result;
}
ssize_t send(int socket, const void *bytes, size_t size, int flags) { return sendto(socket, bytes, size, flags, NULL, 0); }

/* What has come from the network is on its way up: the moment before anybody has seen it. */
static ssize_t came(int socket, ssize_t size)
{
    int kept = errno;
    if (size >= 0 && is_network(socket)) {
        if (comes(RECV, "") < 0)
            size = -1, kept = error;
        else
            note(RECV, "", "", 0, size, "", 0);
        done();
    }
    errno = kept;
    return size;
}
ssize_t recvfrom(int socket, void *bytes, size_t size, int flags, struct sockaddr *from, socklen_t *length)
{
    return came(socket, syscall(SYS_recvfrom, socket, bytes, size, flags, from, length));
}
ssize_t recv(int socket, void *bytes, size_t size, int flags) { return recvfrom(socket, bytes, size, flags, NULL, NULL); }

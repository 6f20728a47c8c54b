/* Defects put into a real gateway on purpose, from outside: production has no switch for them. Preloaded; the
 * environment's ROLLCALL_DEFECT says which. Of files only the journal's are meant, by their names.
 *
 *   ack-before-fsync   a sync returns at once, and is done two seconds later
 *   sled-flush         a sync is sync_file_range(), and files are not written before their first use, as with sled 0.34
 *   ack-before-append  a write returns at once, and is done 150 ms later
 *   fail-sync          a sync fails with EIO while the file named by ROLLCALL_DEFECT_WHILE is there
 *   in-step            the kernel calls its clock in step with a time server while that file is there, and not otherwise
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <unistd.h>

enum { IN_STEP_US = 20000, OUT_OF_STEP_US = 16000000, SYNC_LATER_US = 2000000, WRITE_LATER_US = 150000, LOOK_EVERY_US = 1000, ZEROS = 65536 };

struct job {
    int file;
    off64_t at;
    size_t count;
    unsigned char bytes[];
};

static atomic_int waiting;

static int defect(const char *name)
{
    const char *chosen = getenv("ROLLCALL_DEFECT");
    return chosen != NULL && strcmp(chosen, name) == 0;
}

static int of_journal(int file)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) {
        return 0;
    }
    path[length] = 0;
    return strstr(path, "/journal/") != NULL;
}

static int all_zero(const unsigned char *bytes, size_t count)
{
    return count >= ZEROS && bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static void in_background(void *(*work)(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, argument) != 0) {
        abort();
    }
    pthread_detach(thread);
}

static void *sync_later(void *argument)
{
    int (*really)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int file = (int)(long)argument;
    usleep(SYNC_LATER_US);
    really(file);
    close(file);
    return NULL;
}

static void *write_later(void *argument)
{
    ssize_t (*really)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    struct job *job = argument;
    usleep(WRITE_LATER_US);
    if (really(job->file, job->bytes, job->count, job->at) != (ssize_t)job->count) {
        abort();
    }
    close(job->file);
    free(job);
    atomic_fetch_sub(&waiting, 1);
    return NULL;
}

static int sign_is_there(void)
{
    const char *sign = getenv("ROLLCALL_DEFECT_WHILE");
    return sign != NULL && access(sign, F_OK) == 0;
}

int adjtimex(struct timex *told)
{
    int state = (int)syscall(SYS_adjtimex, told);
    if (!defect("in-step")) {
        return state;
    }
    told->maxerror = sign_is_there() ? IN_STEP_US : OUT_OF_STEP_US;
    return TIME_OK;
}

int fdatasync(int file)
{
    int (*really)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    if (!of_journal(file)) {
        return really(file);
    }
    if (defect("ack-before-fsync")) {
        in_background(sync_later, (void *)(long)dup(file));
        return 0;
    }
    if (defect("sled-flush")) {
        return sync_file_range(file, 0, 0,
                               SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    }
    if (defect("ack-before-append")) {
        return 0;
    }
    if (defect("fail-sync") && sign_is_there()) {
        errno = EIO;
        return -1;
    }
    return really(file);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at)
{
    ssize_t (*really)(int, const void *, size_t, off64_t) =
        (ssize_t (*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (!of_journal(file)) {
        return really(file, bytes, count, at);
    }
    if (defect("sled-flush") && all_zero(bytes, count)) {
        return (ssize_t)count;
    }
    if (!defect("ack-before-append") || all_zero(bytes, count)) {
        return really(file, bytes, count, at);
    }
    struct job *job = malloc(sizeof *job + count);
    if (job == NULL) {
        abort();
    }
    job->file = dup(file);
    job->at = at;
    job->count = count;
    memcpy(job->bytes, bytes, count);
    atomic_fetch_add(&waiting, 1);
    in_background(write_later, job);
    return (ssize_t)count;
}

/* What was said to be written must be there for who reads it in the same life. */
ssize_t pread64(int file, void *bytes, size_t count, off64_t at)
{
    ssize_t (*really)(int, void *, size_t, off64_t) =
        (ssize_t (*)(int, void *, size_t, off64_t))dlsym(RTLD_NEXT, "pread64");
    while (atomic_load(&waiting) > 0) {
        usleep(LOOK_EVERY_US);
    }
    return really(file, bytes, count, at);
}

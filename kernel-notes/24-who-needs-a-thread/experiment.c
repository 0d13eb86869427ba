/* Which operations does the kernel give to its worker threads (io-wq)? */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct io_uring ring;

static char bytes[4096];

static int failed;

static void claim(bool holds, const char *text)
{
	printf("claim: %s: %s\n", text, holds ? "holds" : "DOES NOT HOLD");
	failed |= !holds;
}

/* A precondition that is not under test. If it is missing the program ends here: with 77,
 * or with 1 if a claim has failed already. */
static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("cannot be judged here without %s: %s\n", what, strerror(errno));
	exit(failed ? 1 : 77);
}

/* The flags of src/io/ringsetup.c. */
static void open_ring(unsigned entries, unsigned cq_entries)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
			 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
		.cq_entries = cq_entries,
	};

	errno = -io_uring_queue_init_params(entries, &ring, &params);
	need(errno == 0, "io_uring_setup");
	for (unsigned i = 0; i < ring.sq.ring_entries; i++)
		ring.sq.array[i] = i;
}

static struct io_uring_sqe *entry(uint8_t opcode, int fd, uint64_t id)
{
	unsigned tail = *ring.sq.ktail;
	struct io_uring_sqe *sqe = &ring.sq.sqes[tail & ring.sq.ring_mask];

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = fd;
	sqe->user_data = id;
	__atomic_store_n(ring.sq.ktail, tail + 1, __ATOMIC_RELEASE);
	return sqe;
}

/* One io_uring_enter, which submits all entries written so far. */
static int enter(unsigned wait_n, unsigned timeout_ms, unsigned flags)
{
	struct __kernel_timespec ts = { .tv_sec = timeout_ms / 1000,
					.tv_nsec = timeout_ms % 1000 * 1000000ll };
	struct io_uring_getevents_arg arg = { .sigmask_sz = _NSIG / 8,
					      .ts = (uintptr_t)&ts };
	unsigned taken = __atomic_load_n(ring.sq.khead, __ATOMIC_ACQUIRE);

	return io_uring_enter2((unsigned)ring.ring_fd, *ring.sq.ktail - taken, wait_n,
			       flags | IORING_ENTER_EXT_ARG, (sigset_t *)(void *)&arg,
			       sizeof(arg));
}

/* Takes the oldest completion, without a system call. */
static bool take(struct io_uring_cqe *cqe)
{
	unsigned head = *ring.cq.khead;

	if (head == __atomic_load_n(ring.cq.ktail, __ATOMIC_ACQUIRE))
		return false;
	*cqe = ring.cq.cqes[head & ring.cq.ring_mask];
	__atomic_store_n(ring.cq.khead, head + 1, __ATOMIC_RELEASE);
	return true;
}

static int listen_somewhere(struct sockaddr_in *at)
{
	socklen_t len = sizeof(*at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	*at = (struct sockaddr_in){ .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	need(fd >= 0 && bind(fd, (struct sockaddr *)at, len) == 0 &&
		     listen(fd, 128) == 0 &&
		     getsockname(fd, (struct sockaddr *)at, &len) == 0,
	     "a listener on 127.0.0.1");
	return fd;
}

/* pair[0] is the accepted socket, pair[1] the connecting one. */
static void tcp_pair(int pair[2])
{
	struct sockaddr_in at;
	int listener = listen_somewhere(&at);

	pair[1] = socket(AF_INET, SOCK_STREAM, 0);
	need(connect(pair[1], (struct sockaddr *)&at, sizeof(at)) == 0, "connect");
	pair[0] = accept(listener, NULL, NULL);
	need(pair[0] >= 0, "accept");
	close(listener);
}

/* The number of io-wq threads of this process: their names begin with iou-wrk. */
static int threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *d;
	int n = 0;

	need(dir != NULL, "/proc/self/task");
	while ((d = readdir(dir))) {
		char path[300], name[32] = "";
		int fd;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", d->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read(fd, name, sizeof(name) - 1) > 0)
			n += strncmp(name, "iou-wrk", 7) == 0;
		close(fd);
	}
	closedir(dir);
	return n;
}

/* Runs a test in a child process, because threads stay for some seconds after their
 * work. */
static void in_child(void (*test)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	need(pid >= 0, "fork");
	if (pid == 0) {
		open_ring(16, 64);
		test();
		fflush(stdout);
		_exit(failed);
	}
	waitpid(pid, &status, 0);
	need(WIFEXITED(status), "a child");
	if (WEXITSTATUS(status) == 77)
		exit(failed ? 1 : 77);
	failed |= WEXITSTATUS(status);
}

static struct io_uring_sqe *with_bytes(uint8_t opcode, int fd, unsigned len)
{
	struct io_uring_sqe *sqe = entry(opcode, fd, 1);

	sqe->addr = (uintptr_t)bytes;
	sqe->len = len;
	return sqe;
}

/* Submits the entries written so far. Returns the result of operation 1, or -ETIME;
 * *seen: the number of threads then. */
static int result(int *seen)
{
	struct io_uring_cqe cqe;
	int res = -ETIME;

	enter(1, 50, IORING_ENTER_GETEVENTS);
	*seen = threads();
	while (take(&cqe))
		if (cqe.user_data == 1)
			res = cqe.res;
	return res;
}

static bool without_thread(int expected)
{
	int seen, res = result(&seen);

	if (res != expected || seen != 0)
		printf("note: result %d, %d threads\n", res, seen);
	return res == expected && seen == 0;
}

/* The operations of a connection's life. */
static void connection_life(void)
{
	struct sockaddr_in at;
	int listener = listen_somewhere(&at), client, pair[2];
	int event = eventfd(0, EFD_CLOEXEC);
	struct io_uring_sqe *sqe;
	bool as_expected = true;

	entry(IORING_OP_ACCEPT, listener, 1);
	as_expected &= without_thread(-ETIME);
	client = socket(AF_INET, SOCK_STREAM, 0);
	sqe = entry(IORING_OP_CONNECT, client, 2);
	sqe->addr = (uintptr_t)&at;
	sqe->off = sizeof(at);
	enter(2, 1000, IORING_ENTER_GETEVENTS);
	as_expected &= threads() == 0 && io_uring_cq_ready(&ring) == 2;
	result(&pair[0]);
	claim(as_expected, "a waiting accept and a connect need no thread");

	tcp_pair(pair);
	with_bytes(IORING_OP_RECV, pair[0], 64);
	as_expected = without_thread(-ETIME);
	with_bytes(IORING_OP_SEND, pair[1], 64)->user_data = 2;
	as_expected &= without_thread(64);
	claim(as_expected, "a waiting receive and a send need no thread");
	with_bytes(IORING_OP_READ, event, 8);
	claim(without_thread(-ETIME), "a waiting read of an eventfd needs no thread");
	entry(IORING_OP_ASYNC_CANCEL, -1, 2)->addr = 1;
	as_expected = without_thread(-ECANCELED);
	entry(IORING_OP_CLOSE, pair[0], 1);
	as_expected &= without_thread(0);
	claim(as_expected, "a cancel and the close of a socket need no thread");
	close(pair[1]);
	close(client);
	close(listener);
	close(event);
}

static void shut_down(void)
{
	int pair[2], seen, res;

	tcp_pair(pair);
	entry(IORING_OP_SHUTDOWN, pair[0], 1)->len = SHUT_WR;
	res = result(&seen);
	claim(res == 0 && seen == 1, "a shutdown is given to a thread");
}

static void forced_async(void)
{
	int pair[2], seen, res;

	tcp_pair(pair);
	with_bytes(IORING_OP_SEND, pair[1], 64)->flags = IOSQE_ASYNC;
	res = result(&seen);
	claim(res == 64 && seen == 1, "a send with IOSQE_ASYNC is given to a thread");
}

static char fifo[64];

/* Opening a fifo blocks until it has a writer. Two opens that block need a thread
 * each. */
/* The number of threads for two opens of a fifo, 200 ms after the expected number was
 * there. On a busy machine the first thread can take some time. */
static int threads_for_two(int expected)
{
	int seen, writer;

	snprintf(fifo, sizeof(fifo), "/tmp/fairlead-note-%d", getpid());
	need(mkfifo(fifo, 0600) == 0, "a fifo in /tmp");
	for (int i = 0; i < 2; i++) {
		struct io_uring_sqe *sqe = entry(IORING_OP_OPENAT, AT_FDCWD, 3);

		sqe->addr = (uintptr_t)fifo;
		sqe->open_flags = O_RDONLY | O_CLOEXEC;
		sqe->flags = IOSQE_ASYNC;
	}
	result(&seen);
	for (int i = 0; i < 2000 && seen < expected; i++) {
		usleep(5000);
		seen = threads();
	}
	usleep(200000);
	seen = threads();
	writer = open(fifo, O_RDWR | O_CLOEXEC);
	enter(2, 2000, IORING_ENTER_GETEVENTS);
	close(writer);
	unlink(fifo);
	return seen;
}

static void two_threads(void)
{
	claim(threads_for_two(2) == 2, "two operations that block have two threads");
}

static void one_thread(void)
{
	unsigned most[2] = { 1, 1 };

	need(io_uring_register_iowq_max_workers(&ring, most) == 0, "a limit of threads");
	claim(threads_for_two(1) == 1,
	      "with a limit of one thread the second operation waits for it");
}

static void to_pipe(void)
{
	int fds[2];

	need(pipe(fds) == 0, "pipe");
	with_bytes(IORING_OP_WRITE, fds[1], 64)->off = UINT64_MAX;
	claim(without_thread(64), "a write to a pipe with space needs no thread");
}

/* The result depends on the file system, so it is a note. */
static void to_file(void)
{
	char path[64];
	int fd, seen, res;

	snprintf(path, sizeof(path), "/tmp/fairlead-note-%d", getpid());
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0600);
	need(fd >= 0, "a file in /tmp");
	with_bytes(IORING_OP_WRITE, fd, 64)->off = UINT64_MAX;
	res = result(&seen);
	printf("note: a write to a file in /tmp: %d bytes, %d threads\n", res, seen);
	unlink(path);
}

int main(void)
{
	in_child(connection_life);
	in_child(shut_down);
	in_child(forced_async);
	in_child(two_threads);
	in_child(one_thread);
	in_child(to_pipe);
	in_child(to_file);
	return failed;
}

#include "contract.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/sim.h"

/* ---- waking and waiting ----------------------------------------------------- */

static void *wake_later(void *loop)
{
	usleep(20000);
	io_wake(loop);
	return NULL;
}

static void wake_from_thread(struct rig *r)
{
	for (unsigned i = 0; i < 3; i++) {
		pthread_t thread;

		CHECK(r, pthread_create(&thread, NULL, wake_later, r->loop) == 0);
		CHECK(r, rig_wait(r, UINT64_MAX) == 0);
		pthread_join(thread, NULL);
	}
	rig_settle(r);
}

/* A wake ends the next wait; several wakes end only one. */
static void wake_before_wait(struct rig *r)
{
	uint64_t begun;

	for (unsigned i = 0; i < 3; i++) {
		for (unsigned n = 0; n <= 10 * i; n++)
			io_wake(r->loop);
		CHECK(r, rig_wait(r, UINT64_MAX) == 0);
		rig_wait(r, 0);
		begun = io_now_us(r->loop);
		rig_wait(r, 20000);
		CHECK(r, io_now_us(r->loop) - begun >= 18000);
	}
}

/* A wake together with other events: their done() calls come too. */
static void wake_among_others(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);

	reader_start(rd, pair.b, 1u << 20);
	for (unsigned i = 0; i < 20; i++) {
		writer_send(w, pair.a, 100, 1, 0);
		io_wake(r->loop);
		PUMP(r, !writer_busy(w) && rd->at == w->at);
	}
	pair_close(r, &pair);
	PUMP(r, !rd->p->busy);
	reader_free(rd);
	writer_free(w);
}

/* Checks that a wait never ends early. Whether it ends late can be seen only when no
 * other process has the CPU: up to 20 attempts. */
static void check_wait_duration(struct rig *r, uint64_t us, uint64_t least_us,
				uint64_t most_us)
{
	for (unsigned tries = 1;; tries++) {
		uint64_t begun = io_now_us(r->loop), took;

		CHECK(r, rig_wait(r, us) == 0);
		took = io_now_us(r->loop) - begun;
		CHECK(r, took >= least_us);
		if (took < most_us)
			return;
		CHECK(r, tries < 20);
	}
}

static uint64_t real_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void timeouts(struct rig *r)
{
	uint64_t wall = io_wall_ms(r->loop);

	rig_wait(r, 0);
	check_wait_duration(r, 0, 0, 100000);
	for (unsigned i = 1; i <= 3; i++)
		check_wait_duration(r, 15000 * i, 14000 * i, 15000 * i + 500000);
	check_wait_duration(r, 300, 200, 100000); /* also less than a millisecond */
	CHECK(r, io_wall_ms(r->loop) >= wall + 60);
	if (r->kind == IO_ENGINE_SIM)
		return;
	wall = real_wall_ms();
	rig_wait(r, 0);
	CHECK(r, io_wall_ms(r->loop) >= wall && io_wall_ms(r->loop) <= real_wall_ms());
}

/* ---- writing to files and pipes --------------------------------------------- */

/* The destination of io_write(), and the bytes read back from it. In the simulation `to`
 * is an arbitrary number. */
struct drain {
	int to, from;
	char *seen;
	size_t seen_n, capacity;
};

static void drain_pipe(struct rig *r, struct drain *s, size_t capacity)
{
	int fds[2] = { -1, 7 };

	if (r->kind != IO_ENGINE_SIM)
		CHECK(r, pipe2(fds, O_CLOEXEC) == 0 &&
				 fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
	*s = (struct drain){ .to = fds[1], .from = fds[0], .capacity = capacity };
	s->seen = malloc(capacity);
	CHECK(r, s->seen);
}

static void drain_file(struct rig *r, struct drain *s, size_t capacity)
{
	char path[] = "/tmp/contract.XXXXXX";

	*s = (struct drain){
		.to = 8, .from = -1, .seen = malloc(capacity), .capacity = capacity
	};
	CHECK(r, s->seen);
	if (r->kind == IO_ENGINE_SIM)
		return;
	s->from = mkostemp(path, O_CLOEXEC);
	s->to = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
	CHECK(r, s->from >= 0 && s->to >= 0);
	unlink(path);
}

static void drain_read(struct rig *r, struct drain *s)
{
	const char *bytes;
	ssize_t n;

	if (r->kind == IO_ENGINE_SIM) {
		bytes = sim_written(r->loop, s->to, &s->seen_n);
		CHECK(r, s->seen_n <= s->capacity);
		if (s->seen_n > 0)
			memcpy(s->seen, bytes, s->seen_n);
		return;
	}
	while ((n = read(s->from, s->seen + s->seen_n, s->capacity - s->seen_n)) > 0)
		s->seen_n += (size_t)n;
}

static void drain_done(struct rig *r, struct drain *s)
{
	if (r->kind != IO_ENGINE_SIM) {
		close(s->to);
		if (s->from >= 0)
			close(s->from);
	}
	free(s->seen);
}

static void write_some(struct rig *r, struct drain *s)
{
	struct op_probe *p = probe_new(r);
	char bytes[3000];
	size_t at = 0;

	for (unsigned i = 0; i < 10; i++) {
		size_t n = 1 + rig_random(r, sizeof(bytes));

		stream_fill(1, at, bytes, n);
		probe_write(p, s->to, bytes, n);
		at += n;
		PUMP(r, !p->busy);
		CHECK(r, p->res == (int)n);
		memset(bytes, 0, sizeof(bytes));
	}
	drain_read(r, s);
	CHECK(r, s->seen_n == at && stream_is(1, 0, s->seen, at));
	drain_done(r, s);
}

static void write_pipe(struct rig *r)
{
	struct drain s;

	drain_pipe(r, &s, 65536);
	write_some(r, &s);
}

static void write_file(struct rig *r)
{
	struct drain s;

	drain_file(r, &s, 65536);
	write_some(r, &s);
}

/* Two writes at once: in either order, but not mixed. */
static void write_two_at_once(struct rig *r)
{
	struct op_probe *a = probe_new(r), *b = probe_new(r);
	struct drain s;

	drain_file(r, &s, 100);
	probe_write(a, s.to, "aaaaaaaaaa", 10);
	probe_write(b, s.to, "bbbbbbbbbb", 10);
	PUMP(r, !a->busy && !b->busy);
	CHECK(r, a->res == 10 && b->res == 10);
	drain_read(r, &s);
	CHECK(r, s.seen_n == 20 && (memcmp(s.seen, "aaaaaaaaaabbbbbbbbbb", 20) == 0 ||
				    memcmp(s.seen, "bbbbbbbbbbaaaaaaaaaa", 20) == 0));
	drain_done(r, &s);
}

/* A full pipe delays the write, and nothing else. */
static void write_full_pipe(struct rig *r)
{
	size_t len = 1u << 20;
	struct sock_pair pair = pair_open(r);
	struct op_probe *p = probe_new(r);
	struct stream_writer *w = writer_new(r, 1);
	struct stream_reader *rd = reader_new(r, 1);
	char *bytes = malloc(len);
	struct drain s;

	CHECK(r, bytes);
	drain_pipe(r, &s, len);
	stream_fill(2, 0, bytes, len);
	probe_write(p, s.to, bytes, len);
	reader_start(rd, pair.b, 1u << 20);
	for (unsigned i = 0; i < 5; i++) {
		writer_send(w, pair.a, 1000, 1, 0);
		PUMP(r, !writer_busy(w) && rd->at == w->at);
	}
	while (p->busy || s.seen_n < len) {
		drain_read(r, &s);
		rig_wait(r, 2000);
	}
	CHECK(r, p->res == (int)len && stream_is(2, 0, s.seen, len));
	drain_done(r, &s);
	pair_close(r, &pair);
	PUMP(r, !rd->p->busy);
	free(bytes);
	reader_free(rd);
	writer_free(w);
}

static void write_without_reader(struct rig *r)
{
	struct op_probe *p = probe_new(r);
	struct drain s;

	drain_pipe(r, &s, 10);
	close(s.from);
	s.from = -1;
	probe_write(p, s.to, "hello", 5);
	PUMP(r, !p->busy);
	CHECK(r, p->res == -EPIPE);
	drain_done(r, &s);
}

/* ---- counters --------------------------------------------------------------- */

/* The counters after 50 requests and responses of one byte on one connection. */
static void stats(struct rig *r)
{
	struct sock_pair pair = pair_open(r);
	struct stream_writer *w[2] = { writer_new(r, 1), writer_new(r, 2) };
	struct stream_reader *rd[2] = { reader_new(r, 1), reader_new(r, 2) };
	struct io_stats before = *io_stats(r->loop), *now = io_stats(r->loop);
	uint64_t waits = r->waits;
	unsigned n = 50;

	reader_start(rd[0], pair.b, 1u << 20);
	reader_start(rd[1], pair.a, 1u << 20);
	for (unsigned i = 0; i < n; i++) {
		writer_send(w[0], pair.a, 1, 1, 0);
		PUMP(r, rd[0]->at == w[0]->at && !writer_busy(w[0]));
		writer_send(w[1], pair.b, 1, 1, 0);
		PUMP(r, rd[1]->at == w[1]->at && !writer_busy(w[1]));
	}
	CHECK(r, now->enters - before.enters == r->waits - waits);
	CHECK(r, now->syscalls - before.syscalls >= now->enters - before.enters);
	CHECK(r, now->completions - before.completions >= 2 * n);
	CHECK(r, now->recv_arms - before.recv_arms >= 2);
	CHECK(r, now->recv_arms - before.recv_arms < (rig_receives_many_times(r) ? n : 2 * n + 3));
	CHECK(r, now->buffer_shortages == 0 && now->overflows == 0 && now->accept_errors == 0);
	CHECK(r, now->short_sends == 0 && now->cancels == before.cancels);
	probe_cancel(rd[0]->p);
	probe_cancel(rd[1]->p);
	PUMP(r, r->busy == 0);
	CHECK(r, now->cancels == before.cancels + 2);
	pair_close(r, &pair);
	for (unsigned i = 0; i < 2; i++) {
		reader_free(rd[i]);
		writer_free(w[i]);
	}
}

/* ---- only for the simulation ------------------------------------------------ */

#define TRACE_N 5u

/* The hash of all done() calls of some connections, with their times. */
static uint64_t run_trace(const struct rig *like, uint64_t seed)
{
	struct sock_pair pair[TRACE_N];
	struct stream_writer *w[TRACE_N];
	struct stream_reader *rd[TRACE_N];
	struct rig r;

	rig_open(&r, like->case_, like->kind, seed);
	r.random = like->random;
	for (unsigned i = 0; i < TRACE_N; i++) {
		pair[i] = pair_open(&r);
		w[i] = writer_new(&r, i);
		rd[i] = reader_new(&r, i);
		reader_start(rd[i], pair[i].b, 20000);
		writer_send(w[i], pair[i].a, 50000, 3, i % 2);
	}
	for (unsigned i = 0; i < TRACE_N; i++) {
		PUMP(&r, rd[i]->at == 50000);
		pair_close(&r, &pair[i]);
	}
	PUMP(&r, r.busy == 0);
	for (unsigned i = 0; i < TRACE_N; i++) {
		reader_free(rd[i]);
		writer_free(w[i]);
	}
	rig_close(&r);
	rig_running = like;
	return r.trace;
}

static void seed_gives_same_run(struct rig *r)
{
	CHECK(r, run_trace(r, r->seed) == run_trace(r, r->seed));
	CHECK(r, run_trace(r, r->seed) != run_trace(r, r->seed + 1));
}

/* A wait without limit and without any event that could end it fails an assertion. */
static void hang_is_detected(struct rig *r)
{
	int status;
	pid_t pid = fork();

	CHECK(r, pid >= 0);
	if (pid == 0) {
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		io_wait(r->loop, UINT64_MAX);
		_exit(0);
	}
	CHECK(r, waitpid(pid, &status, 0) == pid);
	CHECK(r, WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

#define CASE(function, where)                                        \
	{                                                            \
		.name = #function, .run = function, .engines = where \
	}

const struct case_ other_cases[] = {
	CASE(wake_from_thread, ON_REAL),
	CASE(wake_before_wait, ON_ALL),
	CASE(wake_among_others, ON_ALL),
	CASE(timeouts, ON_ALL),
	CASE(write_pipe, ON_ALL),
	CASE(write_file, ON_ALL),
	CASE(write_two_at_once, ON_ALL),
	CASE(write_full_pipe, ON_ALL),
	CASE(write_without_reader, ON_REAL),
	CASE(stats, ON_ALL),
	CASE(seed_gives_same_run, ON_SIM),
	CASE(hang_is_detected, ON_SIM),
};
const size_t other_cases_n = COUNT(other_cases);

/* Dials on each engine: each ends once, with one result, and leaves nothing behind. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/sim.h"
#include "io/sock.h"
#include "net/dial.h"

#define WINDOW (2 * BUF_BYTES)
/* Longer than a connect on this machine takes, however busy it is. */
#define LONG_MS 20000
/* Shorter than the second SYN of a connect whose first one was dropped. */
#define SHORT_MS 100
#define MANY 8

enum plan {
	PLAN_FINISH, /* the owner does what it should */
	PLAN_CANCEL, /* it cancels the dial when it gets the result */
	PLAN_AGAIN,  /* it connects to a second address when the first fails */
};

struct fixture {
	struct tick tick;
	enum io_engine_kind kind;
	struct timer alarm;
	int listener;
	struct sockaddr_storage address, refusing;
	socklen_t len;
	unsigned descriptors;
	/* Called between the completions and the tasks of each tick. */
	void (*between)(struct fixture *f);
	struct mail mail;
	struct caller {
		struct conn conn;
		struct task task;
		struct dial *dial;
		struct fixture *fixture;
		enum plan plan;
		unsigned results, opened, failed, deaths;
		enum dial_failure failure;
		int error;
	} callers[MANY];
};

static const enum io_engine_kind kinds[] = { IO_ENGINE_SIM, IO_ENGINE_EPOLL,
					     IO_ENGINE_RING };

/* ---- the owner of a dial ---------------------------------------------------- */

static void changed(struct conn *c)
{
	(void)c;
}

static void dead(struct conn *conn)
{
	struct caller *c = CONTAINER(conn, struct caller, conn);

	conn_check(conn);
	assert_null(c->dial);
	c->deaths++;
	task_stop(&c->task);
}

static const struct conn_events events = { .changed = changed, .dead = dead };

static void caller_failed(struct caller *c)
{
	c->failed++;
	c->failure = (enum dial_failure)c->dial->failure;
	c->error = c->dial->error;
	if (c->plan == PLAN_AGAIN) {
		c->plan = PLAN_FINISH;
		dial_again(c->dial, (struct sockaddr *)&c->fixture->address,
			   c->fixture->len);
	} else {
		dial_cancel(&c->dial);
	}
}

static void caller_step(struct task *task)
{
	struct caller *c = CONTAINER(task, struct caller, task);

	dial_check(c->dial);
	c->results++;
	assert_int_equal(c->deaths, 0);
	if (c->dial->state == DIAL_FAILED) {
		caller_failed(c);
		return;
	}
	assert_int_equal(c->dial->state, DIAL_OPENED);
	assert_int_equal(c->conn.state, CONN_OPEN);
	c->opened++;
	if (c->plan == PLAN_CANCEL)
		dial_cancel(&c->dial);
	else
		dial_finish(&c->dial);
}

static bool caller_dials(struct fixture *f, unsigned i, const struct sockaddr_storage *to,
			 uint32_t ms)
{
	struct caller *c = &f->callers[i];

	c->fixture = f;
	task_init(&c->task, caller_step);
	c->dial = dial_start(&f->tick, &(struct dial_options){
					       .conn = &c->conn,
					       .events = &events,
					       .window = WINDOW,
					       .address = (const struct sockaddr *)to,
					       .address_len = f->len,
					       .deadline_ms = f->tick.now_ms + ms,
					       .task = &c->task,
				       });
	return c->dial;
}

/* ---- the loop --------------------------------------------------------------- */

static void mail_came(struct mail *m)
{
	struct fixture *f = CONTAINER(m, struct fixture, mail);

	f->between(f);
}

static void run_once(struct fixture *f)
{
	if (f->between)
		mailbox_post(&f->tick.mailbox, &f->mail);
	tick_once(&f->tick);
	for (unsigned i = 0; i < MANY; i++)
		if (f->callers[i].dial)
			dial_check(f->callers[i].dial);
}

static void alarm_fired(struct timer *t)
{
	(void)t;
}

#define UNTIL(f, condition, ms)                                                    \
	do {                                                                       \
		timer_set(&(f)->tick.wheel, &(f)->alarm, (f)->tick.now_ms + (ms)); \
		while (!(condition) && timer_armed(&(f)->alarm))                   \
			run_once(f);                                               \
		timer_stop(&(f)->tick.wheel, &(f)->alarm);                         \
		assert_true(condition);                                            \
	} while (0)

static void run_for(struct fixture *f, uint32_t ms)
{
	timer_set(&f->tick.wheel, &f->alarm, f->tick.now_ms + ms);
	while (timer_armed(&f->alarm))
		run_once(f);
}

/* One tick, which waits for a moment only. */
static void run_briefly(struct fixture *f)
{
	timer_set(&f->tick.wheel, &f->alarm, f->tick.now_ms + 1);
	run_once(f);
	timer_stop(&f->tick.wheel, &f->alarm);
}

static unsigned open_descriptors(const struct fixture *f)
{
	unsigned n = 0;

	if (f->kind == IO_ENGINE_SIM)
		return sim_open_sockets(f->tick.loop);
	for (int fd = 0; fd < 1024; fd++)
		n += dup2(fd, fd) == fd;
	return n;
}

static int listen_at(struct fixture *f, struct sockaddr_storage *ss, unsigned port)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd;

	f->len = sizeof(in);
	if (f->kind == IO_ENGINE_SIM) {
		in.sin_port = htons((uint16_t)port);
		fd = sim_listen(f->tick.loop, (struct sockaddr *)&in, sizeof(in), 1);
	} else {
		fd = sock_listen((struct sockaddr *)&in, sizeof(in), 1, false);
		assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &f->len), 0);
	}
	assert_true(fd >= 0);
	memcpy(ss, &in, sizeof(in));
	return fd;
}

/* False: this system has no such engine. */
static bool fixture_open(struct fixture *f, enum io_engine_kind kind, uint64_t seed)
{
	struct io_options options = { .engine = kind, .buffers = 64, .seed = seed };
	int unused;

	memset(f, 0, sizeof(*f));
	f->kind = kind;
	if (tick_init(&f->tick, &options) < 0) {
		assert_int_equal(kind, IO_ENGINE_RING);
		return false;
	}
	timer_init(&f->alarm, alarm_fired);
	f->mail.deliver = mail_came;
	f->listener = listen_at(f, &f->address, 1000);
	unused = listen_at(f, &f->refusing, 1001);
	io_close(f->tick.loop, unused);
	run_for(f, 20);
	f->descriptors = open_descriptors(f);
	return true;
}

static unsigned deaths(const struct fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i++)
		n += f->callers[i].deaths;
	return n;
}

/* Each caller that has dialled dies once, and nothing is left of its dial. */
static void fixture_close(struct fixture *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MANY; i++) {
		struct caller *c = &f->callers[i];

		n += c->fixture != NULL;
		if (c->dial)
			dial_cancel(&c->dial);
		else if (c->opened && c->conn.state == CONN_OPEN)
			conn_close(&c->conn, CONN_NOW, 0);
	}
	UNTIL(f, deaths(f) == n, LONG_MS);
	f->between = NULL;
	run_for(f, 20);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(f->callers[i].deaths, f->callers[i].fixture != NULL);
	assert_int_equal(f->tick.dials.taken, 0);
	/* What nobody has accepted goes with its listener. */
	io_close(f->tick.loop, f->listener);
	run_for(f, 20);
	assert_int_equal(open_descriptors(f), f->descriptors - 1);
	tick_done(&f->tick);
}

static void each_engine(void (*test)(struct fixture *f))
{
	for (unsigned i = 0; i < COUNT(kinds); i++) {
		for (uint64_t seed = 1; seed <= (kinds[i] == IO_ENGINE_SIM ? 50 : 3);
		     seed++) {
			static struct fixture f;

			if (!fixture_open(&f, kinds[i], seed))
				break;
			test(&f);
			fixture_close(&f);
		}
	}
}

/* ---- results ---------------------------------------------------------------- */

static void opens(struct fixture *f)
{
	struct caller *c = &f->callers[0];

	assert_true(caller_dials(f, 0, &f->address, LONG_MS));
	assert_int_equal(c->dial->state, DIAL_CONNECTING);
	UNTIL(f, c->results > 0, LONG_MS);
	assert_int_equal(c->opened, 1);
	assert_null(c->dial);
	run_for(f, 20);
	assert_int_equal(c->results, 1);
	assert_int_equal(c->deaths, 0);
}

static void test_opens(void **state)
{
	(void)state;
	each_engine(opens);
}

static void is_refused(struct fixture *f)
{
	struct caller *c = &f->callers[0];

	assert_true(caller_dials(f, 0, &f->refusing, LONG_MS));
	UNTIL(f, c->deaths > 0, LONG_MS);
	assert_int_equal(c->failure, DIAL_REFUSED);
	assert_int_equal(c->error, -ECONNREFUSED);
	run_for(f, 20);
	assert_int_equal(c->results, 1);
}

static void test_is_refused(void **state)
{
	(void)state;
	each_engine(is_refused);
}

/* The conn lives on from one address to the next, and so does the deadline. */
static void dials_again(struct fixture *f)
{
	struct caller *c = &f->callers[0];

	c->plan = PLAN_AGAIN;
	assert_true(caller_dials(f, 0, &f->refusing, LONG_MS));
	UNTIL(f, c->results == 2, LONG_MS);
	assert_int_equal(c->failed, 1);
	assert_int_equal(c->opened, 1);
	assert_int_equal(c->deaths, 0);
}

static void test_dials_again(void **state)
{
	(void)state;
	each_engine(dials_again);
}

/* Nobody accepts, so SYNs are dropped once the backlog is full. */
static void times_out(struct fixture *f)
{
	unsigned opened = 0, late = 0;
	uint64_t began_ms = f->tick.now_ms;

	for (unsigned i = 0; i < MANY; i++)
		assert_true(caller_dials(f, i, &f->address, SHORT_MS));
	for (unsigned i = 0; i < MANY; i++) {
		struct caller *c = &f->callers[i];

		UNTIL(f, c->results > 0, LONG_MS);
		opened += c->opened;
		if (c->opened)
			continue;
		assert_int_equal(c->failure, DIAL_TIMEOUT);
		assert_int_equal(c->error, -ETIMEDOUT);
		assert_true(f->tick.now_ms >= began_ms + SHORT_MS);
		late++;
	}
	assert_true(opened > 0 && late > 0);
}

static void test_times_out(void **state)
{
	(void)state;
	each_engine(times_out);
}

/* ---- races ------------------------------------------------------------------ */

/* The op has completed, and the deadline passes before its result is looked at. */
static void expire_between(struct fixture *f)
{
	struct dial *d = f->callers[0].dial;

	if (!d || d->state != DIAL_CONNECTING || io_busy(&d->connect.op))
		return;
	assert_true(d->result >= 0);
	timer_stop(&f->tick.wheel, &d->timer);
	d->timer.expired(&d->timer);
	assert_int_equal(d->state, DIAL_EXPIRED);
}

static void connects_late(struct fixture *f)
{
	struct caller *c = &f->callers[0];

	f->between = expire_between;
	assert_true(caller_dials(f, 0, &f->address, LONG_MS));
	UNTIL(f, c->deaths > 0, LONG_MS);
	assert_int_equal(c->results, 1);
	assert_int_equal(c->opened, 0);
	assert_int_equal(c->failure, DIAL_TIMEOUT);
}

static void test_connects_late(void **state)
{
	(void)state;
	each_engine(connects_late);
}

static void cancel_between(struct fixture *f)
{
	struct dial *d = f->callers[0].dial;

	if (d && d->state == DIAL_CONNECTING && !io_busy(&d->connect.op))
		dial_cancel(&f->callers[0].dial);
}

static void cancelled_when_connected(struct fixture *f)
{
	f->between = cancel_between;
	assert_true(caller_dials(f, 0, &f->address, LONG_MS));
	UNTIL(f, f->callers[0].deaths > 0, LONG_MS);
	assert_int_equal(f->callers[0].results, 0);
}

/* At once, and after a tick or two, to an address that accepts and to one that refuses. */
static void cancelled_while_connecting(struct fixture *f)
{
	for (unsigned i = 0; i < MANY; i++) {
		struct caller *c = &f->callers[i];

		assert_true(
			caller_dials(f, i, i & 1 ? &f->address : &f->refusing, LONG_MS));
		for (unsigned k = 0; k < i / 2 && c->results == 0; k++)
			run_briefly(f);
		if (c->results > 0)
			continue;
		dial_cancel(&c->dial);
		assert_null(c->dial);
		UNTIL(f, c->deaths > 0, LONG_MS);
		assert_int_equal(c->results, 0);
	}
}

static void cancelled_when_open(struct fixture *f)
{
	f->callers[0].plan = PLAN_CANCEL;
	assert_true(caller_dials(f, 0, &f->address, LONG_MS));
	UNTIL(f, f->callers[0].deaths > 0, LONG_MS);
	assert_int_equal(f->callers[0].opened, 1);
	assert_int_equal(f->callers[0].results, 1);
}

static void cancel_expired(struct fixture *f)
{
	for (unsigned i = 0; i < MANY; i++)
		if (f->callers[i].dial && f->callers[i].dial->state == DIAL_EXPIRED)
			dial_cancel(&f->callers[i].dial);
}

static void cancelled_when_expired(struct fixture *f)
{
	unsigned cancelled = 0;

	for (unsigned i = 0; i < MANY; i++)
		assert_true(caller_dials(f, i, &f->address, SHORT_MS));
	for (uint64_t end_ms = f->tick.now_ms + 2 * SHORT_MS; f->tick.now_ms < end_ms;) {
		run_briefly(f);
		cancel_expired(f);
	}
	for (unsigned i = 0; i < MANY; i++) {
		cancelled += f->callers[i].results == 0;
		assert_int_equal(f->callers[i].failed, 0);
	}
	assert_true(cancelled > 0);
}

static void test_cancelled(void **state)
{
	(void)state;
	each_engine(cancelled_when_connected);
	each_engine(cancelled_while_connecting);
	each_engine(cancelled_when_open);
	each_engine(cancelled_when_expired);
}

/* ---- what we lack ----------------------------------------------------------- */

static void descriptors_end(struct fixture *f, struct rlimit *before)
{
	struct rlimit none;
	int next = dup(STDERR_FILENO);

	assert_true(next >= 0 && close(next) == 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, before), 0);
	none = *before;
	none.rlim_cur = (rlim_t)next;
	if (f->kind == IO_ENGINE_SIM)
		sim_set_faults(f->tick.loop, &(struct sim_faults){ .connects = 1 });
	else
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void no_descriptor(struct fixture *f)
{
	struct caller *c = &f->callers[0];
	struct rlimit limit;

	descriptors_end(f, &limit);
	assert_true(caller_dials(f, 0, &f->address, LONG_MS));
	UNTIL(f, c->deaths > 0, LONG_MS);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_int_equal(c->results, 1);
	assert_int_equal(c->failure, DIAL_NO_SOCKET);
	assert_int_equal(c->error, -EMFILE);
}

static void test_no_descriptor(void **state)
{
	(void)state;
	each_engine(no_descriptor);
}

/* The caller has its conn as before, and dials again later. */
static void no_memory(struct fixture *f)
{
	slab_fail_at(1);
	assert_false(caller_dials(f, 0, &f->address, LONG_MS));
	slab_fail_at(0);
	run_for(f, 20);
	assert_int_equal(f->callers[0].results + f->callers[0].deaths, 0);
	opens(f);
}

static void test_no_memory(void **state)
{
	(void)state;
	each_engine(no_memory);
}

/* ---- reasons ---------------------------------------------------------------- */

static void test_failures(void **state)
{
	static const struct {
		int error;
		enum dial_failure failure;
	} rows[] = {
		{ -ECONNREFUSED, DIAL_REFUSED },    { -ECONNRESET, DIAL_REFUSED },
		{ -ENOENT, DIAL_REFUSED },          { -EAGAIN, DIAL_REFUSED },
		{ -ETIMEDOUT, DIAL_REFUSED },       { -EACCES, DIAL_FORBIDDEN },
		{ -EPERM, DIAL_FORBIDDEN },         { -ENETUNREACH, DIAL_UNROUTABLE },
		{ -EHOSTUNREACH, DIAL_UNROUTABLE }, { -ENETDOWN, DIAL_UNROUTABLE },
		{ -EHOSTDOWN, DIAL_UNROUTABLE },    { -EAFNOSUPPORT, DIAL_UNROUTABLE },
		{ -EMFILE, DIAL_NO_SOCKET },        { -ENFILE, DIAL_NO_SOCKET },
		{ -ENOMEM, DIAL_NO_SOCKET },        { -ENOBUFS, DIAL_NO_SOCKET },
		{ -EADDRNOTAVAIL, DIAL_NO_SOCKET },
	};

	(void)state;
	for (unsigned i = 0; i < COUNT(rows); i++) {
		static struct fixture f;
		struct caller *c = &f.callers[0];

		assert_true(fixture_open(&f, IO_ENGINE_SIM, i));
		sim_set_faults(f.tick.loop,
			       &(struct sim_faults){ .connects = 1,
						     .connect_error = rows[i].error });
		assert_true(caller_dials(&f, 0, &f.address, LONG_MS));
		UNTIL(&f, c->deaths > 0, LONG_MS);
		assert_int_equal(c->failure, rows[i].failure);
		assert_int_equal(c->error, rows[i].error);
		fixture_close(&f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opens),         cmocka_unit_test(test_is_refused),
		cmocka_unit_test(test_dials_again),   cmocka_unit_test(test_times_out),
		cmocka_unit_test(test_connects_late), cmocka_unit_test(test_cancelled),
		cmocka_unit_test(test_no_descriptor), cmocka_unit_test(test_no_memory),
		cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

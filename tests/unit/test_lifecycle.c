#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/run/supervisor/lifecycle.h"
#include "base/check.h"
#include "base/random.h"

#define STATES (LIFECYCLE_ENDED + 1)

/* ---- transitions ------------------------------------------------------------ */

/* A row for each state, a column for each state that may follow; as lifecycle.h draws them,
 * in the order of the enum. */
static const char expected[STATES][STATES + 1] = {
	".xx...x.x", /* BEGINNING */
	"..xxxxxxx", /* IDLE */
	"...xx.xxx", /* PAUSED */
	".xx..xxxx", /* READING */
	".xx...xxx", /* TRYING */
	".xx....xx", /* APPLYING */
	".xxxx..xx", /* STARTING */
	"........x", /* DRAINING */
	".........", /* ENDED */
};

/* Whether the call, in a process of its own, fails an assertion. */
static bool aborts(void (*call)(const void *arg), const void *arg)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		close(STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		call(arg);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void set_state(const void *arg)
{
	const enum lifecycle_state *pair = arg;
	struct lifecycle l = { .state = pair[0] };

	lifecycle_set(&l, pair[1]);
	if (l.state != pair[1])
		_exit(1);
}

static void test_transitions(void **state)
{
	(void)state;
	for (unsigned from = 0; from < STATES; from++)
		for (unsigned to = 0; to < STATES; to++) {
			const enum lifecycle_state pair[] = { from, to };
			bool allowed = expected[from][to] == 'x';

			assert_int_equal(lifecycle_allows(from, to), allowed);
			assert_int_equal(aborts(set_state, pair), !allowed);
		}
}

/* ---- requests --------------------------------------------------------------- */

static void test_requests(void **state)
{
	struct lifecycle l = { .state = LIFECYCLE_READING };
	enum lifecycle_request r;

	(void)state;
	lifecycle_ask(&l, REQUEST_UPGRADE);
	lifecycle_ask(&l, REQUEST_RELOAD);
	lifecycle_ask(&l, REQUEST_RELOAD);
	lifecycle_ask(&l, REQUEST_REOPEN);
	assert_false(lifecycle_next(&l, &r));
	lifecycle_set(&l, LIFECYCLE_IDLE);
	assert_true(lifecycle_next(&l, &r) && r == REQUEST_RELOAD);
	/* One that arrives after its change has begun is another one. */
	lifecycle_set(&l, LIFECYCLE_READING);
	lifecycle_ask(&l, REQUEST_RELOAD);
	lifecycle_set(&l, LIFECYCLE_PAUSED);
	assert_true(lifecycle_next(&l, &r) && r == REQUEST_RELOAD);
	assert_true(lifecycle_next(&l, &r) && r == REQUEST_REOPEN);
	assert_true(lifecycle_next(&l, &r) && r == REQUEST_UPGRADE);
	assert_false(lifecycle_next(&l, &r));
}

static void test_each_state_keeps_requests(void **state)
{
	enum lifecycle_request r;

	(void)state;
	for (unsigned i = 0; i < STATES; i++) {
		struct lifecycle l = { .state = i };
		bool ends = i == LIFECYCLE_DRAINING || i == LIFECYCLE_ENDED;

		lifecycle_ask(&l, REQUEST_REOPEN);
		assert_int_equal(l.requests, ends ? 0 : 1u << REQUEST_REOPEN);
		assert_int_equal(lifecycle_next(&l, &r), lifecycle_at_rest(&l));
		assert_int_equal(lifecycle_at_rest(&l),
				 i == LIFECYCLE_IDLE || i == LIFECYCLE_PAUSED);
	}
}

static void test_draining_drops_requests(void **state)
{
	struct lifecycle l = { .state = LIFECYCLE_APPLYING };

	(void)state;
	lifecycle_ask(&l, REQUEST_UPGRADE);
	lifecycle_set(&l, LIFECYCLE_DRAINING);
	assert_int_equal(l.requests, 0);
}

/* ---- rest, check ------------------------------------------------------------ */

static const struct {
	enum lifecycle_state state;
	struct lifecycle_facts facts;
	enum lifecycle_state rest;
} rests[] = {
	{ LIFECYCLE_READING, { .serving = true }, LIFECYCLE_IDLE },
	{ LIFECYCLE_READING, { .pausing = true }, LIFECYCLE_PAUSED },
	{ LIFECYCLE_APPLYING, { .serving = true }, LIFECYCLE_IDLE },
	{ LIFECYCLE_APPLYING, { 0 }, LIFECYCLE_PAUSED },
	{ LIFECYCLE_STARTING, { .serving = true }, LIFECYCLE_IDLE },
	{ LIFECYCLE_STARTING, { .serving = true, .reading = true }, LIFECYCLE_READING },
	{ LIFECYCLE_STARTING, { .pausing = true, .reading = true }, LIFECYCLE_READING },
	{ LIFECYCLE_STARTING, { .serving = true, .trying = true }, LIFECYCLE_TRYING },
	{ LIFECYCLE_STARTING, { .pausing = true }, LIFECYCLE_PAUSED },
	/* The loader was killed while a process starts. */
	{ LIFECYCLE_STARTING, { .starting = true }, LIFECYCLE_STARTING },
	/* A request that could not begin. */
	{ LIFECYCLE_IDLE, { .serving = true }, LIFECYCLE_IDLE },
	{ LIFECYCLE_PAUSED, { .pausing = true }, LIFECYCLE_PAUSED },
};

static void test_rest(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rests); i++) {
		struct lifecycle l = { .state = rests[i].state };

		lifecycle_rest(&l, &rests[i].facts);
		assert_int_equal(l.state, rests[i].rest);
	}
}

struct lifecycle_row {
	struct lifecycle l;
	struct lifecycle_facts facts;
};

static void check(const void *arg)
{
	const struct lifecycle_row *s = arg;

	lifecycle_check(&s->l, &s->facts);
}

static const struct lifecycle_row sound[] = {
	{ { LIFECYCLE_IDLE, 0 }, { .serving = true } },
	{ { LIFECYCLE_PAUSED, 0 }, { .pausing = true } },
	{ { LIFECYCLE_READING, 1 }, { .serving = true, .reading = true } },
	{ { LIFECYCLE_READING, 0 }, { .pausing = true, .reading = true } },
	{ { LIFECYCLE_TRYING, 0 }, { .serving = true, .trying = true } },
	{ { LIFECYCLE_APPLYING, 3 }, { .serving = true, .applying = true } },
	{ { LIFECYCLE_STARTING, 0 }, { .starting = true } },
	{ { LIFECYCLE_STARTING, 1 }, { .starting = true, .serving = true } },
	{ { LIFECYCLE_STARTING, 0 }, { .starting = true, .reading = true } },
	{ { LIFECYCLE_STARTING, 0 }, { .starting = true, .trying = true } },
	{ { LIFECYCLE_DRAINING, 0 }, { .serving = true } },
	{ { LIFECYCLE_DRAINING, 0 }, { .starting = true } },
};

static const struct lifecycle_row contradictions[] = {
	{ { LIFECYCLE_BEGINNING, 0 }, { .serving = true } },
	{ { LIFECYCLE_IDLE, 1 }, { .serving = true } },
	{ { LIFECYCLE_IDLE, 0 }, { .pausing = true } },
	{ { LIFECYCLE_IDLE, 0 }, { .serving = true, .pausing = true } },
	{ { LIFECYCLE_IDLE, 0 }, { .serving = true, .reading = true } },
	{ { LIFECYCLE_IDLE, 0 }, { .serving = true, .starting = true } },
	{ { LIFECYCLE_PAUSED, 1 }, { .pausing = true } },
	{ { LIFECYCLE_PAUSED, 0 }, { .serving = true } },
	{ { LIFECYCLE_PAUSED, 0 }, { 0 } }, /* nothing would start a process */
	{ { LIFECYCLE_PAUSED, 0 }, { .pausing = true, .trying = true } },
	{ { LIFECYCLE_READING, 0 }, { .serving = true } },
	{ { LIFECYCLE_READING, 0 }, { .serving = true, .trying = true } },
	{ { LIFECYCLE_READING, 0 }, { .reading = true } },
	{ { LIFECYCLE_TRYING, 0 }, { .serving = true, .reading = true } },
	{ { LIFECYCLE_TRYING, 0 }, { .serving = true, .reading = true, .trying = true } },
	{ { LIFECYCLE_APPLYING, 0 }, { .serving = true } },
	{ { LIFECYCLE_APPLYING, 0 }, { .applying = true, .pausing = true } },
	{ { LIFECYCLE_APPLYING, 0 },
	  { .serving = true, .applying = true, .reading = true } },
	{ { LIFECYCLE_STARTING, 0 }, { .serving = true } },
	{ { LIFECYCLE_STARTING, 0 }, { .starting = true, .pausing = true } },
	{ { LIFECYCLE_STARTING, 0 }, { .starting = true, .applying = true } },
	{ { LIFECYCLE_DRAINING, 1 }, { .serving = true } },
	{ { LIFECYCLE_DRAINING, 0 }, { .serving = true, .reading = true } },
	{ { LIFECYCLE_DRAINING, 0 }, { .serving = true, .applying = true } },
	{ { LIFECYCLE_DRAINING, 0 }, { .pausing = true } },
	{ { LIFECYCLE_ENDED, 0 }, { 0 } },
};

static void test_check(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(sound); i++)
		check(&sound[i]);
	for (size_t i = 0; i < COUNT(contradictions); i++)
		if (!aborts(check, &contradictions[i]))
			fail_msg("contradiction %zu is accepted", i);
}

/* ---- any order of events ---------------------------------------------------- */

/* A supervisor without processes: what change.c and replace.c do with the lifecycle. */
struct lifecycle_model {
	struct lifecycle l;
	struct lifecycle_facts facts;
	bool loaded; /* the loader has a result */
	unsigned asked[4], begun[4];
};

static void rest(struct lifecycle_model *m)
{
	lifecycle_rest(&m->l, &m->facts);
}

static void start(struct lifecycle_model *m)
{
	m->facts.pausing = false;
	m->facts.starting = true;
	lifecycle_set(&m->l, LIFECYCLE_STARTING);
}

static void apply(struct lifecycle_model *m, unsigned dice)
{
	if (dice % 4 == 0) { /* it has errors */
		rest(m);
	} else if (!m->facts.serving || dice % 4 == 1) {
		start(m);
	} else {
		m->facts.applying = true;
		lifecycle_set(&m->l, LIFECYCLE_APPLYING);
	}
}

static void begin(struct lifecycle_model *m, enum lifecycle_request r, unsigned dice)
{
	m->begun[r]++;
	m->loaded = false;
	if (r == REQUEST_REOPEN) {
		apply(m, dice);
	} else if (dice % 8 != 0) {
		m->facts.reading = r == REQUEST_RELOAD || r == REQUEST_LOOK;
		m->facts.trying = r == REQUEST_UPGRADE;
		lifecycle_set(&m->l,
			      m->facts.reading ? LIFECYCLE_READING : LIFECYCLE_TRYING);
	}
}

static void settle(struct lifecycle_model *m, unsigned dice)
{
	bool was_read = m->facts.reading;
	enum lifecycle_request r;

	if (m->loaded &&
	    (m->l.state == LIFECYCLE_READING || m->l.state == LIFECYCLE_TRYING)) {
		m->loaded = m->facts.reading = m->facts.trying = false;
		if (was_read)
			apply(m, dice);
		else
			rest(m); /* the program cannot be executed */
	}
	while (lifecycle_next(&m->l, &r))
		begin(m, r, dice);
	lifecycle_check(&m->l, &m->facts);
}

static void serving_ended(struct lifecycle_model *m)
{
	m->facts.serving = m->facts.applying = false;
	m->facts.pausing = !m->facts.starting;
	rest(m);
}

static void starting_ended(struct lifecycle_model *m, bool ready)
{
	m->facts.starting = false;
	m->facts.serving |= ready;
	m->facts.pausing = !m->facts.serving;
	rest(m);
}

static void happen(struct lifecycle_model *m, unsigned event, unsigned dice)
{
	struct lifecycle_facts *f = &m->facts;

	if (event < 3 || event == 9) {
		event = event < 3 ? event : REQUEST_LOOK;
		lifecycle_ask(&m->l, (enum lifecycle_request)event);
		m->asked[event]++;
	} else if (event == 3 && f->serving) {
		serving_ended(m);
	} else if (event == 4 && f->starting) {
		starting_ended(m, dice & 1);
	} else if (event == 5 && f->pausing) {
		start(m);
	} else if (event == 6 && (f->reading || f->trying)) {
		m->loaded = true;
	} else if (event == 7 && f->applying) {
		f->applying = false;
		rest(m);
	} else if (event == 8 && (f->reading || f->trying) && !m->loaded) {
		f->reading = f->trying = false; /* overdue */
		rest(m);
	}
}

/* No order of events leads to a contradiction; in the end nothing waits, and no request was
 * lost. */
static void test_any_order(void **state)
{
	struct random random;

	(void)state;
	random_init(&random, 1);
	for (unsigned run = 0; run < 3000; run++) {
		struct lifecycle_model m = { 0 };

		start(&m);
		for (unsigned i = 0; i < 60; i++) {
			unsigned dice = (unsigned)random_next(&random);

			happen(&m, dice % 10, dice / 10);
			settle(&m, dice / 10);
		}
		for (unsigned i = 0; m.l.state != LIFECYCLE_IDLE; i++) {
			assert_true(i < 100);
			happen(&m, 4 + i % 4, 3);
			settle(&m, 3);
		}
		for (unsigned r = 0; r < 4; r++)
			assert_true(m.begun[r] <= m.asked[r] &&
				    !m.asked[r] == !m.begun[r]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transitions),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_each_state_keeps_requests),
		cmocka_unit_test(test_draining_drops_requests),
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

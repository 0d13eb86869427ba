/* contract [io_uring|epoll|sim] [SEED]: runs all cases on one engine, or on all three; on
 * the simulation with many seeds, or with the given one. */
#include "contract.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#define SIM_SEEDS 50u /* with the sanitizer each takes several times as long */
#else
#define SIM_SEEDS 200u
#endif
#define CASES_MAX 128u
#define CASE_SECONDS_MAX 120u

struct run {
	const struct case_ *case_;
	enum io_engine_kind kind;
	uint64_t seed_first, seed_end;
};

static uint64_t run_seed(const struct run *run, uint64_t seed)
{
	struct rig r;

	rig_open(&r, run->case_, run->kind, seed);
	run->case_->run(&r);
	rig_close(&r);
	return r.trace;
}

/* For cases that change limits of the process. */
static void run_in_child(const struct run *run, uint64_t seed)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		rig_in_child = true;
		alarm(CASE_SECONDS_MAX / 2);
		run_seed(run, seed);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void run_case(void **state)
{
	const struct run *run = *state;

	alarm(CASE_SECONDS_MAX);
	/* The same seed gives the same run, to the microsecond. */
	if (run->kind == IO_ENGINE_SIM)
		assert_true(run_seed(run, run->seed_first) ==
			    run_seed(run, run->seed_first));
	for (uint64_t seed = run->seed_first; seed < run->seed_end; seed++) {
		if (run->case_->in_child)
			run_in_child(run, seed);
		else
			run_seed(run, seed);
	}
	alarm(0);
	printf("%s %s ok\n", io_engine_name(run->kind), run->case_->name);
	fflush(stdout);
}

/* Prints the case that was running and exits. */
static void signal_came(int number)
{
	char text[160];
	int n;

	if (rig_running) {
		n = snprintf(text, sizeof(text), "%s %s seed %llu: %s\n",
			     io_engine_name(rig_running->kind), rig_running->case_->name,
			     (unsigned long long)rig_running->seed,
			     number == SIGALRM ? "took too long" : "aborted");
		if (write(STDERR_FILENO, text, (size_t)n) < 0)
			_exit(2);
	}
	_exit(1);
}

static size_t tests_add(struct CMUnitTest *tests, struct run *runs, size_t n,
			const struct case_ *cases, size_t cases_n, const struct run *like)
{
	for (size_t i = 0; i < cases_n; i++) {
		if (!(cases[i].engines & 1u << like->kind))
			continue;
		assert_true(n < CASES_MAX);
		runs[n] = *like;
		runs[n].case_ = &cases[i];
		tests[n] = (struct CMUnitTest){ .name = cases[i].name,
						.test_func = run_case,
						.initial_state = &runs[n] };
		n++;
	}
	return n;
}

static int run_engine(const struct run *like)
{
	struct CMUnitTest tests[CASES_MAX];
	struct run runs[CASES_MAX];
	size_t n = 0;

	n = tests_add(tests, runs, n, laws_cases, laws_cases_n, like);
	n = tests_add(tests, runs, n, streams_cases, streams_cases_n, like);
	n = tests_add(tests, runs, n, scarcity_cases, scarcity_cases_n, like);
	n = tests_add(tests, runs, n, other_cases, other_cases_n, like);
	n = tests_add(tests, runs, n, secured_cases, secured_cases_n, like);
	return _cmocka_run_group_tests(io_engine_name(like->kind), tests, n, NULL, NULL);
}

/* Two sockets for each of the many connections. */
static void raise_limit(void)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

int main(int argc, char **argv)
{
	static const enum io_engine_kind kinds[] = { IO_ENGINE_SIM, IO_ENGINE_EPOLL,
						     IO_ENGINE_RING };
	int failed = 0, known = 0;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, signal_came);
	signal(SIGABRT, signal_came);
	raise_limit();
	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct run like = { .kind = kinds[i], .seed_first = 1, .seed_end = 2 };

		if (argc > 1 && strcmp(argv[1], io_engine_name(kinds[i])) != 0)
			continue;
		known++;
		if (kinds[i] == IO_ENGINE_SIM)
			like.seed_end = like.seed_first + SIM_SEEDS;
		if (argc > 2) {
			like.seed_first = strtoull(argv[2], NULL, 10);
			like.seed_end = like.seed_first + 1;
		}
		failed += run_engine(&like);
	}
	if (known == 0)
		fprintf(stderr, "usage: %s [io_uring|epoll|sim] [SEED]\n", argv[0]);
	return known == 0 || failed > 0;
}

/* Runs the randomized test of a whole worker (lib/simworld.h), once for each seed.
 *
 *   sim [-n SEEDS] [-s FIRST] [-v]
 *
 * Without arguments: the seeds of tests/sim/seeds, then SEEDS more. -v: only the seed FIRST,
 * and prints what happens, step by step. Each 16th seed is run twice, and so is each one with
 * OpenSSL (simworld_has_library()); both runs must have the same hash. The runs are in a child process, so that a crash or a run without end is reported
 * as a failure of its seed, too.
 *
 * timeout: 1800 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/simworld.h"

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 500
#else
#define SEEDS 4000
#endif
#define KEPT_SEEDS "tests/sim/seeds"
#define SEED_SECONDS_MAX 60
#define FAILURES_MAX 5

/* In memory shared with the child. */
struct sim_progress {
	uint64_t seed, done, exchanges;
};

static struct sim_progress *progress;

static void run_seed(uint64_t seed, bool verbose)
{
	uint64_t unused = 0, hash;

	progress->seed = seed;
	alarm(SEED_SECONDS_MAX);
	hash = simworld_run(seed, verbose, &progress->exchanges);
	if (!verbose && (seed % 16 == 0 || simworld_has_library(seed)) &&
	    simworld_run(seed, false, &unused) != hash) {
		fprintf(stderr, "seed %llu: the second run differs from the first\n",
			(unsigned long long)seed);
		abort();
	}
	if (verbose)
		printf("seed %llu: %016llx\n", (unsigned long long)seed,
		       (unsigned long long)hash);
	progress->done++;
}

/* Runs the seeds in a child process. False: one of them failed, and those after it have not run. */
static bool run_in_child(const uint64_t *seeds, uint64_t first, uint64_t n)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		for (uint64_t i = 0; i < n; i++)
			run_seed(seeds ? seeds[i] : first + i, false);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("sim");
		exit(1);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		fprintf(stderr, "seed %llu: still running after %u s\n",
			(unsigned long long)progress->seed, SEED_SECONDS_MAX);
	fprintf(stderr, "seed %llu failed; to see its run: make sim SEED=%llu\n",
		(unsigned long long)progress->seed, (unsigned long long)progress->seed);
	return false;
}

/* Continues after a seed that failed. Returns the number of failures. */
static unsigned run_seeds(const uint64_t *seeds, uint64_t first, uint64_t n)
{
	unsigned failures = 0;
	uint64_t before;

	while (n > 0 && failures < FAILURES_MAX) {
		before = progress->done;
		if (run_in_child(seeds, first, n))
			break;
		failures++;
		before = progress->done - before + 1;
		n -= before;
		first += before;
		if (seeds)
			seeds += before;
	}
	return failures;
}

static unsigned run_kept_seeds(void)
{
	uint64_t seeds[1000], n = 0;
	unsigned long long seed;
	char line[200];
	FILE *f = fopen(KEPT_SEEDS, "r");

	if (!f)
		return 0;
	while (n < COUNT(seeds) && fgets(line, sizeof(line), f))
		if (sscanf(line, "%llu", &seed) == 1)
			seeds[n++] = seed;
	fclose(f);
	return run_seeds(seeds, 0, n);
}

int main(int argc, char **argv)
{
	uint64_t first = 1, n = 0;
	struct timespec from, to;
	bool verbose = false;
	unsigned failures = 0;
	int option;

	progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT(progress != MAP_FAILED);
	while ((option = getopt(argc, argv, "n:s:v")) != -1) {
		if (option == 'n')
			n = strtoull(optarg, NULL, 10);
		else if (option == 's')
			first = strtoull(optarg, NULL, 10);
		else if (option == 'v')
			verbose = true;
		else
			return 2;
	}
	if (verbose) {
		run_seed(first, true);
		return 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (n == 0)
		failures = run_kept_seeds();
	failures += run_seeds(NULL, first, n > 0 ? n : SEEDS);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%llu seeds, %llu requests, %u failed, %.1f s\n",
	       (unsigned long long)progress->done,
	       (unsigned long long)progress->exchanges, failures,
	       (double)(to.tv_sec - from.tv_sec) +
		       (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return failures > 0;
}

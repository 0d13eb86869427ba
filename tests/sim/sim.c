/* Many histories of a whole worker (lib/town.h), each from one seed.
 *
 *   sim [-n SEEDS] [-s FIRST] [-v]
 *
 * Without arguments: the seeds of tests/sim/seeds, then as many as a test run has time for.
 * -v tells the history of one seed, step by step; each 16th seed is run twice and must come
 * out the same. The histories run in a child, so that one that crashes or never ends is
 * reported like any other.
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

#include "lib/town.h"

#ifdef __SANITIZE_ADDRESS__
#define SEEDS 500
#else
#define SEEDS 4000
#endif
#define KEPT_SEEDS "tests/sim/seeds"
#define SEED_SECONDS_MAX 60
#define FAILURES_MAX 5

/* What the child tells. */
struct told {
	uint64_t seed, done, exchanges;
};

static struct told *told;

static void play(uint64_t seed, bool verbose)
{
	uint64_t unused = 0, hash;

	told->seed = seed;
	alarm(SEED_SECONDS_MAX);
	hash = town_run(seed, verbose, &told->exchanges);
	if (!verbose && seed % 16 == 0 && town_run(seed, false, &unused) != hash) {
		fprintf(stderr, "seed %llu: another history the second time\n",
			(unsigned long long)seed);
		abort();
	}
	if (verbose)
		printf("seed %llu: %016llx\n", (unsigned long long)seed,
		       (unsigned long long)hash);
	told->done++;
}

static bool in_child(const uint64_t *seeds, uint64_t first, uint64_t n)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		for (uint64_t i = 0; i < n; i++)
			play(seeds ? seeds[i] : first + i, false);
		exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("sim");
		exit(1);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return true;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		fprintf(stderr, "seed %llu: no end after %u s\n",
			(unsigned long long)told->seed, SEED_SECONDS_MAX);
	fprintf(stderr, "seed %llu failed; its history: make sim SEED=%llu\n",
		(unsigned long long)told->seed, (unsigned long long)told->seed);
	return false;
}

/* Goes on behind a seed that failed. Returns the failures. */
static unsigned play_all(const uint64_t *seeds, uint64_t first, uint64_t n)
{
	unsigned failures = 0;
	uint64_t before;

	while (n > 0 && failures < FAILURES_MAX) {
		before = told->done;
		if (in_child(seeds, first, n))
			break;
		failures++;
		before = told->done - before + 1;
		n -= before;
		first += before;
		if (seeds)
			seeds += before;
	}
	return failures;
}

static unsigned play_kept(void)
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
	return play_all(seeds, 0, n);
}

int main(int argc, char **argv)
{
	uint64_t first = 1, n = 0;
	struct timespec from, to;
	bool verbose = false;
	unsigned failures = 0;
	int option;

	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		    0);
	ASSERT(told != MAP_FAILED);
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
		play(first, true);
		return 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (n == 0)
		failures = play_kept();
	failures += play_all(NULL, first, n > 0 ? n : SEEDS);
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%llu seeds, %llu requests, %u failed, %.1f s\n", (unsigned long long)told->done,
	       (unsigned long long)told->exchanges, failures,
	       (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9);
	return failures > 0;
}

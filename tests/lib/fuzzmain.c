/* Replays inputs: fuzz_TARGET [FILE|DIRECTORY ...]. Without arguments: the corpus of the target,
 * tests/fuzz/corpus/TARGET. */
#include "lib/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned replayed;
static const char *replaying;

/* Names the current input when a check fails and ends the process. */
static void print_current_input(void)
{
	if (replaying)
		fprintf(stderr, "while replaying %s\n", replaying);
}

static void on_abort(int number)
{
	(void)number;
	print_current_input();
	_exit(1);
}

static void replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct stat st;
	uint8_t *bytes;
	size_t n;

	if (!file || fstat(fileno(file), &st) != 0) {
		perror(path);
		exit(1);
	}
	bytes = malloc((size_t)st.st_size);
	n = fread(bytes, 1, (size_t)st.st_size, file);
	fclose(file);
	replaying = path;
	LLVMFuzzerTestOneInput(bytes, n);
	replaying = NULL;
	free(bytes);
	replayed++;
}

static void replay(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);
	char *inner;

	if (n < 0) {
		replay_file(path);
		return;
	}
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			ASSERT(asprintf(&inner, "%s/%s", path, names[i]->d_name) > 0);
			replay(inner);
			free(inner);
		}
		free(names[i]);
	}
	free(names);
}

int main(int argc, char **argv)
{
	const char *name = strrchr(argv[0], '_');
	char *corpus;

	signal(SIGABRT, on_abort);
	atexit(print_current_input);
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	if (argc == 1) {
		ASSERT(name && asprintf(&corpus, "tests/fuzz/corpus/%s", name + 1) > 0);
		replay(corpus);
		free(corpus);
	}
	printf("%u inputs replayed\n", replayed);
	return replayed == 0;
}

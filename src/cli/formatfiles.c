#include "cli/formatfiles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config.h"
#include "config/format.h"

static int failed(const char *file, const char *what)
{
	fprintf(stderr, "%s:1:1: %s (%s); use the name of a readable file\n", file, what,
		strerror(errno));
	return STATUS_FAILED;
}

/* The text of a file, to be freed. NULL: errno says why. */
static char *file_text(const char *file, size_t *n)
{
	bool input = strcmp(file, "-") == 0;
	FILE *in = input ? stdin : fopen(file, "re"), *to;
	char *text = NULL, block[4096];
	size_t got, read = 0;
	int error = 0;

	if (!in)
		return NULL;
	to = open_memstream(&text, n);
	while (to && read <= CONFIG_FILE_BYTES_MAX &&
	       (got = fread(block, 1, sizeof(block), in)) > 0)
		read += fwrite(block, 1, got, to);
	if (ferror(in))
		error = errno;
	if (read > CONFIG_FILE_BYTES_MAX)
		error = EFBIG;
	if (!input)
		fclose(in);
	if (to)
		fclose(to);
	if (error == 0)
		return text;
	free(text);
	errno = error;
	return NULL;
}

/* Replaces a file by another one with the same mode and owner. 0, or -1 and errno. */
static int file_replace(const char *file, const char *text, size_t n)
{
	char *path = realpath(file, NULL), *next = NULL;
	struct stat st;
	int fd = -1, done = -1;

	if (path && stat(path, &st) == 0 && asprintf(&next, "%s.XXXXXX", path) > 0)
		fd = mkostemp(next, O_CLOEXEC);
	if (fd >= 0 && write(fd, text, n) == (ssize_t)n && fchmod(fd, st.st_mode) == 0 &&
	    fchown(fd, st.st_uid, st.st_gid) == 0 && fsync(fd) == 0)
		done = rename(next, path);
	if (fd >= 0 && done < 0)
		unlink(next);
	if (fd >= 0)
		close(fd);
	free(next);
	free(path);
	return done;
}

/* What to do with a file whose layout is `text`. */
static int layout_use(const struct arguments *a, const char *file, bool same,
		      const char *text, size_t n)
{
	if (option_given(a, OPTION_DIFFERS)) {
		if (!same)
			printf("%s\n", file);
		return same ? STATUS_DONE : STATUS_FAILED;
	}
	if (!option_given(a, OPTION_WRITE) || strcmp(file, "-") == 0)
		return fwrite(text, 1, n, stdout) == n ? STATUS_DONE : STATUS_FAILED;
	if (same || file_replace(file, text, n) == 0)
		return STATUS_DONE;
	fprintf(stderr,
		"%s:1:1: cannot be replaced (%s); give this user access to its folder\n",
		file, strerror(errno));
	return STATUS_FAILED;
}

static int file_format(const struct arguments *a, const char *file)
{
	size_t before_n = 0, n = 0;
	char *before = file_text(file, &before_n), *after = NULL;
	FILE *out;
	int status = STATUS_FAILED;

	if (!before)
		return failed(file, "cannot be read");
	out = open_memstream(&after, &n);
	if (out && config_format((struct slice){ before, before_n }, file, out, stderr)) {
		fclose(out);
		status = layout_use(a, file,
				    n == before_n && memcmp(before, after, n) == 0, after,
				    n);
	} else if (out) {
		fclose(out);
	}
	free(before);
	free(after);
	return status;
}

int files_format(const struct arguments *a)
{
	int status = STATUS_DONE;

	if (a->word_n == 0)
		return arguments_complain(CLI_FMT,
					  "FILE is missing; write 'fairlead fmt FILE'");
	for (unsigned i = 0; i < a->word_n; i++)
		if (file_format(a, a->words[i]) != STATUS_DONE)
			status = STATUS_FAILED;
	return status;
}

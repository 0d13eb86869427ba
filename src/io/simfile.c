#include <stdlib.h>
#include <string.h>

#include "io/sim.h"
#include "simslots.h"

static struct sim_file *file_of(struct sim *s, int fd)
{
	struct sim_file *all;

	for (unsigned i = 0; i < s->files_n; i++)
		if (s->files[i].fd == fd)
			return &s->files[i];
	all = realloc(s->files, (s->files_n + 1) * sizeof(*all));
	ASSERT(all);
	s->files = all;
	all[s->files_n] = (struct sim_file){ .fd = fd };
	return &all[s->files_n++];
}

void sim_file_append(struct sim *s, int fd, const char *more, size_t n)
{
	struct sim_file *to = file_of(s, fd);
	char *bytes = to->bytes;

	if (to->len + n > to->capacity) {
		to->capacity = 2 * (to->len + n);
		bytes = realloc(bytes, to->capacity);
	}
	ASSERT(bytes);
	memcpy(bytes + to->len, more, n);
	to->bytes = bytes;
	to->len += n;
}

const char *sim_written(const struct io_loop *loop, int fd, size_t *len)
{
	const struct sim *s = CONTAINER(loop, const struct sim, loop);

	*len = 0;
	for (unsigned i = 0; i < s->files_n; i++) {
		if (s->files[i].fd != fd)
			continue;
		*len = s->files[i].len;
		return s->files[i].bytes;
	}
	return NULL;
}

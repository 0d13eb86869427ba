/* GET /api/configuration: the configuration in force, with all defaults, as YAML. Values from the
 * environment and from files are written as the file names them, as by --print, so no such secret
 * leaves the process. */
#include <stdio.h>
#include <stdlib.h>

#include "adminapi.h"

/* Texts at a time: a client that does not read keeps one. */
#define TEXTS_MAX 4

struct configuration {
	struct chunks chunks;
	unsigned *text_n; /* admin->text_n */
	char *text;
	size_t size, at;
};

static struct configuration *configuration_of(struct chunks *c)
{
	return CONTAINER(c, struct configuration, chunks);
}

static enum chunks_next configuration_read(struct chunks *chunks, char *room, size_t size,
					   size_t *n)
{
	struct configuration *c = configuration_of(chunks);

	*n = c->size - c->at < size ? c->size - c->at : size;
	memcpy(room, c->text + c->at, *n);
	c->at += *n;
	return c->at < c->size ? CHUNK_MORE : CHUNK_END;
}

static void configuration_free(struct chunks *chunks)
{
	struct configuration *c = configuration_of(chunks);

	--*c->text_n;
	free(c->text);
	free(c);
}

/* False: no memory. */
static bool configuration_print(struct configuration *c, const struct config *config)
{
	FILE *out = open_memstream(&c->text, &c->size);
	bool good;

	if (!out)
		return false;
	config_print(config, out);
	good = !ferror(out);
	return fclose(out) == 0 && good;
}

void api_configuration_get(const struct api_request *q, struct admin_api_response *r)
{
	static const struct chunks_source source = { configuration_read, configuration_free };
	struct admin *a = q->admin;
	struct configuration *c;

	if (!api_may_read(q, r))
		return;
	if (a->text_n == TEXTS_MAX) {
		api_fail(r, 503, "too many clients are reading the configuration");
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c || !configuration_print(c, a->shared->config_versions->current->config)) {
		api_fail(r, 503, "out of memory");
		if (c)
			free(c->text);
		free(c);
		return;
	}
	c->text_n = &a->text_n;
	++*c->text_n;
	c->chunks = (struct chunks){ .source = &source,
				     .type = SLICE("application/yaml"),
				     .status = 200 };
	r->chunks = &c->chunks;
}

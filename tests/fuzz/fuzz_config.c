/* Configuration files. A file that is accepted is printed in a form that is accepted again and
 * prints the same. For a file that is refused each error has file, line, column and a remedy. */
#include <ares.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "lib/fuzz.h"

/* No name is looked up in the network. */
int getaddrinfo(const char *restrict node, const char *restrict service,
		const struct addrinfo *restrict hints, struct addrinfo **restrict list)
{
	static int (*real)(const char *, const char *, const struct addrinfo *,
			   struct addrinfo **);
	struct addrinfo numeric = *hints;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	numeric.ai_flags |= AI_NUMERICHOST;
	return real(strcmp(node, "localhost") == 0 ? "127.0.0.1" : node, service, &numeric, list);
}

/* No nameserver is queried: their addresses come from the input. */
void ares_query(ares_channel channel, const char *name, int dnsclass, int type,
		ares_callback callback, void *arg)
{
	(void)channel, (void)name, (void)dnsclass, (void)type;
	callback(arg, ARES_ENOTFOUND, 0, NULL, 0);
}

void ares_search(ares_channel channel, const char *name, int dnsclass, int type,
		 ares_callback callback, void *arg)
{
	ares_query(channel, name, dnsclass, type, callback, arg);
}

struct printed_text {
	char *bytes;
	size_t n;
};

static struct config *read_config(struct slice s, struct printed_text *errors)
{
	FILE *out = open_memstream(&errors->bytes, &errors->n);
	struct config *c = config_read_text("fuzz.yaml", s, out);

	fclose(out);
	ASSERT(c || errors->n > 0);
	return c;
}

static struct printed_text print_config(const struct config *c)
{
	struct printed_text t;
	FILE *out = open_memstream(&t.bytes, &t.n);

	config_print(c, out);
	fclose(out);
	return t;
}

/* "fuzz.yaml:LINE:COLUMN: what is wrong; what to write instead" */
static void check_error(const char *line, size_t n)
{
	int row, column, at = 0;

	ASSERT(sscanf(line, "fuzz.yaml:%d:%d: %n", &row, &column, &at) == 2 && at > 0);
	ASSERT(row > 0 && column > 0 && (size_t)at < n);
	ASSERT(memmem(line + at, n - (size_t)at, "; ", 2));
	for (size_t i = 0; i < n; i++)
		ASSERT((unsigned char)line[i] >= ' ' && line[i] != 0x7f);
}

static void check_errors(const struct printed_text *errors)
{
	char *line = errors->bytes, *end;

	ASSERT(errors->bytes[errors->n - 1] == '\n');
	for (; *line; line = end + 1) {
		end = strchr(line, '\n');
		ASSERT(end);
		*end = '\0';
		check_error(line, (size_t)(end - line));
	}
	ASSERT(line == errors->bytes + errors->n);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct printed_text errors, printed, again;
	struct config *c = read_config((struct slice){ (const char *)bytes, n }, &errors);

	/* An accepted configuration may have warnings. */
	if (errors.n > 0)
		check_errors(&errors);
	free(errors.bytes);
	if (!c)
		return 0;
	printed = print_config(c);
	config_free(c);
	c = read_config((struct slice){ printed.bytes, printed.n }, &errors);
	if (!c)
		fprintf(stderr, "%s\nof\n%s\n", errors.bytes, printed.bytes);
	ASSERT(c);
	again = print_config(c);
	ASSERT(printed.n == again.n && memcmp(printed.bytes, again.bytes, again.n) == 0);
	config_free(c);
	free(errors.bytes);
	free(printed.bytes);
	free(again.bytes);
	return 0;
}

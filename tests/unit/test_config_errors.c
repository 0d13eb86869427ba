/* What is wrong with a configuration, told with its source_pos and the remedy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/config.h"

#define LISTEN "listen: [127.0.0.1:8080]\n"
#define UPSTREAMS                                                                   \
	"upstreams: { app: { servers: [127.0.0.1:1] }, mc: { protocol: memcached, " \
	"servers: [127.0.0.1:2] } }\n"
#define ROUTES "routes: [{ prefix: /, proxy: { upstream: app } }]\n"
#define GOOD LISTEN UPSTREAMS ROUTES /* three lines */
#define TEN "aaaaaaaaaa"
#define FIFTY TEN TEN TEN TEN TEN

/* A configuration, and every line of errors it gets, without the file's name. */
static const struct row {
	const char *text, *errors;
} rows[] = {
#include "config_errors.def"
};

/* Takes the lines out that warn of `what`. */
static void drop_warnings(char *lines, const char *what)
{
	char *next;

	for (char *line = lines; *line; line = next) {
		char *end = strchr(line, '\n') + 1;
		char *found = strstr(line, what);

		next = end;
		if (found && found < end) {
			memmove(line, end, strlen(end) + 1);
			next = line;
		}
	}
}

/* The errors of a text, without the file's name before each; to be freed. */
static char *errors_of(struct slice text)
{
	static const char name[] = "some.yaml:";
	char *all = NULL, *line;
	size_t size;
	FILE *out = open_memstream(&all, &size);
	struct config *c = config_read_text("some.yaml", text, out);

	fclose(out);
	drop_warnings(all, ": warning: ");
	assert_int_equal(c == NULL, all[0] != '\0');
	config_free(c);
	for (line = all; *line; line = strchr(line, '\n') + 1) {
		assert_memory_equal(line, name, sizeof(name) - 1);
		memmove(line, line + sizeof(name) - 1,
			strlen(line + sizeof(name) - 1) + 1);
	}
	return all;
}

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char *errors = errors_of(slice_of(rows[i].text));

		assert_string_equal(errors, rows[i].errors);
		free(errors);
	}
}

/* What is wrong, what of the error names the remedy, and the same with the remedy. */
static const struct {
	const char *wrong, *remedy, *mended;
} remedies[] = {
	{ "listen: [\"127.0.0.1\"]\n" UPSTREAMS ROUTES, "write 127.0.0.1:PORT",
	  "listen: [127.0.0.1:8080]\n" UPSTREAMS ROUTES },
	{ "listen: [\"::1:80\"]\n" UPSTREAMS ROUTES, "write \"[::1]:80\"",
	  "listen: [\"[::1]:80\"]\n" UPSTREAMS ROUTES },
	{ "listen: [\"unix:x\"]\n" UPSTREAMS ROUTES, "write unix:/PATH",
	  "listen: [\"unix:/x\"]\n" UPSTREAMS ROUTES },
	{ GOOD "workrs: 2\n", "write 'workers'", GOOD "workers: 2\n" },
	{ GOOD "workers: x\n", "write 1 to 256, or auto", GOOD "workers: auto\n" },
	{ GOOD "engine: uring\n", "write auto, io_uring or epoll", GOOD "engine: io_uring\n" },
	{ GOOD "user: 4000000001\n", "write 'group: NUMBER' as well",
	  GOOD "user: 4000000001\ngroup: 4000000001\n" },
	{ GOOD "limits: { header_timeout: 10 }\n", "write 10s",
	  GOOD "limits: { header_timeout: 10s }\n" },
	{ GOOD "limits: { request_head: 16KB }\n", "write 16KiB",
	  GOOD "limits: { request_head: 16KiB }\n" },
	{ GOOD "limits: { window: 2MiB, buffers: 1MiB }\n", "write a smaller 'window', or "
	  "larger 'buffers'",
	  GOOD "limits: { window: 2MiB, buffers: 4MiB }\n" },
	{ LISTEN UPSTREAMS "routes: [{ path: d, proxy: { upstream: app } }]\n", "write '/d'",
	  LISTEN UPSTREAMS "routes: [{ path: /d, proxy: { upstream: app } }]\n" },
	{ LISTEN UPSTREAMS "routes: [{ path: /e/../f%7e, proxy: { upstream: app } }]\n",
	  "write '/f~'", LISTEN UPSTREAMS "routes: [{ path: /f~, proxy: { upstream: app } }]\n" },
	{ LISTEN UPSTREAMS "routes: [{ path: /c, proxy: { upstream: ap } }]\n", "write 'app'",
	  LISTEN UPSTREAMS "routes: [{ path: /c, proxy: { upstream: app } }]\n" },
	{ GOOD "resolver: dns.example\n", "as in 127.0.0.1:53 or \"[::1]:53\"",
	  GOOD "resolver: [127.0.0.1:53, \"[::1]:53\"]\n" },
};

/* No error is left; a warning may be. */
static bool is_read(const char *text)
{
	FILE *out = fopen("/dev/null", "w");
	struct config *c = config_read_text("some.yaml", slice_of(text), out);
	bool good = c != NULL;

	fclose(out);
	config_free(c);
	return good;
}

static void test_remedies(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(remedies); i++) {
		char *errors = errors_of(slice_of(remedies[i].wrong));

		if (!strstr(errors, remedies[i].remedy))
			fail_msg("%s: %s", remedies[i].remedy, errors);
		if (!is_read(remedies[i].mended))
			fail_msg("%s: does not help", remedies[i].remedy);
		free(errors);
	}
}

static void test_unresolvable(void **state)
{
	/* No label is that long, so no server is asked. */
	static const char text[] = LISTEN ROUTES "resolver: { strict: true }\n"
		"upstreams: { app: { servers: [ " TEN TEN TEN TEN TEN TEN TEN
		".test:1 ] } }\n";
	char *errors = errors_of(SLICE(text));

	(void)state;
	assert_non_null(strstr(errors, "4:32: '" TEN));
	assert_non_null(strstr(errors, "cannot be resolved"));
	free(errors);
}

static void expect_one(char *text, size_t n, const char *error)
{
	char *errors = errors_of((struct slice){ text, n });

	assert_string_equal(errors, error);
	free(errors);
}

/* Deep, wide and large texts end early, whatever brackets they are made of. */
static void test_bounds(void **state)
{
	static const char *const deep[][2] = {
		{ "[", "1:17: " },
		{ "{", "1:17: " },
		{ "- ", "1:33: " },
	};
	size_t size = (size_t)1 << 20;
	char *text = calloc(1, CONFIG_FILE_BYTES_MAX + 1);

	(void)state;
	for (size_t i = 0; i < COUNT(deep); i++) {
		char error[256];

		for (size_t j = 0; j < size; j++)
			text[j] = deep[i][0][j % strlen(deep[i][0])];
		snprintf(
			error, sizeof(error),
			"%snested more than 16 levels deep; check the indentation and the "
			"brackets\n",
			deep[i][1]);
		expect_one(text, size, error);
	}
	for (size_t j = 0; j < size; j += 2)
		memcpy(text + j, j ? "a," : " [", 2);
	expect_one(text, size,
		   "1:262147: more than 131072 entries in one list or map; remove some of "
		   "them\n");
	expect_one(text, CONFIG_FILE_BYTES_MAX + 1,
		   "1:1: the file is larger than 67108864 bytes; shorten it\n");
	free(text);
}

#define LARGE_BYTES (16u << 20)

/* So many of each, and whatever depends on them. */
static size_t write_large(char *text, unsigned upstreams, unsigned servers,
			  unsigned routes)
{
	size_t n = (size_t)sprintf(text, "listen: [127.0.0.1:1]\nupstreams:\n");

	for (unsigned i = 0; i < upstreams; i++)
		n += (size_t)sprintf(text + n, "  u%u: { servers: [127.0.0.1:1] }\n", i);
	n += (size_t)sprintf(text + n,
			     "  many: { balance: random, servers: [127.0.0.1:1");
	for (unsigned i = 1; i < servers; i++)
		n += (size_t)sprintf(text + n, ", 127.0.%u.%u:2", i / 250, i % 250);
	n += (size_t)sprintf(text + n, "] }\nroutes:\n");
	for (unsigned i = 0; i < routes; i++)
		n += (size_t)sprintf(text + n,
				     "  - { path: /r%u, proxy: { upstream: %c%u } }\n", i,
				     'u', i % (upstreams > 0 ? upstreams : 1));
	ASSERT(n < LARGE_BYTES);
	return n;
}

/* What is more than is allowed is told once, with the limit, and what depends on it is not told
 * at all; what is not more is read, and before long. */
static void test_limits(void **state)
{
	static const struct {
		unsigned upstreams, servers, routes;
		const char *errors;
	} limits[] = {
		{ CONFIG_UPSTREAMS_MAX - 1, CONFIG_SERVERS_MAX, CONFIG_ROUTES_MAX, "" },
		{ CONFIG_UPSTREAMS_MAX, 1, 1000,
		  "2:1: 'upstreams' has 20001 entries; write at most 20000\n" },
		{ 10, CONFIG_SERVERS_MAX + 1, 1000,
		  "13:28: 'servers' has 4097 entries; write at most 4096\n" },
		{ 10, 1, CONFIG_ROUTES_MAX + 1,
		  "14:1: 'routes' has 100001 entries; write at most 100000\n" },
	};
	char *text = malloc(LARGE_BYTES);

	(void)state;
	for (size_t i = 0; i < COUNT(limits); i++)
		expect_one(text,
			   write_large(text, limits[i].upstreams, limits[i].servers,
				       limits[i].routes),
			   limits[i].errors);
	free(text);
}

/* An upstream that was refused is not said to be unknown wherever it is named. */
static void test_refused_upstream(void **state)
{
	static const char text[] =
		"listen: [127.0.0.1:1]\n"
		"upstreams:\n"
		"  \"a b\": { servers: [127.0.0.1:1] }\n"
		"routes:\n"
		"  - { path: /, proxy: { upstream: a b } }\n"
		"  - { path: /m, memcached: { upstream: a b, key: k } }\n"
		"  - { path: /c, proxy: { upstream: c } }\n";
	char *errors = errors_of(SLICE(text));

	(void)state;
	assert_string_equal(errors,
			    "3:3: invalid name; use 1 to 63 letters, digits, '_', '-' or '.'\n"
			    "7:36: unknown upstream 'c'; define it under 'upstreams'\n");
	free(errors);
}

/* A thousand are told, the rest is counted. */
static void test_many_errors(void **state)
{
	char *text = malloc(65536), *errors;
	size_t n = 0, lines = 0;

	(void)state;
	for (unsigned i = 0; i < 2000; i++)
		n += (size_t)sprintf(text + n, "zz%u: 1\n", i);
	errors = errors_of((struct slice){ text, n });
	for (const char *at = errors; *at; at = strchr(at, '\n') + 1)
		lines++;
	assert_int_equal(lines, 1001);
	assert_non_null(strstr(errors, " and 1002 more errors\n"));
	free(errors);
	free(text);
}

/* What stands in a file must not reach a terminal as it is. */
static void test_controls_masked(void **state)
{
	char *errors = errors_of(SLICE(GOOD "\"a\\e[31m\": 1\n"));

	(void)state;
	assert_non_null(strstr(errors, "4:1: unknown key 'a?[31m'; "));
	free(errors);
}

static void test_unreadable(void **state)
{
	char *errors = NULL;
	size_t size;
	FILE *out = open_memstream(&errors, &size);

	(void)state;
	assert_null(config_read("/nonexistent/x.yaml", out));
	assert_null(config_read("/", out));
	fclose(out);
	assert_string_equal(errors,
			    "/nonexistent/x.yaml:1:1: cannot be read (No such file or directory); use "
			    "the name of a readable file\n"
			    "/:1:1: cannot be read (Is a directory); use the name of a readable file\n");
	free(errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_remedies),
		cmocka_unit_test(test_unresolvable),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_refused_upstream),
		cmocka_unit_test(test_many_errors),
		cmocka_unit_test(test_controls_masked),
		cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

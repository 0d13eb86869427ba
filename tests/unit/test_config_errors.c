/* Errors of a configuration: their position, their text, and that each remedy they name works. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/config.h"
#include "lib/tlsfiles.h"

#define LISTEN "listen: [127.0.0.1:8080]\n"
#define APP "upstreams: { app: { servers: [127.0.0.1:1] } }\n"
#define MC "upstreams: { mc: { protocol: memcached, servers: [127.0.0.1:2] } }\n"
#define BOTH                                                                        \
	"upstreams: { app: { servers: [127.0.0.1:1] }, mc: { protocol: memcached, " \
	"servers: [127.0.0.1:2] } }\n"
#define ROUTES "routes: [{ prefix: /, proxy: { upstream: app } }]\n"
#define APP_ROUTE "  - { prefix: /, proxy: { upstream: app } }\n"
#define MC_ROUTE "  - { path: /mc, memcached: { upstream: mc, key: k } }\n"
#define TLS(map) "listen: [{ address: 127.0.0.1:8080, tls: " map " }]\n" APP ROUTES
#define UPSTREAM_TLS(value) \
	LISTEN "upstreams: { app: { servers: [127.0.0.1:1], tls: " value " } }\n" ROUTES
#define GOOD LISTEN APP ROUTES /* three lines */
#define TEN "aaaaaaaaaa"
#define FIFTY TEN TEN TEN TEN TEN

static const char no_remedy[] = "";
#define NO_REMEDY         \
	{                 \
		no_remedy \
	} /* instead of the corrected texts */

static const struct row {
	const char *text;
	const char *errors;       /* all lines, without the name of the file */
	const char *corrected[3]; /* with the remedies applied, the last one NULL */
} rows[] = {
#include "config_errors.def"
};

/* Removes the lines that contain `what`. */
static void lines_remove(char *lines, const char *what)
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

/* All errors and warnings of a text, without the name of its file; to be freed. */
static char *messages_of(struct slice text, bool *accepted)
{
	static const char name[] = "some.yaml:";
	char *all = NULL;
	size_t size;
	FILE *out = open_memstream(&all, &size);
	struct config *c = config_read_text("some.yaml", text, out);

	fclose(out);
	*accepted = c != NULL;
	config_free(c);
	for (char *line = all; *line; line = strchr(line, '\n') + 1) {
		if (strncmp(line, name, sizeof(name) - 1) != 0)
			continue; /* of another file, whose name stays */
		memmove(line, line + sizeof(name) - 1,
			strlen(line + sizeof(name) - 1) + 1);
	}
	return all;
}

/* The same without warnings. */
static char *errors_of(struct slice text)
{
	bool accepted;
	char *all = messages_of(text, &accepted);

	lines_remove(all, ": warning: ");
	assert_int_equal(accepted, all[0] == '\0');
	return all;
}

static void expect_errors(struct slice text, const char *expected)
{
	char *errors = errors_of(text);

	assert_string_equal(errors, expected);
	free(errors);
}

static void test_errors(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		expect_errors(slice_of(rows[i].text), rows[i].errors);
}

static bool is_verb(const char *word)
{
	static const char *const verbs[] = {
		"add",      "begin", "check",   "close",   "define", "indent", "list",
		"move",     "put",   "remove",  "restart", "round",  "run",    "save",
		"separate", "set",   "shorten", "use",     "write",
	};
	size_t n = strcspn(word, " \n");

	for (size_t i = 0; i < COUNT(verbs); i++)
		if (strlen(verbs[i]) == n && memcmp(word, verbs[i], n) == 0)
			return true;
	return false;
}

static const char *find_in(struct slice text, const char *what)
{
	return memmem(text.ptr, text.len, what, strlen(what));
}

/* The number of remedies that a line names: "WHAT IS WRONG; VERB …, or VERB …". */
static unsigned remedies_named(struct slice line)
{
	const char *at = find_in(line, "; ");
	unsigned n = 1;

	if (!at || !is_verb(at + strlen("; ")))
		return 0;
	for (struct slice rest = line; (at = find_in(rest, ", or ")) != NULL;) {
		at += strlen(", or ");
		n += is_verb(at);
		rest = slice_after(line, (size_t)(at - line.ptr));
	}
	return n;
}

/* A remedy "write 'TEXT'" without a placeholder (HOST, …) is in the corrected text as it is. */
static void assert_literal(struct slice line, const char *corrected)
{
	static const char mark[] = "; write ";
	const char *at = find_in(line, mark), *end;
	char *literal;

	if (!at)
		return;
	at += strlen(mark);
	if (*at != '\'' && *at != '"')
		return;
	end = strchr(at + 1, *at);
	assert_non_null(end);
	literal = strndup(at + 1, (size_t)(end - at) - 1);
	for (const char *c = literal; *c; c++) {
		if (strncmp(c, "…", strlen("…")) == 0 ||
		    (isupper((unsigned char)c[0]) && isupper((unsigned char)c[1]))) {
			free(literal);
			return;
		}
	}
	if (!strstr(corrected, literal))
		fail_msg("%s: not in the corrected text:\n%s", literal, corrected);
	free(literal);
}

/* The corrected texts follow the remedies: there are as many as a line names alternatives. */
static void check_remedies(const struct row *row)
{
	bool has_remedy = row->corrected[0] && row->corrected[0] != no_remedy;
	unsigned corrected_n = 0;

	if (!row->corrected[0])
		fail_msg("%s: neither a corrected text nor NO_REMEDY", row->errors);
	while (has_remedy && row->corrected[corrected_n])
		corrected_n++;
	for (const char *at = row->errors, *end; *at; at = end + 1) {
		struct slice line;
		unsigned n;

		end = strchr(at, '\n');
		line = (struct slice){ at, (size_t)(end - at) };
		n = remedies_named(line);
		if (n == 0 && has_remedy)
			fail_msg("%.*s: names no remedy", SLICE_ARG(line));
		if (n > corrected_n)
			fail_msg("%.*s: %u remedies, %u corrected texts", SLICE_ARG(line),
				 n, corrected_n);
		if (has_remedy)
			assert_literal(line, row->corrected[0]);
	}
}

static void test_remedies(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		check_remedies(&rows[i]);
		for (unsigned k = 0; rows[i].corrected[k]; k++) {
			const char *corrected = rows[i].corrected[k];
			char *messages;
			bool accepted;

			if (corrected == no_remedy)
				break;
			messages = messages_of(slice_of(corrected), &accepted);
			if (!accepted || messages[0])
				fail_msg("%sis not mended by:\n%s%s", rows[i].errors,
					 corrected, messages);
			free(messages);
		}
	}
}

/* The name is too long for a label, so no nameserver is queried. */
static void test_unresolvable(void **state)
{
	static const char *const before = LISTEN ROUTES "resolver: { strict: true }\n"
							"upstreams: { app: { servers: [ ",
				 *const after = ":1 ] } }\n";
	char text[512], *errors;

	(void)state;
	snprintf(text, sizeof(text), "%s" FIFTY TEN TEN ".test%s", before, after);
	errors = errors_of(slice_of(text));
	assert_non_null(strstr(errors, "4:32: '" TEN));
	assert_non_null(strstr(errors, "cannot be resolved"));
	assert_non_null(strstr(
		errors, "; check the name and 'resolver', or write an IP address\n"));
	free(errors);
	snprintf(text, sizeof(text), "%s127.0.0.1%s", before, after);
	expect_errors(slice_of(text), "");
	errors = errors_of(SLICE("listen: [" FIFTY TEN TEN ".test:1]\n" APP ROUTES));
	assert_non_null(strstr(errors, "; check the name, or write an IP address\n"));
	free(errors);
	expect_errors(SLICE("listen: [127.0.0.1:1]\n" APP ROUTES), "");
}

/* A body of a response is limited, as is the number of error pages of a route. */
static void test_pages(void **state)
{
	size_t size;
	char *text;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	fputs(LISTEN APP "routes:\n  - { path: /a, respond: { body: \"", out);
	for (unsigned i = 0; i < 65537; i++)
		fputc('a', out);
	fputs("\" } }\n" APP_ROUTE, out);
	fclose(out);
	expect_errors((struct slice){ text, size },
		      "4:34: this body has 65537 bytes, and each response has a copy of it; "
		      "shorten it to at most 64 KiB, or use an origin\n");
	free(text);
	out = open_memstream(&text, &size);
	fputs(LISTEN APP "routes:\n  - prefix: /\n    proxy: { upstream: app }\n"
			 "    error_pages:\n      404: [site.pem]\n      4xx:\n",
	      out);
	for (unsigned i = 0; i < 32; i++)
		fputs("        - site.pem\n", out);
	fclose(out);
	expect_errors((struct slice){ text, size },
		      "40:11: more than 32 error pages in one route; remove this one\n");
	free(text);
}

/* A route with many hosts. */
static void print_many_hosts(FILE *out)
{
	fputs("  - { proxy: { upstream: app }, host: [ h", out);
	for (unsigned i = 1; i < CONFIG_HOSTS_MAX; i++)
		fprintf(out, ",h%u", i);
	fputs(" ], path: /", out);
}

/* Each host of a route has its path again in the index of routes, which is limited. */
static void test_many_hosts(void **state)
{
	size_t size;
	char *text, *errors;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	fputs(LISTEN APP "routes:\n", out);
	print_many_hosts(out);
	for (unsigned i = 0; i < 120000; i++)
		fputc('a', out);
	fputs(" }\n", out);
	fclose(out);
	expect_errors(
		(struct slice){ text, size },
		"3:1: the paths of the routes, once for each of their hosts, have more "
		"than 1 GiB; shorten them, or write fewer hosts\n");
	free(text);
	out = open_memstream(&text, &size);
	fputs(LISTEN APP "routes:\n", out);
	for (unsigned i = 0; i < 101; i++) {
		print_many_hosts(out);
		fprintf(out, "%u }\n", i);
	}
	fclose(out);
	errors = errors_of((struct slice){ text, size });
	assert_string_equal(errors,
			    "3:1: the routes have 1010000 hosts in all; write at most "
			    "1000000\n");
	free(errors);
	free(text);
}

/* Deep, wide and large texts are refused early, in each notation. */
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
		expect_errors((struct slice){ text, size }, error);
	}
	for (size_t j = 0; j < size; j += 2)
		memcpy(text + j, j ? "a," : " [", 2);
	expect_errors(
		(struct slice){ text, size },
		"1:262147: more than 131072 entries in one list or map; remove some of "
		"them\n");
	expect_errors((struct slice){ text, CONFIG_FILE_BYTES_MAX + 1 },
		      "1:1: the file is larger than 67108864 bytes; shorten it\n");
	free(text);
}

/* A list with n anchors. */
static size_t write_anchors(char *text, unsigned n)
{
	size_t used = (size_t)sprintf(text, GOOD "x-a: [");

	for (unsigned i = 0; i < n; i++)
		used += (size_t)sprintf(text + used, "%s&a%u 1", i ? ", " : "", i);
	return used + (size_t)sprintf(text + used, "]\n");
}

/* A map with n keys, and another one with n + 1 keys that contains all of them: by "<<" or
 * written out. */
static size_t write_merge(char *text, unsigned n, bool written_out)
{
	size_t used = (size_t)sprintf(text, GOOD "x-a: &a {");

	for (unsigned i = 0; i < n; i++)
		used += (size_t)sprintf(text + used, "%sk%u: 1", i ? ", " : "", i);
	used += (size_t)sprintf(text + used, "}\nx-b: { %s",
				written_out ? "" : "<<: *a, ");
	for (unsigned i = 0; written_out && i < n; i++)
		used += (size_t)sprintf(text + used, "k%u: 1, ", i);
	for (unsigned i = 0; i < n; i++)
		used += (size_t)sprintf(text + used, "%sl%u: 1", i ? ", " : "", i);
	return used + (size_t)sprintf(text + used, "}\n");
}

/* Limits of anchors and merge keys, and that the remedies work. */
static void test_alias_limits(void **state)
{
	char *text = malloc(65536);

	(void)state;
	expect_errors((struct slice){ text, write_anchors(text, 1001) },
		      "4:8897: more than 1000 anchors; remove some of them\n");
	expect_errors((struct slice){ text, write_anchors(text, 1000) }, "");
	expect_errors(
		(struct slice){ text, write_merge(text, 1001, false) },
		"5:12: this map is too large to be merged with '<<'; write its keys "
		"without '<<'\n");
	expect_errors((struct slice){ text, write_merge(text, 1001, true) }, "");
	free(text);
}

#define LARGE_BYTES (16u << 20)

/* Writes a configuration with the given numbers of entries; returns its length. */
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

/* A limit that is exceeded is reported once, and what depends on it is not reported. A file at the
 * limits is accepted, in bounded time. */
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
		expect_errors((struct slice){ text, write_large(text, limits[i].upstreams,
								limits[i].servers,
								limits[i].routes) },
			      limits[i].errors);
	free(text);
}

/* An upstream with an invalid name is reported once, not again as unknown where it is used. */
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
	assert_string_equal(
		errors,
		"3:3: invalid name; use 1 to 63 letters, digits, '_', '-' or '.'\n"
		"7:36: unknown upstream 'c'; define it under 'upstreams'\n");
	free(errors);
}

/* The first 1000 errors are printed, the others are counted. */
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

/* Control characters of a file do not reach the terminal. */
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
	assert_null(config_read("noise.pm", out));
	fclose(out);
	assert_string_equal(
		errors,
		"/nonexistent/x.yaml:1:1: cannot be read (No such file or directory); use "
		"the name of a readable file\n"
		"/:1:1: cannot be read (Is a directory); use the name of a readable file\n"
		"noise.pm:1:1: cannot be read (No such file or directory); use "
		"'noise.pem'\n");
	free(errors);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_remedies),
		cmocka_unit_test(test_unresolvable),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_many_hosts),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_alias_limits),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_refused_upstream),
		cmocka_unit_test(test_many_errors),
		cmocka_unit_test(test_controls_masked),
		cmocka_unit_test(test_unreadable),
	};

	int failed;

	tls_files_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_files_remove();
	return failed;
}

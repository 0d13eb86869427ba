/* Lists of addresses in a configuration: groups, files, what changes in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/config.h"
#include "lib/tlsfiles.h"

#define FILE_NAME "some.yaml"
#define GOOD                                               \
	"listen: [127.0.0.1:8080]\n"                       \
	"upstreams: { app: { servers: [127.0.0.1:1] } }\n" \
	"routes: [{ prefix: /, proxy: { upstream: app } }]\n"

static char *messages; /* of the last reading */

/* NULL: refused. */
static struct config *read_after(const char *text, const struct config *previous)
{
	struct config_options how = { .previous = previous ? previous->snapshot
							   : SLICE("") };
	size_t size;
	FILE *errors;
	struct config *c;

	free(messages);
	tls_file_write(FILE_NAME, slice_of(text));
	errors = open_memstream(&messages, &size);
	c = config_read_with(FILE_NAME, &how, errors);
	fclose(errors);
	return c;
}

static struct config *read_good(const char *text)
{
	struct config *c = read_after(text, NULL);

	if (!c || messages[0])
		fail_msg("%s", messages);
	return c;
}

static bool trusts(const struct config *c, const char *text)
{
	struct ip ip;

	assert_true(ip_parse(&ip, slice_of(text)));
	return ip_ranges_contain(c->trust.ranges, c->trust.range_n, &ip);
}

static char *printed(const struct config *c)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	config_print(c, out);
	fclose(out);
	return text;
}

/* A group has what the groups and files in it have; --print has the names. */
static void test_groups(void **state)
{
	struct config *c = read_good(GOOD "addresses:\n"
					  "  dmz: [172.16.0.0/12, unix]\n"
					  "  all: ['@dmz', file:addresses.txt]\n"
					  "trusted_proxies: [192.0.2.7, '@all']\n");
	char *text = printed(c);

	(void)state;
	assert_true(trusts(c, "192.0.2.7"));
	assert_true(trusts(c, "172.31.255.255"));
	assert_true(trusts(c, "10.255.0.1"));
	assert_true(trusts(c, "2001:db8::1"));
	assert_false(trusts(c, "2001:db8::2"));
	assert_false(trusts(c, "11.0.0.0"));
	assert_true(c->trust.unix_sockets);
	assert_int_equal(c->group_n, 2);
	assert_non_null(strstr(text, "addresses:\n"
				     "  dmz:\n"
				     "    - \"172.16.0.0/12\"\n"
				     "    - \"unix\"\n"
				     "  all:\n"
				     "    - \"@dmz\"\n"
				     "    - \"file:addresses.txt\"\n"
				     "trusted_proxies:\n"
				     "  - \"192.0.2.7\"\n"
				     "  - \"@all\"\n"));
	config_free(c);
	c = read_good(text);
	assert_true(trusts(c, "10.255.0.1"));
	config_free(c);
	free(text);
}

/* The snapshot has the content of the file. */
static void test_snapshot(void **state)
{
	struct config *c, *again;

	(void)state;
	tls_file_write("list", SLICE("192.0.2.0/24"));
	c = read_good(GOOD "trusted_proxies: file:list\n");
	unlink("list");
	again = config_read_snapshot(c->snapshot, stderr);
	assert_non_null(again);
	assert_true(trusts(again, "192.0.2.255"));
	config_free(again);
	config_free(c);
}

/* A change is found by looking; an invalid one leaves what there was in force. */
static void test_changes(void **state)
{
	static const char text[] = GOOD "addresses: { bad: [file:list] }\n"
					"trusted_proxies: ['@bad']\n";
	struct config *c, *next;
	char *line;
	size_t size;
	FILE *out;

	(void)state;
	tls_file_write("list", SLICE("192.0.2.0/24\n"));
	c = read_good(text);
	assert_int_equal(config_read_contents(c, &next, stderr), CONFIG_CONTENTS_SAME);
	tls_file_write("list", SLICE("# other\n198.51.100.0/24\n"));
	assert_int_equal(config_read_contents(c, &next, stderr), CONFIG_CONTENTS_NEW);
	assert_true(trusts(next, "198.51.100.9"));
	assert_false(trusts(next, "192.0.2.9"));
	config_free(c);
	c = next;
	tls_file_write("list", SLICE("192.0.2.0/24\n\n192.0.2.0/33\n"));
	out = open_memstream(&line, &size);
	assert_int_equal(config_read_contents(c, &next, out), CONFIG_CONTENTS_NEW);
	fclose(out);
	assert_string_equal(line, FILE_NAME
			    ":4:20: warning: 'list' cannot be used (line 3 is not "
			    "an address), and its previous content stays in "
			    "force; check the file\n");
	free(line);
	assert_true(trusts(next, "198.51.100.9"));
	assert_false(trusts(next, "192.0.2.9"));
	config_free(next);
	next = read_after(text, c);
	assert_non_null(next);
	assert_true(trusts(next, "198.51.100.9"));
	config_free(next);
	assert_null(read_after(text, NULL));
	assert_string_equal(
		messages,
		"list:3:1: '192.0.2.0/33' has an invalid prefix length; write /0 to /32, or "
		"remove it for a single address\n");
	config_free(c);
}

/* n addresses, none beside another. */
static void list_write(unsigned n)
{
	char *text = malloc((size_t)n * 16 + 1);
	size_t used = 0;

	for (unsigned i = 0; i < n; i++)
		used += (size_t)sprintf(text + used, "10.%u.%u.%u\n", i >> 15,
					(i >> 7) & 255, (i & 127) * 2);
	tls_file_write("list", (struct slice){ text, used });
	free(text);
}

/* A list of the largest size, and one that is too large by one address in another list. */
static void test_limit(void **state)
{
	struct config *c;

	(void)state;
	list_write(CONFIG_RANGES_MAX);
	c = read_good(GOOD "addresses: { many: file:list }\ntrusted_proxies: '@many'\n");
	assert_int_equal(c->trust.range_n, CONFIG_RANGES_MAX);
	assert_true(trusts(c, "10.3.13.62"));
	assert_false(trusts(c, "10.3.13.63"));
	config_free(c);
	assert_null(read_after(GOOD "addresses: { many: file:list }\n"
				    "trusted_proxies: [unix, 192.0.2.1, '@many']\n",
			       NULL));
	assert_string_equal(
		messages, FILE_NAME
		":5:36: this list has more than 100000 addresses; remove some of them\n");
	list_write(CONFIG_RANGES_MAX + 1);
	assert_null(read_after(GOOD "trusted_proxies: file:list\n", NULL));
	assert_string_equal(
		messages, FILE_NAME
		":4:18: this list has more than 100000 addresses; remove some of them\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_snapshot),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_limit),
	};
	int failed;

	tls_files_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(messages);
	tls_files_remove();
	return failed;
}

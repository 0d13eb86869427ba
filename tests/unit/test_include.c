/* `include`: what the files add up to, where errors are, and that a snapshot has the files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/config.h"
#include "lib/tlsfiles.h"

#define MAIN "main.yaml"
#define APP "upstreams: { app: { servers: [127.0.0.1:1] } }\n"
#define ROUTE(path) "{ path: " path ", proxy: { upstream: app } }"

static char *messages; /* of the last reading */

static void file_write(const char *name, const char *text)
{
	tls_file_write(name, slice_of(text));
}

/* NULL: refused. */
static struct config *read_main(const char *text)
{
	size_t size;
	FILE *errors;
	struct config *c;

	free(messages);
	file_write(MAIN, text);
	errors = open_memstream(&messages, &size);
	c = config_read(MAIN, errors);
	fclose(errors);
	return c;
}

static char *printed(struct config *c)
{
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!c)
		fail_msg("%s", messages);
	config_print(c, out);
	fclose(out);
	config_free(c);
	return text;
}

static void assert_same(struct config *c, const char *written_out)
{
	char *a = printed(c), *b = printed(read_main(written_out));

	assert_string_equal(a, b);
	free(a);
	free(b);
}

static void expect_errors(const char *text, const char *errors)
{
	assert_null(read_main(text));
	assert_string_equal(messages, errors);
}

/* Lists are appended in the order of names of files, maps of names are added up. */
static void test_sum(void **state)
{
	(void)state;
	file_write(
		"sites/b.yaml",
		"routes: [" ROUTE("/b") "]\nlisten: 127.0.0.1:8082\n"
					"hosts: { b.test: { proxy: { upstream: b } } }\n"
					"upstreams: { b: { servers: [127.0.0.1:2] } }\n");
	file_write("sites/a.yaml",
		   "routes: [" ROUTE(
			   "/a") "]\n"
				 "hosts: { a.test: { proxy: { upstream: app } } }\n"
				 "addresses: { near: [10.0.0.0/8] }\n");
	file_write("sites/ignored.txt", "noise: [\n");
	file_write("sites/empty.yaml", "# nothing\n");
	assert_same(
		read_main("include: [\"sites/*.yaml\", more/*]\n"
			  "listen: [127.0.0.1:8080]\n"
			  "trusted_proxies: \"@near\"\n"
			  "routes: [" ROUTE("/main") "]\n" APP),
		"listen: [127.0.0.1:8080, 127.0.0.1:8082]\n"
		"addresses: { near: [10.0.0.0/8] }\n"
		"trusted_proxies: \"@near\"\n"
		"routes: [" ROUTE("/main") ", " ROUTE("/a") ", " ROUTE(
			"/b") "]\n"
			      "hosts: { a.test: { proxy: { upstream: app } }, b.test: { proxy: { upstream: b } } }\n"
			      "upstreams: { app: { servers: [127.0.0.1:1] }, b: { servers: [127.0.0.1:2] } }\n");
}

/* Paths are relative to the folder of the file that has them; so are patterns. */
static void test_folders(void **state)
{
	struct config *c;
	char *text;

	(void)state;
	file_write("sites/list", "192.0.2.0/24\n");
	file_write("sites/a.yaml",
		   "include: sub/x.yaml\ntrusted_proxies: [file:list]\n"
		   "listen: [{ address: 127.0.0.1:8443, tls: { certificates: "
		   "[../site.pem] } }]\n");
	file_write("sites/sub/x.yaml", "routes: [" ROUTE("/x") "]\n");
	c = read_main("include: sites/a.yaml\n" APP);
	text = printed(c);
	assert_non_null(strstr(text, "\"file:sites/list\""));
	assert_non_null(strstr(text, "\"sites/../site.pem\""));
	config_free(read_main(text));
	assert_string_equal(messages, "");
	free(text);
}

static void test_errors(void **state)
{
	(void)state;
	file_write("sites/a.yaml",
		   "workers: 3\nroutes:\n  - " ROUTE("/") "\n  - { path: /b }\n"
							  "limits: { conections: 3 }\n");
	expect_errors(
		"include: sites/a.yaml\nlisten: 127.0.0.1:8080\nworkers: 2\n" APP,
		"sites/a.yaml:1:1: 'workers' is already set on line 3 of " MAIN
		"; remove one of the two\n"
		"sites/a.yaml:4:5: this route has no action; write 'proxy: { upstream: NAME "
		"}', 'memcached: { upstream: NAME, key: TEXT }' or 'redirect: https'\n"
		"sites/a.yaml:5:11: unknown key 'conections'; write 'connections'\n");
	file_write("sites/a.yaml",
		   "routes: [ " ROUTE(
			   "/") " ]\n"
				"upstreams: { app: { servers: [127.0.0.1:2] } }\n");
	expect_errors("include: sites/a.yaml\nlisten: 127.0.0.1:8080\nroutes: [" ROUTE(
			      "/") "]\n"
				   "upstreams:\n  app: { servers: [127.0.0.1:1] }\n",
		      "sites/a.yaml:1:11: never reached: the route on line 3 of " MAIN
		      " matches the same requests; remove one of the two\n"
		      "sites/a.yaml:2:14: 'app' is already defined on line 5 of " MAIN
		      "; use another name\n");
	file_write("sites/a.yaml", "- routes\n");
	file_write("sites/b.yaml", "a: [\n");
	expect_errors(
		"include: [sites/a.yaml, sites/b.yaml, absent.yaml, sites]\n"
		"listen: 127.0.0.1:8080\nroutes: [" ROUTE("/") "]\n" APP,
		MAIN
		":1:39: 'absent.yaml' does not exist; write the path of a file, or a "
		"pattern such as sites/*.yaml\n" MAIN
		":1:52: 'sites' cannot be included (Is a directory); write the path of a "
		"file that the user who starts fairlead can read\n"
		"sites/a.yaml:1:1: an included file has keys; write 'key: value'\n"
		"sites/b.yaml:2:1: did not find expected node content while parsing a flow "
		"node (line 2); put values that begin with [ or { in double quotes, as in "
		"\"[::1]:8080\"\n");
	expect_errors("include: []\n" APP
		      "routes: [" ROUTE("/") "]\nlisten: 127.0.0.1:8080\n",
		      MAIN ":1:1: 'include' is empty; write 'include: [sites/*.yaml]'\n");
}

static void test_cycles(void **state)
{
	(void)state;
	file_write("sites/a.yaml", "include: b.yaml\n");
	file_write("sites/b.yaml", "include: ../sites/a.yaml\n");
	expect_errors(
		"include: sites/a.yaml\nlisten: 127.0.0.1:8080\nroutes: [" ROUTE(
			"/") "]\n" APP,
		"sites/b.yaml:1:10: 'sites/../sites/a.yaml' includes itself, directly or by a "
		"file that it includes; remove it here, or use a pattern that does not match "
		"it\n");
	expect_errors("include: \"main.*\"\nlisten: 127.0.0.1:8080\nroutes: [" ROUTE(
			      "/") "]\n" APP,
		      MAIN ":1:10: '" MAIN
			   "' includes itself, directly or by a file that it includes; "
			   "remove it here, or use a pattern that does not match it\n");
	file_write("sites/a.yaml", "listen: 127.0.0.1:8080\n");
	expect_errors(
		"include: [sites/a.yaml, \"sites/a*\"]\nroutes: [" ROUTE("/") "]\n" APP,
		MAIN
		":1:25: 'sites/a.yaml' is included already, on line 1; remove one of the "
		"two\n");
}

static void test_depth(void **state)
{
	char name[32], text[64];

	(void)state;
	for (unsigned i = 0; i < 9; i++) {
		snprintf(name, sizeof(name), "deep%u.yaml", i);
		snprintf(text, sizeof(text), "include: deep%u.yaml\n", i + 1);
		file_write(name, i < 8 ? text : "listen: 127.0.0.1:8080\n");
	}
	expect_errors(
		"include: deep0.yaml\nroutes: [" ROUTE("/") "]\n" APP, MAIN
		":1:1: 'listen' is missing; write 'listen: [HOST:PORT, …]'\n"
		"deep7.yaml:1:10: files include each other more than 8 levels deep; use "
		"fewer levels\n");
	config_free(read_main("include: deep1.yaml\nroutes: [" ROUTE("/") "]\n" APP));
	assert_string_equal(messages, "");
}

/* A snapshot opens no file, and has the same. */
static void test_snapshot(void **state)
{
	struct config *c, *again;
	char *a, *b;

	(void)state;
	file_write("sites/a.yaml", "routes: [" ROUTE("/a") "]\n");
	c = read_main("include: \"sites/?.yaml\"\nlisten: 127.0.0.1:8080\n" APP);
	assert_non_null(c);
	unlink("sites/a.yaml");
	again = config_read_snapshot(c->snapshot, stderr);
	assert_non_null(again);
	a = printed(c);
	b = printed(again);
	assert_string_equal(a, b);
	free(a);
	free(b);
}

static void remove_all(const char *folder)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
}

static int sites_make(void **state)
{
	(void)state;
	return mkdir("sites", 0700) | mkdir("sites/sub", 0700);
}

static int sites_remove(void **state)
{
	(void)state;
	remove_all("sites");
	return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, sites_make, sites_remove)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_sum),    TEST(test_folders), TEST(test_errors),
		TEST(test_cycles), TEST(test_depth),   TEST(test_snapshot),
	};
	int failed;

	tls_files_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(messages);
	tls_files_remove();
	return failed;
}

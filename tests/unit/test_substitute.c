/* `${env.NAME}` and `${file:PATH}` in values: what they become, and that --print and snapshots have
 * what they should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "config/config.h"
#include "config/match.h"
#include "lib/tlsfiles.h"

#define MAIN "main.yaml"
#define GOOD                                                                        \
	"listen: [127.0.0.1:8080]\n"                                                \
	"upstreams: { app: { servers: [127.0.0.1:1] }, mc: { protocol: memcached, " \
	"servers: [127.0.0.1:2] } }\n"                                              \
	"routes:\n"                                                                 \
	"  - { path: /mc, memcached: { upstream: mc, key: k } }\n"                  \
	"  - { prefix: /, proxy: { upstream: app } }\n"

#define SECRETS                                                                      \
	"listen: [\"127.0.0.1:${env.FL_PORT:-8081}\"]\n"                             \
	"workers: ${env.FL_WORKERS}\n"                                               \
	"upstreams: { app: { servers: [\"127.0.0.1:${env.FL_BACK}\"], queue: 7 },\n" \
	"  mc: { protocol: memcached, servers: [127.0.0.1:2] } }\n"                  \
	"routes:\n"                                                                  \
	"  - { path: /m, memcached: { upstream: mc,\n"                               \
	"      key: \"a${env.FL_KEY}-${file:secret}-${path}-$${env.FL_KEY}\" } }\n"  \
	"  - { prefix: /, proxy: { upstream: app, path: \"/${env.FL_PATH}\" } }\n"

static char *messages; /* of the last reading */

/* NULL: refused. */
static struct config *read_main(const char *text)
{
	size_t size;
	FILE *errors;
	struct config *c;

	free(messages);
	tls_file_write(MAIN, slice_of(text));
	errors = open_memstream(&messages, &size);
	c = config_read(MAIN, errors);
	fclose(errors);
	return c;
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

static void environment_set(void)
{
	setenv("FL_WORKERS", "3", 1);
	setenv("FL_BACK", "4000", 1);
	setenv("FL_PATH", "hidden", 1);
	setenv("FL_KEY", "${host}$$", 1);
	tls_file_write("secret", SLICE("s3cret\r\n"));
}

static void assert_values(const struct config *c)
{
	const struct template *t = &c->routes[0].memcached->key;
	static const char *const literals[] = { "a", "${host}$$", "-",  "s3cret",
						"-", NULL,        "-$", "{env.FL_KEY}" };

	assert_string_equal(c->listens[0].text, "127.0.0.1:8081");
	assert_int_equal(c->workers, 3);
	assert_string_equal(c->upstreams[0].servers[0].address, "127.0.0.1:4000");
	assert_true(slice_equal(c->routes[1].proxy->path, SLICE("/hidden")));
	assert_int_equal(t->part_n, COUNT(literals));
	for (size_t i = 0; i < COUNT(literals); i++) {
		assert_int_equal(t->parts[i].variable,
				 literals[i] ? VARIABLE_NONE : VARIABLE_PATH);
		if (literals[i])
			assert_true(slice_equal(t->parts[i].text, slice_of(literals[i])));
	}
}

static void test_values(void **state)
{
	struct config *c, *again;
	char *text, *twice;

	(void)state;
	environment_set();
	c = read_main(SECRETS);
	if (!c || messages[0])
		fail_msg("%s", messages);
	assert_values(c);
	text = printed(c);
	assert_null(strstr(text, "s3cret"));
	assert_null(strstr(text, "hidden"));
	assert_non_null(strstr(
		text, "key: \"a${env.FL_KEY}-${file:secret}-${path}-$${env.FL_KEY}\""));
	assert_non_null(strstr(text, "path: \"/${env.FL_PATH}\""));
	assert_non_null(strstr(text, "workers: \"${env.FL_WORKERS}\""));
	again = read_main(text);
	assert_string_equal(messages, "");
	assert_values(again);
	twice = printed(again);
	assert_string_equal(text, twice);
	free(text);
	free(twice);
	config_free(again);
	config_free(c);
}

#define TESTS                                                    \
	"listen: 8080\n"                                         \
	"upstreams: { app: { servers: [127.0.0.1:3000] } }\n"    \
	"routes:\n"                                              \
	"  - prefix: /\n"                                        \
	"    match: { header: { X-Key: \"${file:secret}\" } }\n" \
	"    proxy: { upstream: app }\n"

/* A secret that a field must have is text, whatever it looks like, and is not printed. */
static void test_tests(void **state)
{
	static const char *const secrets[] = { "*", "~s3cret", "s3cret*", "${s3cret}" };
	struct config *c;
	char *text;

	(void)state;
	for (size_t i = 0; i < COUNT(secrets); i++) {
		const struct config_test *t;

		tls_file_write("secret", slice_of(secrets[i]));
		c = read_main(TESTS);
		if (!c)
			fail_msg("%s", messages);
		t = &c->routes[0].match->conditions[0].tests[0];
		assert_int_equal(t->kind, TEST_EXACT);
		assert_true(slice_equal(t->text, slice_of(secrets[i])));
		text = printed(c);
		assert_null(strstr(text, "s3cret"));
		assert_non_null(strstr(text, "exact: \"${file:secret}\""));
		free(text);
		config_free(c);
	}
}

/* An error does not show what a reference stands for. */
static void test_hidden(void **state)
{
	(void)state;
	tls_file_write("secret", SLICE("s3cret"));
	assert_null(read_main("workers: \"${file:secret}\"\n" TESTS));
	assert_string_equal(
		messages,
		"main.yaml:1:10: what this stands for is no value of 'workers'; "
		"write it here to see why\n");
}

/* The text of a key that a reader of its own copies, whole or with something before it. */
static void test_copied(void **state)
{
	struct config *c;
	char *text;

	(void)state;
	environment_set();
	setenv("FL_SECRET", "s3cret", 1);
	c = read_main(GOOD "control: \"unix:/run/${env.FL_SECRET}\"\n"
			   "access_log: [{ syslog: \"unix:/${env.FL_SECRET}\" },\n"
			   "  { name: \"${env.FL_SECRET}\" }]\n");
	assert_non_null(c);
	text = printed(c);
	assert_non_null(strstr(text, "control: \"unix:/run/${env.FL_SECRET}\"\n"));
	assert_non_null(strstr(text, "syslog: \"unix:/${env.FL_SECRET}\"\n"));
	assert_non_null(strstr(text, "name: \"${env.FL_SECRET}\"\n"));
	assert_null(strstr(text, "s3cret"));
	free(text);
	config_free(c);
}

/* The snapshot has the values: the worker process has neither environment nor files. */
static void test_snapshot(void **state)
{
	struct config *c, *again;

	(void)state;
	environment_set();
	c = read_main(SECRETS);
	assert_non_null(c);
	setenv("FL_KEY", "other", 1);
	unsetenv("FL_WORKERS");
	unlink("secret");
	again = config_read_snapshot(c->snapshot, stderr);
	assert_non_null(again);
	assert_values(again);
	config_free(again);
	config_free(c);
}

static void test_watched(void **state)
{
	struct config *c, *next;

	(void)state;
	environment_set();
	c = read_main(SECRETS);
	assert_int_equal(config_read_contents(c, &next, stderr), CONFIG_CONTENTS_SAME);
	tls_file_write("secret", SLICE("new"));
	assert_int_equal(config_read_contents(c, &next, stderr), CONFIG_CONTENTS_NEW);
	assert_true(
		slice_equal(next->routes[0].memcached->key.parts[3].text, SLICE("new")));
	config_free(next);
	config_free(c);
}

static void expect_errors(const char *text, const char *errors, const char *corrected)
{
	struct config *c = read_main(text);

	assert_null(c);
	assert_string_equal(messages, errors);
	c = read_main(corrected);
	assert_string_equal(messages, "");
	config_free(c);
}

static void test_errors(void **state)
{
	(void)state;
	environment_set();
	unsetenv("FL_NONE");
	tls_file_write("two", SLICE("one\ntwo\n"));
	expect_errors(
		GOOD "workers: ${env.FL_NONE}\nengine: \"${env.a-b}\"\n",
		MAIN
		":6:16: the environment variable 'FL_NONE' is not set; set it, or write "
		"'${env.FL_NONE:-VALUE}'\n" MAIN
		":7:16: 'a-b' is not the name of an environment variable; write "
		"${env.NAME} or ${env.NAME:-VALUE}\n",
		GOOD "workers: ${env.FL_NONE:-2}\nengine: \"${env.a_b:-auto}\"\n");
	setenv("FL_LATIN", "caf\xe9", 1);
	expect_errors(GOOD "user: \"a${env.FL_LATIN}${env.FL_PATH}\"\n",
		      MAIN
		      ":6:9: the value of '${env.FL_LATIN}' is not UTF-8; write it in "
		      "UTF-8\n",
		      GOOD "user: nobody\n");
	setenv("FL_LATIN", "caf\xc3\xa9", 1);
	expect_errors(
		GOOD "workers: ${env.FL_KEY}\n",
		MAIN ":6:10: 'workers' cannot contain variables; write the text itself\n",
		GOOD "workers: ${env.FL_WORKERS}\n");
	expect_errors(
		GOOD "user: ${file:absent}\ngroup: ${file:two}\n",
		MAIN
		":6:7: 'absent' cannot be read (No such file or directory); write the "
		"path of a file that the user who starts fairlead can read\n" MAIN
		":7:15: 'two' is not a line of text; write one line into it\n",
		GOOD "user: nobody\n");
}

/* Credentials of a service: files in a folder that the environment names. */
static void test_credentials(void **state)
{
	struct config *c;
	char *text;

	(void)state;
	tls_file_write("two", SLICE("one\ntwo\n"));
	tls_file_write("token", SLICE("t0ken\n"));
	unsetenv("CREDENTIALS_DIRECTORY");
	expect_errors(
		GOOD "user: ${credential.token}\ngroup: \"a${credential.a/b}\"\n",
		MAIN
		":6:20: the environment variable 'CREDENTIALS_DIRECTORY' is not set, as it is "
		"in a service with credentials; set it, or write '${file:PATH}'\n" MAIN
		":7:23: 'a/b' is not the name of a credential; write ${credential.NAME}\n",
		GOOD "user: nobody\n");
	setenv("CREDENTIALS_DIRECTORY", ".", 1);
	expect_errors(
		GOOD "user: ${credential.absent}\ngroup: ${credential.two}\n",
		MAIN
		":6:7: './absent' cannot be read (No such file or directory); write the path "
		"of a file that the user who starts fairlead can read\n" MAIN
		":7:21: './two' is not a line of text; write one line into it\n",
		GOOD "user: nobody\n");
	c = read_main(
		"listen: 8080\nupstreams: { app: { servers: [127.0.0.1:1] } }\nroutes:\n"
		"  - { prefix: /, proxy: { upstream: app, path: \"/${credential.token}\" } }\n");
	assert_string_equal(messages, "");
	assert_true(slice_equal(c->routes[0].proxy->path, SLICE("/t0ken")));
	text = printed(c);
	assert_non_null(strstr(text, "/${credential.token}"));
	assert_null(strstr(text, "t0ken"));
	free(text);
	config_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),   cmocka_unit_test(test_tests),
		cmocka_unit_test(test_hidden),   cmocka_unit_test(test_copied),
		cmocka_unit_test(test_snapshot), cmocka_unit_test(test_watched),
		cmocka_unit_test(test_errors),   cmocka_unit_test(test_credentials),
	};
	int failed;

	tls_files_make();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	free(messages);
	tls_files_remove();
	return failed;
}

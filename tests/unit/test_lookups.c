/* Resolution of server names while a configuration is read: names that cannot be resolved do not
 * prevent the others from being used.
 *
 * beside */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/config.h"
#include "io/sock.h"
#include "lib/nameserver.h"

#define SECONDS_MAX 30 /* expected are 5; the machine may be busy */

static const struct nameserver_row rows[] = {
	{ "app.test", DNS_A, 60, "127.0.0.2" },
	{ "app.test", DNS_AAAA, 60, "::1" },
	{ "ill.test", DNS_A, 60, "!fail" },
	{ "ill.test", DNS_AAAA, 60, "!fail" },
	{ "half.test", DNS_A, 60, "127.0.0.3" },
	{ "half.test", DNS_AAAA, 60, "!fail" },
	{ "empty.test", DNS_SRV, 60, "0 0 80 app.test" },
	{ "deaf.test", DNS_A, 60, "!silent" },
	{ "deaf.test", DNS_AAAA, 60, "!silent" },
};

static struct nameserver nameserver;
static pid_t child;

static int open_nameserver(void **state)
{
	(void)state;
	nameserver_open(&nameserver, rows, sizeof(rows) / sizeof(rows[0]));
	child = fork();
	assert_true(child >= 0);
	if (child > 0)
		return 0;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		struct pollfd fd = { nameserver.fd, POLLIN, 0 };

		poll(&fd, 1, -1);
		nameserver_serve(&nameserver);
	}
}

static int close_nameserver(void **state)
{
	(void)state;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	nameserver_close(&nameserver);
	return 0;
}

/* Reads a configuration with an upstream for each name; *messages is to be freed. */
static struct config *read_names(const char *const *names, unsigned n,
				 const char *resolver,
				 const struct config_options *options, char **messages)
{
	char file[] = "/tmp/test_lookups.XXXXXX";
	FILE *f = fdopen(mkstemp(file), "w"), *out;
	struct config *c;
	size_t size;

	fprintf(f, "listen: [127.0.0.1:8080]\nresolver: { servers: ['%s']%s }\nupstreams:\n",
		nameserver.address, resolver);
	for (unsigned i = 0; i < n; i++)
		fprintf(f, "  u%u: { servers: ['%s'] }\n", i, names[i]);
	fprintf(f, "routes: [{ prefix: /, proxy: { upstream: u0 } }]\n");
	fclose(f);
	out = open_memstream(messages, &size);
	c = config_read_with(file, options, out);
	fclose(out);
	unlink(file);
	return c;
}

static const struct config_options lenient = { .strict = false };

static const struct name {
	const char *name, *address, *failure; /* address NULL: it has none */
} names[] = {
	{ "127.0.0.1:81", "127.0.0.1:81", NULL },
	{ "app.test:80", "127.0.0.2:80", NULL },
	{ "gone.test:80", NULL, "there is no such name" },
	{ "ill.test:80", NULL, "no nameserver has an answer" },
	{ "empty.test:80", NULL, "it has no address" },
	{ "half.test:80", "127.0.0.3:80", NULL },
	{ "srv:empty.test", "127.0.0.2:80", NULL },
	{ "srv:gone.test", NULL, "there is no such name" },
	{ "unix:/some/path", "unix:/some/path", NULL },
};
#define NAMES (sizeof(names) / sizeof(names[0]))

static void assert_server(const struct config_server *s, const struct name *name)
{
	char text[SOCK_TEXT_MAX];

	assert_string_equal(s->address, name->name);
	assert_int_equal(s->unresolved, name->failure != NULL);
	assert_int_equal(s->address_n > 0, name->address != NULL);
	if (!name->address)
		return;
	sock_text((const struct sockaddr *)&s->addresses[0].sa, text, sizeof(text));
	assert_string_equal(text, name->address);
}

static void assert_reported(const char *messages, const struct name *name,
			    const char *options)
{
	char text[200];
	const char *host = strncmp(name->name, "srv:", 4) == 0 ? name->name + 4 : name->name;

	snprintf(text, sizeof(text), "%s'%.*s' cannot be resolved (%s)", options,
		 (int)strcspn(host, ":"), host, name->failure ? name->failure : "");
	assert_int_equal(strstr(messages, text) != NULL, name->failure != NULL);
}

/* Names that can be resolved are, in the configuration and in that read from its snapshot. */
static void test_unresolved_names(void **state)
{
	const char *texts[NAMES];
	struct config *c, *again;
	char *messages;

	(void)state;
	for (unsigned i = 0; i < NAMES; i++)
		texts[i] = names[i].name;
	c = read_names(texts, NAMES, "", &lenient, &messages);
	assert_non_null(c);
	again = config_read_snapshot(c->snapshot, stderr);
	assert_non_null(again);
	for (unsigned i = 0; i < NAMES; i++) {
		assert_server(&c->upstreams[i].servers[0], &names[i]);
		assert_server(&again->upstreams[i].servers[0], &names[i]);
		assert_reported(messages, &names[i], "warning: ");
		if (names[i].failure)
			assert_string_equal(again->upstreams[i].servers[0].host,
					    c->upstreams[i].servers[0].host);
	}
	config_free(again);
	config_free(c);
	free(messages);
}

/* With `strict`, in the file or in the options, each unresolved name is an error. */
static void test_strict(void **state)
{
	static const char *const ways[] = { "", ", strict: true" };
	const struct config_options strict = { .strict = true };
	const char *texts[NAMES];
	char *messages;

	(void)state;
	for (unsigned i = 0; i < NAMES; i++)
		texts[i] = names[i].name;
	for (unsigned way = 0; way < 2; way++) {
		assert_null(read_names(texts, NAMES, ways[way], way ? &lenient : &strict,
				       &messages));
		for (unsigned i = 0; i < NAMES; i++)
			assert_reported(messages, &names[i], ": ");
		assert_null(strstr(messages, "warning"));
		free(messages);
	}
}

/* Known addresses are used for names that cannot be resolved, and only for these. */
static void test_known(void **state)
{
	const char *const texts[] = { "gone.test:80", "app.test:80", "srv:gone.test" };
	struct config_options options = lenient;
	char *messages, *known;
	struct config *c;
	size_t n;
	FILE *out;

	(void)state;
	options.known_addresses = SLICE(
		"app.test:80 1 10.0.0.1:80\ngone.test:80 3 10.0.0.2:80\n"
		"gone.test:80 1 [::1]:80\nsrv:gone.test 5 10.0.0.3:8080\n"
		"gone.test:81 1 10.0.0.4:81\nnonsense\n\n");
	c = read_names(texts, 3, "", &options, &messages);
	assert_non_null(c);
	assert_int_equal(c->upstreams[0].servers[0].address_n, 2);
	assert_int_equal(c->upstreams[0].servers[0].addresses[0].weight, 3);
	assert_true(c->upstreams[0].servers[0].unresolved);
	assert_server(&c->upstreams[1].servers[0], &names[1]);
	assert_non_null(strstr(messages, "'u0' keeps its previous addresses"));
	out = open_memstream(&known, &n);
	config_write_addresses(c, out);
	fclose(out);
	assert_string_equal(known, "gone.test:80 3 10.0.0.2:80\ngone.test:80 1 [::1]:80\n"
				   "app.test:80 1 127.0.0.2:80\napp.test:80 1 [::1]:80\n"
				   "srv:gone.test 5 10.0.0.3:8080\n");
	config_free(c);
	free(messages);
	free(known);
}

/* A name that two upstreams have is written once: otherwise its addresses would double with each
 * failed lookup. */
static void test_known_once(void **state)
{
	const char *const texts[] = { "app.test:80", "app.test:80" };
	struct config_options options = lenient;
	struct config *c;
	char *messages, *known;
	size_t n;
	FILE *out;

	(void)state;
	c = read_names(texts, 2, "", &options, &messages);
	assert_non_null(c);
	assert_int_equal(c->upstreams[1].servers[0].address_n, 2);
	out = open_memstream(&known, &n);
	config_write_addresses(c, out);
	fclose(out);
	assert_string_equal(known, "app.test:80 1 127.0.0.2:80\napp.test:80 1 [::1]:80\n");
	config_free(c);
	free(messages);
	free(known);
}

#define MANY 20000

/* One name per upstream, at the limit: the search of known addresses is not quadratic. */
static void test_many_known(void **state)
{
	struct config_options options = lenient;
	const char *texts[MANY];
	char *known, *messages, *text;
	struct timespec from, to;
	struct config *c;
	size_t n, text_n;
	FILE *out = open_memstream(&known, &n), *all = open_memstream(&text, &text_n);

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		fprintf(out, "n%05u.test:80 1 10.0.%u.%u:80\n", i, i / 256, i % 256);
		fprintf(all, "n%05u.test:80%c", i, '\0');
	}
	fclose(out);
	fclose(all);
	for (unsigned i = 0; i < MANY; i++)
		texts[i] = text + i * sizeof("n00000.test:80");
	options.known_addresses = (struct slice){ known, n };
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
	c = read_names(texts, MANY, "", &options, &messages);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
	assert_non_null(c);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(c->upstreams[i].servers[0].address_n, 1);
	assert_true(to.tv_sec - from.tv_sec < 10);
	config_free(c);
	free(text);
	free(messages);
	free(known);
}

/* The time is bounded, however many names get no response. */
static void test_bounded(void **state)
{
	const char *texts[200];
	struct timespec from, to;
	struct config *c;
	char *messages;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		texts[i] = i == 199 ? "127.0.0.1:80" : i == 1 ? "app.test:80" : "deaf.test:80";
	clock_gettime(CLOCK_MONOTONIC, &from);
	c = read_names(texts, 200, "", &lenient, &messages);
	clock_gettime(CLOCK_MONOTONIC, &to);
	assert_true(to.tv_sec - from.tv_sec < SECONDS_MAX);
	assert_non_null(c);
	assert_server(&c->upstreams[1].servers[0], &names[1]);
	assert_int_equal(c->upstreams[199].servers[0].address_n, 1);
	assert_int_equal(c->upstreams[198].servers[0].address_n, 0);
	assert_true(c->upstreams[198].servers[0].unresolved);
	assert_non_null(strstr(messages,
			       "'deaf.test' cannot be resolved (no nameserver answers in "
			       "time): upstream 'u198' starts without it"));
	config_free(c);
	free(messages);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unresolved_names),
		cmocka_unit_test(test_strict),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_known_once),
		cmocka_unit_test(test_many_known),
		cmocka_unit_test(test_bounded),
	};

	return cmocka_run_group_tests(tests, open_nameserver, close_nameserver);
}

/* tls_warm(), and what it is for: handshakes of each kind under the sandbox. Each case is a child
 * process, since this one must not have warmed anything. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "config/config.h"
#include "lib/tlsrig.h"
#include "run/worker/sandbox.h"
#include "tls/session.h"
#include "tls/warm.h"

enum { GOOD, CANNOT_CLOSE = 99, FAILED_BEFORE, FAILED_AFTER };

static pthread_barrier_t closed, warmed;

static void warm_or_exit(int status)
{
	char error[256] = "";

	if (tls_warm(error, sizeof(error)))
		return;
	fprintf(stderr, "%s\n", error);
	_exit(status);
}

static void *warm_thread(void *unused)
{
	pthread_barrier_wait(&warmed);
	pthread_barrier_wait(&closed);
	warm_or_exit(FAILED_AFTER);
	return unused;
}

/* What workers do: handshakes of sessions, with contexts that a reload makes. */
static void sessions_shake(void)
{
	static const enum tls_records modes[] = { TLS_RECORDS_OWN, TLS_RECORDS_OPENSSL };

	for (unsigned i = 0; i < 4; i++) {
		const struct tls_policy policy = { .client_auth = TLS_AUTH_OPTIONAL,
						   .ca = rig_ca->certificate_pem };
		struct tls_context *server = rig_server_context(
			(struct tls_server_options){ .records = modes[i & 1],
						     .pairs = i & 2 ? &rig_rsa->pair
								    : NULL,
						     .pairs_n = i & 2 ? 1 : 0,
						     .policies = &policy,
						     .policies_n = i & 1,
						     .tickets = true });
		struct tls_context *client = rig_client_context(
			(struct tls_client_options){ .records = modes[i & 1],
						     .verify = true,
						     .resume = true,
						     .pair = &rig_p256->pair });
		struct tls_context *stranger =
			rig_client_context((struct tls_client_options){
				.verify = true,
				.ca = (i & 2 ? rig_p256 : rig_rsa)->certificate_pem });
		struct tls_saved saved = { 0 };
		struct tls_side s, c;
		struct raw raw;

		for (unsigned j = 0; j < 2; j++) {
			sides_open(&s, &c, server, client, &saved, 1460);
			assert_int_equal(s.tls->state, TLS_OPEN);
			side_send(&s, &c, 100, 100, 1460);
			assert_int_equal(s.tls->resumed, j && !(i & 1));
			sides_free(&s, &c);
		}
		sides_open(&s, &c, server, stranger, NULL, 1460);
		assert_int_equal(c.tls->fault, TLS_FAULT_CERTIFICATE_UNTRUSTED);
		sides_free(&s, &c);
		side_accept(&s, server);
		raw_new(&raw, false, TLS1_2_VERSION);
		raw_settle(&raw, &s, 1460);
		assert_int_equal(s.tls->version, TLS_1_2);
		raw_free(&raw);
		side_free(&s);
		tls_saved_drop(&saved);
		tls_context_unref(server);
		tls_context_unref(client);
		tls_context_unref(stranger);
	}
}

static void close_or_exit(enum io_engine_kind engine)
{
	struct config config = { .resolver.off = true };
	const char *what;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    sandbox_close(engine, &config, 77, &what) < 0)
		_exit(CANNOT_CLOSE);
}

/* Two threads, of which one has warmed the process. */
static void warm_then_close(enum io_engine_kind engine)
{
	pthread_t thread;

	/* Before sandbox_prepare(), which uses the library. */
	tls_library_init();
	sandbox_prepare();
	pthread_barrier_init(&warmed, NULL, 2);
	pthread_barrier_init(&closed, NULL, 2);
	if (pthread_create(&thread, NULL, warm_thread, NULL) != 0)
		_exit(CANNOT_CLOSE);
	warm_or_exit(FAILED_BEFORE);
	rig_set_up(NULL);
	pthread_barrier_wait(&warmed);
	close_or_exit(engine);
	pthread_barrier_wait(&closed);
	warm_or_exit(FAILED_AFTER);
	sessions_shake();
	pthread_join(thread, NULL);
	_exit(GOOD);
}

static void close_without(enum io_engine_kind engine)
{
	tls_library_init();
	sandbox_prepare();
	close_or_exit(engine);
	warm_or_exit(FAILED_AFTER);
	_exit(GOOD);
}

static int status_of(void (*run)(enum io_engine_kind), enum io_engine_kind engine)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		run(engine);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void skip_without(void)
{
	if (strstr(sandbox_describe(), " no "))
		skip();
}

static void handshakes_are_possible_in_the_sandbox(void **state)
{
	(void)state;
	skip_without();
	for (unsigned i = 0; i < 2; i++) {
		int status = status_of(warm_then_close,
				       i ? IO_ENGINE_RING : IO_ENGINE_EPOLL);

		if (!WIFEXITED(status) || WEXITSTATUS(status) != GOOD)
			fail_msg("status %#x", (unsigned)status);
	}
}

/* Else tls_warm() would be of no use. */
static void they_are_not_without(void **state)
{
	int status;

	(void)state;
	skip_without();
	status = status_of(close_without, IO_ENGINE_EPOLL);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGSYS);
}

/* Everything is freed again: what the library counts does not grow. */
static void warming_leaves_nothing(void **state)
{
	char error[256] = "";
	size_t before, after;

	(void)state;
	assert_true(tls_library_init());
	assert_true(tls_warm(error, sizeof(error)));
	assert_true(tls_warm(error, sizeof(error)));
	before = tls_library_bytes();
	assert_true(before > 10000);
	for (unsigned i = 0; i < 5; i++)
		assert_true(tls_warm(error, sizeof(error)));
	after = tls_library_bytes();
	assert_true(after < before + 2000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_are_not_without),
		cmocka_unit_test(handshakes_are_possible_in_the_sandbox),
		cmocka_unit_test(warming_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

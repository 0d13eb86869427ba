/* A whole proxy whose route /again/ asks for a name and a password. Verifications are made in place,
 * so their results come with the next tick. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../src/rules/basicauth.h"
#include "../../src/rules/verifier.h"
#include "lib/proxycase.h"
#include "proxy/rule.h"

/* Of "secret", and of "b:c". */
#define SECRET "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define USERS "ann:" SECRET "\nbob:" SECRET "\n"

#define WITH(value)                                                                \
	"GET /again/length/4 HTTP/1.1\r\nHost: app\r\nAuthorization: Basic " value \
	"\r\n\r\n"
#define ANN WITH("YW5uOnNlY3JldA==")    /* ann:secret */
#define BOB WITH("Ym9iOnNlY3JldA==")    /* bob:secret */
#define WRONG WITH("YW5uOlNlY3JldA==")  /* ann:Secret */
#define NOBODY WITH("YW5hOnNlY3JldA==") /* ana:secret */

static char path[] = "/tmp/fairlead-test-XXXXXX", lines[256];

static void make_users(void)
{
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, USERS, sizeof(USERS) - 1) != sizeof(USERS) - 1)
		abort();
	close(fd);
}

/* `more` keys of the rule. */
static void each_seed(void (*test)(struct proxyrig *r), const char *name,
		      const char *more)
{
	snprintf(lines, sizeof(lines), "    basic_auth: { users: \"%s\"%s }\n", path,
		 more);
	proxycase_each_seed(test, name, (struct proxyrig_options){ .again = lines });
}

static void answers(struct proxyrig *r)
{
	static const struct {
		const char *request;
		int status;
	} rows[] = {
		{ ANN, 200 },    { ANN, 200 },       { BOB, 200 },
		{ WRONG, 401 },  { ANN, 200 },       { NOBODY, 401 },
		{ NOBODY, 401 }, { WITH("="), 401 }, { GET("/again/length/4"), 401 },
	};

	for (size_t i = 0; i < COUNT(rows); i++)
		proxycase_assert_response(
			r, proxycase_request(r, rows[i].request), rows[i].status,
			rows[i].status == 401
				? "WWW-Authenticate: Basic realm=\"restricted\", "
				  "charset=\"UTF-8\"\r\n"
				: "Length: 4");
	proxycase_assert_ending(r, ENDING_UNAUTHORIZED);
	assert_int_equal(proxyrig_logged(r, "\"user\":\"ann\""), 3);
	assert_int_equal(proxyrig_logged(r, "\"user\":\"bob\""), 1);
	assert_int_equal(proxyrig_logged(r, "\"user\":\"ana\""), 0);
}

/* Requests with the same credentials in the same tick share a verification. */
static void together(struct proxyrig *r)
{
	struct sim_peer *clients[6];

	for (unsigned i = 0; i < COUNT(clients); i++)
		clients[i] = proxycase_request(r, i % 3 == 2 ? WRONG : ANN);
	for (unsigned i = 0; i < COUNT(clients); i++)
		proxycase_assert_response(r, clients[i], i % 3 == 2 ? 401 : 200, "");
}

/* The clients leave at once, or after a while; what they have asked for comes back nevertheless. */
static void clients_leave(struct proxyrig *r)
{
	struct sim_peer *clients[8];

	for (unsigned i = 0; i < COUNT(clients); i++) {
		clients[i] = proxycase_request(r, i % 2 ? ANN : WRONG);
		if (i % 3 == 0)
			sim_peer_reset(clients[i]);
	}
	simrig_run(&r->sim, simrig_draw(&r->sim, 5));
	for (unsigned i = 0; i < COUNT(clients); i++)
		if (i % 3 == 1)
			sim_peer_close(clients[i]);
	SIMRIG_UNTIL(&r->sim, r->stats.requests_in_flight == 0, 3000);
	proxycase_assert_response(r, proxycase_request(r, ANN), 200, "Length: 4");
}

static void test_answers(void **state)
{
	(void)state;
	each_seed(answers, "answers", "");
	each_seed(together, "together", "");
	each_seed(together, "together, not kept", ", cache: off");
	each_seed(clients_leave, "clients leave", ", cache: off");
}

/* ---- a full queue ------------------------------------------------------------- */

static void nothing(struct verification *v)
{
	(void)v;
}

static void wake(void *sleeper)
{
	(void)sleeper;
}

static void full(struct proxyrig *r)
{
	static struct verification waiting[VERIFIER_QUEUE_MAX];
	static struct mailbox box;
	struct sim_peer *known;

	rules_close(); /* nobody is known */
	assert_true(rules_open(true));
	proxycase_assert_response(r, proxycase_request(r, ANN), 200, "Length: 4");
	mailbox_init(&box, wake, NULL);
	for (unsigned i = 0; i < VERIFIER_QUEUE_MAX; i++) {
		waiting[i] = (struct verification){ .reply_to = &box,
						    .done = nothing,
						    .hash = SECRET };
		assert_true(verifier_submit(basic_auth_verifier(), &waiting[i]));
	}
	proxycase_assert_response(r, proxycase_request(r, BOB), 503,
				  "Retry-After: 1\r\n");
	proxycase_assert_ending(r, ENDING_VERIFIER_BUSY);
	known = proxycase_request(r, ANN);
	proxycase_assert_response(r, known, 200, "Length: 4");
	mailbox_drain(&box);
	proxycase_assert_response(r, proxycase_request(r, BOB), 200, "Length: 4");
}

static void test_full(void **state)
{
	(void)state;
	snprintf(lines, sizeof(lines), "    basic_auth: { users: \"%s\" }\n", path);
	proxycase_some_seeds(8, full, "full",
			     (struct proxyrig_options){ .again = lines });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_answers),
		PROXYCASE_TEST(test_full),
	};
	int failed;

	make_users();
	if (!rules_open(true))
		return 1;
	failed = proxycase_run("basicauth", tests, COUNT(tests));
	rules_close();
	unlink(path);
	return failed;
}

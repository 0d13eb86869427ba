#define OPENSSL_SUPPRESS_DEPRECATED /* RAND_set_rand_method(): a provider would be 300 lines */
#include "lib/simcrypto.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <time.h>

#include "../../src/tls/contextparts.h"
#include "base/check.h"
#include "base/random.h"
#include "io/io.h"
#include "lib/pki.h"
#include "tls/warm.h"

/* The run that the process is in. */
static struct {
	const struct io_loop *loop; /* NULL: none */
	struct random openssl;      /* what the library draws from */
	struct random choices;
	struct pki *ca, *site;
} run;

/* ---- time ------------------------------------------------------------------- */

/* For the library as well: the program's symbol comes before that of libc. */
time_t time(time_t *at)
{
	struct timespec now = { 0 };

	if (run.loop)
		now.tv_sec = (time_t)(io_wall_ms(run.loop) / 1000);
	else
		clock_gettime(CLOCK_REALTIME, &now);
	if (at)
		*at = now.tv_sec;
	return now.tv_sec;
}

/* ---- randomness ------------------------------------------------------------- */

static int random_bytes(unsigned char *to, int n)
{
	for (int i = 0; i < n; i++)
		to[i] = (unsigned char)random_next(&run.openssl);
	return 1;
}

static int random_seed(const void *bytes, int n)
{
	(void)bytes;
	(void)n;
	return 1;
}

static int random_add(const void *bytes, int n, double entropy)
{
	(void)entropy;
	return random_seed(bytes, n);
}

static int random_status(void)
{
	return 1;
}

static const RAND_METHOD of_the_seed = {
	.seed = random_seed,
	.bytes = random_bytes,
	.add = random_add,
	.pseudorand = random_bytes,
	.status = random_status,
};

void simcrypto_begin(uint64_t seed, const struct io_loop *loop)
{
	ASSERT(tls_library_init());
	simcrypto_end(); /* of a test that has failed */
	run.loop = loop;
	random_init(&run.openssl, seed);
	random_init(&run.choices, ~seed);
	ASSERT(RAND_set_rand_method(&of_the_seed) == 1);
	run.ca = pki_new("ca", &(struct pki_options){
				       .common_name = "CA", .ca = true, .serial = 1 });
	run.site = pki_new("site", &(struct pki_options){
					   .san = "DNS:example.org,DNS:a.test,DNS:b.test",
					   .issuer = run.ca,
					   .serial = 2 });
}

void simcrypto_end(void)
{
	if (!run.loop)
		return;
	pki_free(run.site);
	pki_free(run.ca);
	run.loop = NULL;
	ASSERT(RAND_set_rand_method(NULL) == 1);
}

/* ---- contexts --------------------------------------------------------------- */

static enum tls_records draw_records(void)
{
	return random_below(&run.choices, 2) ? TLS_RECORDS_OWN : TLS_RECORDS_OPENSSL;
}

struct tls_context *simcrypto_server_context(void)
{
	struct tls_server_options options = {
		.name = SLICE("simulation"),
		.pairs = &run.site->pair,
		.pairs_n = 1,
		.min_version = TLS_1_2,
		.protocols = { TLS_HTTP_1_1 },
		.tickets = random_below(&run.choices, 4) > 0,
		.records = draw_records(),
		.keylog_fd = -1,
	};
	char error[256] = "";
	struct tls_context *c;

	for (unsigned i = 0; i < sizeof(options.ticket_secret); i++)
		options.ticket_secret[i] = (uint8_t)random_next(&run.choices);
	c = tls_server_context(&options, error, sizeof(error));
	if (!c)
		fprintf(stderr, "%s\n", error);
	ASSERT(c);
	return c;
}

struct tls_context *simcrypto_client_context(void)
{
	struct tls_client_options options = {
		.name = SLICE("simulation"),
		.verify = true,
		.ca = run.ca->certificate_pem,
		.ca_name = SLICE("ca"),
		.min_version = TLS_1_2,
		.protocols = { TLS_HTTP_1_1 },
		.records = draw_records(),
		.keylog_fd = -1,
		.resume = true,
	};
	char error[256] = "";
	struct tls_context *c = tls_client_context(&options, error, sizeof(error));

	if (!c)
		fprintf(stderr, "%s\n", error);
	ASSERT(c);
	if (random_below(&run.choices, 4) == 0)
		ASSERT(SSL_CTX_set_max_proto_version(c->library, TLS1_2_VERSION) == 1);
	return c;
}

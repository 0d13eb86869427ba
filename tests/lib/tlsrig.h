/* Two ends of TLS connections without a network, for tests: both of ours, or one of the library's.
 *
 * Bytes arrive in receive buffers of at most `cut` bytes each. Owner: the test. Errors end the
 * test. */
#ifndef TESTS_LIB_TLSRIG_H
#define TESTS_LIB_TLSRIG_H

#include <openssl/ssl.h>

#include "lib/pki.h"
#include "tls/session.h"

#define RIG_PLAIN_MAX (1u << 20)

/* One end of ours. */
struct tls_side {
	struct tls *tls;
	char *got; /* plaintext that was read */
	size_t got_n;
	bool ended;     /* tls_read() said so */
	unsigned heavy; /* steps that were */
	char *sent;     /* what the last side_pass() passed on */
	size_t sent_n;
};

extern struct buf_pool rig_bufs;
extern struct tls_thread *rig_thread;
extern uint64_t rig_now_ms;
extern struct pki *rig_ca, *rig_p256, *rig_rsa; /* both for example.org and 127.0.0.1 */
extern struct tls_context *rig_null_server, *rig_null_client;

/* For cmocka: a group of tests. */
int rig_set_up(void **state);
int rig_tear_down(void **state);

/* Contexts. What is not set: a P-256 certificate; the CA of the test. */
struct tls_context *rig_server_context(struct tls_server_options o);
struct tls_context *rig_client_context(struct tls_client_options o);

void side_accept(struct tls_side *s, struct tls_context *c);
void side_connect(struct tls_side *s, struct tls_context *c, struct tls_saved *saved);
void side_free(struct tls_side *s);

void side_deliver(struct tls_side *to, const char *bytes, size_t n, size_t cut);

/* Steps and reads, as far as what has arrived allows. */
void side_run(struct tls_side *s);

/* Moves what the flight holds to s->sent, and releases it. */
void side_pass(struct tls_side *s, struct tls_flight *f);

/* Takes what waits to be sent to s->sent. False: nothing. */
bool side_take(struct tls_side *s);

/* Both ends go on until neither has anything to send. */
void sides_settle(struct tls_side *a, struct tls_side *b, size_t cut);

/* Makes both ends, and a handshake. */
void sides_open(struct tls_side *s, struct tls_side *c, struct tls_context *server,
		struct tls_context *client, struct tls_saved *saved, size_t cut);
void sides_free(struct tls_side *s, struct tls_side *c);

/* Seals n bytes in entries of `piece`, every other one of which is exclusive, and gives them to the
 * other end, which must read the same. */
void side_send(struct tls_side *from, struct tls_side *to, size_t n, size_t piece,
	       size_t cut);

/* Seals some bytes to s->sent. */
void side_seal(struct tls_side *s, const char *bytes, size_t n);

char rig_letter(size_t i); /* of what is sent */

/* ---- against the library ----------------------------------------------------------- */

struct raw {
	SSL_CTX *context;
	SSL *ssl;
	BIO *in, *out;
	char *got;
	size_t got_n;
	bool open, ended;
	int error;  /* SSL_get_error() of the last call that failed */
	int reason; /* with SSL_ERROR_SSL: of the first error */
};

/* `version`: the only one; 0: any. A server has the P-256 certificate. */
void raw_new(struct raw *r, bool server, int version);
void raw_free(struct raw *r);

/* Both go on, as sides_settle(). */
void raw_settle(struct raw *r, struct tls_side *s, size_t cut);

/* Sends n bytes to the other end, which must read them. */
void raw_send(struct raw *r, struct tls_side *s, size_t n, size_t cut);
void side_send_raw(struct tls_side *s, struct raw *r, size_t n, size_t piece, size_t cut);

#endif

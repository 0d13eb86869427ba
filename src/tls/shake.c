#include "shake.h"

#include <openssl/err.h>
#include <pthread.h>
#include <string.h>

#include "endpoint.h"
#include "fault.h"
#include "libraryfault.h"
#include "peer.h"
#include "protocol.h"
#include "provider.h"

/* ---- the BIO ----------------------------------------------------------------------- */

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

/* The bytes of the next record; 0: it is not whole. What is no record counts as one of all that is
 * there: the library refuses it by its header, as it does longer ones. */
static uint32_t next_record(const struct tls_endpoint *e)
{
	uint8_t header[RECORD_HEADER_BYTES];
	uint32_t length;

	if (e->in.bytes < RECORD_HEADER_BYTES)
		return 0;
	sealed_copy(&e->in, 0, header, sizeof(header));
	length = (uint32_t)header[3] << 8 | header[4];
	if (length > RECORD_PLAIN_MAX + 2048 || header[1] != 3)
		return e->in.bytes;
	return e->in.bytes - RECORD_HEADER_BYTES >= length ? RECORD_HEADER_BYTES + length
							   : 0;
}

/* Behind a ticket or a key update the library goes on to the next record in the same call. It gets
 * none that is not whole: it would keep the part, and say for ever that it has something. */
static int bio_read(BIO *bio, char *to, size_t n, size_t *read)
{
	struct tls_endpoint *e = BIO_get_data(bio);
	struct shake *s = e->shake;

	BIO_clear_retry_flags(bio);
	if (s->record_left == 0)
		s->record_left = next_record(e);
	if (s->record_left == 0) {
		BIO_set_retry_read(bio);
		return 0;
	}
	*read = n < s->record_left ? n : s->record_left;
	s->record_left -= (uint32_t)*read;
	sealed_copy(&e->in, 0, to, (uint32_t)*read);
	sealed_consume(&e->in, (uint32_t)*read);
	return 1;
}

/* Follows the records that are written, for the head of the last one. */
static void written_note(struct shake *s, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		uint32_t length;

		if (s->written_at < sizeof(s->written_head))
			s->written_head[s->written_at] = *bytes;
		s->written_at++;
		bytes++;
		n--;
		length = (uint32_t)s->written_head[3] << 8 | s->written_head[4];
		if (s->written_at >= sizeof(s->written_head)) {
			uint32_t left = RECORD_HEADER_BYTES + length - s->written_at;
			uint32_t part = left < n ? left : (uint32_t)n;

			s->written_at += part;
			bytes += part;
			n -= part;
		}
		if (s->written_at >= RECORD_HEADER_BYTES &&
		    s->written_at == RECORD_HEADER_BYTES + length)
			s->written_at = 0;
	}
}

static int bio_write(BIO *bio, const char *bytes, size_t n, size_t *written)
{
	struct tls_endpoint *e = BIO_get_data(bio);

	BIO_clear_retry_flags(bio);
	if (!output_append(&e->out, e->tls.thread->bufs, bytes, n)) {
		e->shake->no_memory = true;
		return 0;
	}
	if (e->tls.state == TLS_SHAKING)
		written_note(e->shake, (const uint8_t *)bytes, n);
	*written = n;
	return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
	(void)bio;
	(void)number;
	(void)pointer;
	return command == BIO_CTRL_FLUSH || command == BIO_CTRL_DUP;
}

static BIO_METHOD *method;

static void method_make(void)
{
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fairlead");
	if (method && (!BIO_meth_set_create(method, bio_create) ||
		       !BIO_meth_set_read_ex(method, bio_read) ||
		       !BIO_meth_set_write_ex(method, bio_write) ||
		       !BIO_meth_set_ctrl(method, bio_control))) {
		BIO_meth_free(method);
		method = NULL;
	}
}

static bool bio_give(SSL *ssl, struct tls_endpoint *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, method_make);
	bio = method ? BIO_new(method) : NULL;
	if (!bio)
		return false;
	BIO_set_data(bio, e);
	SSL_set_bio(ssl, bio, bio);
	return true;
}

/* ---- what the library reports ------------------------------------------------------ */

static bool session_known(struct tls_hooks *hooks, SSL_SESSION *session)
{
	struct shake *s = CONTAINER(hooks, struct shake, hooks);
	struct tls_saved *saved = s->endpoint->saved;

	s->ticket = true;
	if (!saved)
		return false;
	tls_saved_drop(saved);
	saved->session = session;
	saved->identity = s->endpoint->identity;
	return true;
}

/* HandshakeType. */
enum { FINISHED = 20, KEY_UPDATE = 24 };

/* As long as the object stays, it reads and writes the records. */
static void message_count(struct tls_endpoint *e, int is_out, uint64_t counter[2])
{
	if (e->tls.state >= TLS_OPEN)
		stat_add(&counter[is_out ? TLS_OUT : TLS_IN], 1);
}

/* Called for each header of a record, then for each message. */
static void message_seen(int is_out, int version, int type, const void *bytes, size_t n,
			 SSL *ssl, void *argument)
{
	struct shake *s = argument;
	struct tls_counts *counts = &s->endpoint->tls.thread->counts;
	uint32_t *records = is_out ? &s->records_out : &s->records_in;
	const uint8_t *message = bytes;

	(void)version;
	(void)ssl;
	if (type == SSL3_RT_HEADER) {
		++*records;
		message_count(s->endpoint, is_out, counts->records);
	} else if (type == SSL3_RT_HANDSHAKE && n > 0 && message[0] == FINISHED) {
		*records = 0;
	} else if (type == SSL3_RT_HANDSHAKE && n > 0 && message[0] == KEY_UPDATE) {
		*records = 0;
		++*(is_out ? &s->key_updates_out : &s->key_updates_in);
		message_count(s->endpoint, is_out, counts->key_updates);
		if (!is_out && !key_update_allowed(s->endpoint, s->now_ms))
			s->too_many_updates = true;
	}
}

/* ---- begin and end ----------------------------------------------------------------- */

void shake_free(struct tls_endpoint *e)
{
	struct shake *s = e->shake;

	if (!s)
		return;
	e->shake = NULL;
	if (s->ssl) {
		/* Else the library thinks that the connection was cut off, and marks its session
		 * as bad. It sends nothing. */
		SSL_set_shutdown(s->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(s->ssl);
	}
	ERR_clear_error();
	OPENSSL_cleanse(s, sizeof(*s));
	slab_put(&e->tls.thread->shakes, s);
}

static bool shake_make(struct tls_endpoint *e, struct slice name, struct slice sni,
		       enum tls_fault *fault)
{
	struct tls_context *c = e->tls.context;
	struct shake *s = slab_take(&e->tls.thread->shakes);

	*fault = TLS_FAULT_NO_MEMORY;
	if (!s)
		return false;
	e->shake = s;
	s->endpoint = e;
	s->hooks.session = session_known;
	s->ssl = e->tls.server ? tls_object_accept(c, &s->hooks, name, fault)
			       : tls_object_connect(c, &s->hooks, name, sni);
	if (!s->ssl || !bio_give(s->ssl, e))
		return false;
	e->tls.policy = s->hooks.policy;
	SSL_set_msg_callback(s->ssl, message_seen);
	SSL_set_msg_callback_arg(s->ssl, s);
	if (e->saved && e->saved->session && e->saved->identity == e->identity)
		e->tls.offered = SSL_set_session(s->ssl, e->saved->session) == 1;
	return true;
}

/* ---- steps ------------------------------------------------------------------------- */

bool shake_has_record(const struct tls_endpoint *e)
{
	return next_record(e) > 0;
}

bool shake_is_heavy(const struct tls_endpoint *e)
{
	const struct shake *s = e->shake;

	if (!s || !shake_has_record(e))
		return false;
	/* A server has one more step with a key exchange (TLS 1.2) or a signature to verify. */
	return !e->tls.server || SSL_version(s->ssl) < TLS1_3_VERSION ||
	       SSL_get_verify_mode(s->ssl) != SSL_VERIFY_NONE;
}

/* The number of a group in TLS, of the number that the library has for it. */
static uint16_t group_number(int id)
{
	switch (id) {
	case NID_X9_62_prime256v1:
		return 23;
	case NID_secp384r1:
		return 24;
	case NID_secp521r1:
		return 25;
	case NID_X25519:
		return 29;
	case NID_X448:
		return 30;
	default: /* not an enum */
		return id & 0x1000000 ? (uint16_t)id : 0;
	}
}

/* False: the library has derived its keys otherwise, and keeps them; or no code of ours is wanted
 * (provider.h). */
static bool has_secrets(const struct tls_endpoint *e)
{
	if (!provider_wanted())
		return false;
	return e->tls.version != TLS_1_3 ||
	       e->shake->secrets.known == (SCHEDULE_CLIENT | SCHEDULE_SERVER);
}

static void shake_done(struct tls_endpoint *e)
{
	SSL *ssl = e->shake->ssl;
	const unsigned char *protocol;
	struct tls_peer *peer = NULL;
	unsigned protocol_len;

	SSL_get0_alpn_selected(ssl, &protocol, &protocol_len);
	e->tls.protocol = (uint8_t)protocol_of(
		(struct slice){ (const char *)protocol, protocol_len });
	e->tls.version = SSL_version(ssl) == TLS1_3_VERSION ? TLS_1_3 : TLS_1_2;
	e->tls.suite = SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl));
	e->tls.group = group_number((int)SSL_get_negotiated_group(ssl));
	e->tls.resumed = SSL_session_reused(ssl);
	if (e->tls.server && !peer_render(ssl, &peer)) {
		endpoint_fail_with(e, TLS_FAULT_NO_MEMORY, ALERT_NONE);
		return;
	}
	e->tls.peer = peer;
	endpoint_set_state(e, TLS_OPEN);
	e->shake->stays = e->tls.context->records == TLS_RECORDS_OPENSSL ||
			  !suite_find(e->tls.suite) || !has_secrets(e);
	shake_hand_over(e);
}

void shake_fail(struct tls_endpoint *e)
{
	struct shake *s = e->shake;
	struct library_fault f;

	library_fault(s->ssl, &f);
	if (s->no_memory)
		f.fault = TLS_FAULT_NO_MEMORY;
	else if (s->hooks.fault != TLS_FAULT_NONE)
		f.fault = s->hooks.fault;
	e->tls.alert = f.alert;
	e->tls.reason = f.reason;
	/* The session that was offered may be the cause. */
	if (e->tls.state == TLS_SHAKING && e->saved)
		tls_saved_drop(e->saved);
	/* The library has made the alert. */
	endpoint_fail_with(e, f.fault, ALERT_NONE);
}

void shake_step(struct tls_endpoint *e, uint64_t now_ms)
{
	struct shake *s = e->shake;
	int result;

	s->hooks.now_ms = now_ms;
	ERR_clear_error();
	schedule_report_to(&s->secrets);
	result = SSL_do_handshake(s->ssl);
	schedule_report_to(NULL);
	if (result == 1)
		shake_done(e);
	else if (s->no_memory || SSL_get_error(s->ssl, result) != SSL_ERROR_WANT_READ)
		shake_fail(e);
	ERR_clear_error();
}

void shake_accept(struct tls_endpoint *e, uint64_t now_ms)
{
	enum tls_fault fault;

	if (shake_make(e, e->tls.name, SLICE(""), &fault))
		shake_step(e, now_ms);
	else
		endpoint_fail(e, fault);
}

bool shake_connect(struct tls_endpoint *e, struct slice name, struct slice sni)
{
	enum tls_fault fault;

	return shake_make(e, name, sni, &fault);
}

/* ---- after the handshake ----------------------------------------------------------- */

static bool keys_1_3(struct tls_endpoint *e, const struct suite *suite)
{
	struct shake *s = e->shake;
	struct crypt *c = e->tls.thread->crypt;
	bool server = e->tls.server;
	const uint8_t *in = server ? s->secrets.client : s->secrets.server;
	const uint8_t *out = server ? s->secrets.server : s->secrets.client;

	if (!record_keys_from_secret(&e->in_keys, c, suite, in, 0) ||
	    !record_keys_from_secret(&e->out_keys, c, suite, out, 0))
		return false;
	while (s->key_updates_in-- > 0)
		if (!record_keys_update(&e->in_keys, c))
			return false;
	while (s->key_updates_out-- > 0)
		if (!record_keys_update(&e->out_keys, c))
			return false;
	e->in_keys.sequence = s->records_in;
	e->out_keys.sequence = s->records_out;
	return true;
}

/* RFC 5246 6.3. */
static bool keys_1_2(struct tls_endpoint *e, const struct suite *suite)
{
	struct shake *s = e->shake;
	uint8_t master[48], client_random[32], server_random[32];
	struct record_keys client, server;
	bool ok;

	ok = SSL_SESSION_get_master_key(SSL_get0_session(s->ssl), master,
					sizeof(master)) == sizeof(master) &&
	     SSL_get_client_random(s->ssl, client_random, 32) == 32 &&
	     SSL_get_server_random(s->ssl, server_random, 32) == 32 &&
	     record_keys_from_master(&client, &server, e->tls.thread->crypt, suite,
				     master, client_random, server_random);
	if (ok) {
		e->in_keys = e->tls.server ? client : server;
		e->out_keys = e->tls.server ? server : client;
		e->in_keys.sequence += s->records_in;
		e->out_keys.sequence += s->records_out;
		record_keys_continue(&e->out_keys, s->written_head + RECORD_HEADER_BYTES);
	}
	OPENSSL_cleanse(master, sizeof(master));
	OPENSSL_cleanse(&client, sizeof(client));
	OPENSSL_cleanse(&server, sizeof(server));
	return ok;
}

void shake_hand_over(struct tls_endpoint *e)
{
	struct shake *s = e->shake;
	const struct suite *suite = suite_find(e->tls.suite);
	bool awaits_ticket = e->saved && e->tls.version == TLS_1_3 && !s->ticket &&
			     !s->data;
	bool ok;

	if (s->stays || awaits_ticket || SSL_has_pending(s->ssl))
		return;
	if (e->tls.version == TLS_1_3)
		ok = keys_1_3(e, suite);
	else
		ok = keys_1_2(e, suite);
	/* The library sends its reply to a key update with the next data. */
	e->key_update_waiting = SSL_get_key_update_type(s->ssl) != SSL_KEY_UPDATE_NONE;
	if (ok)
		shake_free(e);
	else
		endpoint_fail_with(e, TLS_FAULT_LIBRARY, ALERT_NONE);
}

/* Fuzzes a whole proxy on the simulated engine, from both sides: the bytes of a client, and the
 * responses of origins.
 *
 * An input is a seed, a mode, the client's bytes, and after separators the responses that the
 * origins send, one for each request. When these are used up the origins send correct
 * responses, which contain the hash of the request they have received. A strict parser checks
 * what each side received. Origins: only canonical requests, each of which the client has sent.
 * The client: for each request one complete response, in order and its own, or a visible end
 * of the connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/fuzz.h"
#include "lib/fuzzhead.h"
#include "lib/proxyrig.h"
#include "lib/strict.h"

#define SEPARATOR SLICE("\n====\n")
#define REQUESTS_MAX 64
#define SCRIPTS_MAX 8
#define PATTERN_MAX 40000
/* More than the timeouts of REQUESTS_MAX requests together. */
#define CASE_MS 3000000

enum mode {
	SEND_FIN = 1,       /* the client sends FIN after its last byte */
	UNCUT = 2,          /* the seed does not cut the client's bytes into pieces */
	CLOSE = 4,          /* the client closes after its last byte */
	RESET = 8,          /* the client resets after its last byte */
	ORIGIN_CLOSES = 16, /* origins close after each response from the input */
	SCARCE = 32,        /* few buffers and descriptors */
	TWICE = 64,         /* a second client sends the same bytes */
};

/* A request as the client sent it. */
struct sent {
	struct strict_head head;
	enum strict_verdict body;
	uint64_t hash;
};

struct fuzz_case {
	struct proxyrig rig;
	unsigned mode;
	struct slice stream;
	struct slice scripts[SCRIPTS_MAX]; /* responses from the input */
	unsigned script_n, script_at;
	unsigned sent_n; /* complete heads; `after` is the verdict on what follows */
	enum strict_verdict after;
	bool plain; /* see is_plain() */
	bool sends_after_close; /* the client sends bytes after a request that ends the connection */
	struct sent sent[REQUESTS_MAX];
};

/* ---- the client's requests -------------------------------------------------- */

static uint64_t hash_add(uint64_t hash, struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (unsigned char)s.ptr[i]) * 0x100000001b3u;
	return hash * 0x100000001b3u + s.len;
}

static uint64_t hash_request(const struct strict_head *h, struct slice body)
{
	struct slice slash, rest = fuzz_origin_form(h, &slash);
	uint64_t hash = hash_add(0xcbf29ce484222325u, h->method);

	for (size_t i = 0; i < slash.len; i++)
		hash = (hash ^ (unsigned char)slash.ptr[i]) * 0x100000001b3u;
	for (size_t i = 0; i < rest.len; i++)
		hash = (hash ^ (unsigned char)rest.ptr[i]) * 0x100000001b3u;
	return hash_add(hash, body);
}

static bool is_last_request(const struct strict_head *h)
{
	return h->close || (h->minor == 0 && !h->keep_alive);
}

/* Parses the client's bytes as far as they are requests. */
static void parse_stream(struct fuzz_case *s)
{
	struct slice rest = s->stream;
	struct strict_body body = { .data = malloc(rest.len + 1) };

	while (s->sent_n < REQUESTS_MAX) {
		struct sent *sent = &s->sent[s->sent_n];

		s->after = strict_request(&sent->head, rest);
		if (s->after != STRICT_OK)
			break;
		s->sent_n++;
		rest = slice_after(rest, sent->head.bytes);
		sent->body = strict_read_body(&body, rest, sent->head.framing,
					      sent->head.length, false);
		if (slice_equal(sent->head.method, SLICE("CONNECT")) ||
		    sent->body != STRICT_OK)
			break;
		sent->hash = hash_request(&sent->head, (struct slice){ body.data, body.data_n });
		rest = slice_after(rest, body.bytes);
		s->sends_after_close |= rest.len > 0 &&
					sent->head.framing == STRICT_NONE &&
					is_last_request(&sent->head);
	}
	free(body.data);
}

/* ---- origins ---------------------------------------------------------------- */

static char pattern_byte(uint64_t hash, size_t i)
{
	return (char)('a' + (hash + i * 7 + i / 1000) % 26);
}

/* The body length of a correct response to this target. */
static size_t pattern_length(struct slice target)
{
	size_t n = 0;

	for (size_t i = 0; i < target.len && target.ptr[i] != '?'; i++)
		n = target.ptr[i] >= '0' && target.ptr[i] <= '9' ?
			    n * 10 + (size_t)(target.ptr[i] - '0') : 0;
	return n % PATTERN_MAX;
}

static bool target_starts(const struct strict_head *h, const char *what)
{
	struct slice t = h->target;

	if (slice_starts(t, SLICE("/pair/")))
		t = slice_after(t, 5);
	return slice_starts(t, slice_of(what));
}

static void send_pattern(struct sim_peer *a, uint64_t hash, size_t n, bool chunked)
{
	char *text = malloc(n + 64), *at = text;

	if (chunked && n > 0)
		at += sprintf(at, "%zX;ext=\"1\"\r\n", n);
	for (size_t i = 0; i < n; i++)
		*at++ = pattern_byte(hash, i);
	if (chunked)
		at += sprintf(at, "%s0\r\nX-Sum: 1\r\n\r\n", n > 0 ? "\r\n" : "");
	sim_peer_send(a, (struct slice){ text, (size_t)(at - text) });
	free(text);
}

static void respond_correctly(struct sim_peer *a, const struct strict_head *h,
			      uint64_t hash)
{
	bool chunked = target_starts(h, "/chunked"),
	     until_close = target_starts(h, "/until-close");
	int status = target_starts(h, "/status/204")   ? 204
		     : target_starts(h, "/status/304") ? 304
						       : 200;
	size_t n = pattern_length(h->target);
	char head[256];

	if (target_starts(h, "/interim"))
		sim_peer_send_text(a, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
	if (strict_lists(h, "Expect", SLICE("100-continue")))
		sim_peer_send_text(a, "HTTP/1.1 100 Continue\r\n\r\n");
	snprintf(head, sizeof(head), "HTTP/1.%d %d Fine\r\nX-Seen: %016llx %zu\r\n",
		 !target_starts(h, "/old"), status, (unsigned long long)hash, n);
	sim_peer_send_text(a, head);
	/* Not in canonical form, on purpose. */
	snprintf(head, sizeof(head), "Content-Length:%zu\r\n", n);
	if (chunked)
		sim_peer_send_text(a, "Transfer-Encoding:  chunked\r\n");
	else if (!until_close && status != 204)
		sim_peer_send_text(a, head);
	sim_peer_send_text(a, "\r\n");
	if (!slice_equal(h->method, SLICE("HEAD")) && status == 200)
		send_pattern(a, hash, target_starts(h, "/short") ? n / 2 : n, chunked);
	if (target_starts(h, "/more"))
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	if (until_close || target_starts(h, "/last") || target_starts(h, "/short"))
		sim_peer_close(a);
}

static void tunnel_echo(struct sim_peer *a)
{
	sim_peer_send(a, (struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	a->in_used = a->in_n;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

static void respond_upgrade(struct sim_peer *a)
{
	sim_peer_send_text(a,
			   "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			   "Upgrade: echo\r\n\r\nhello");
	a->on_input = tunnel_echo;
	tunnel_echo(a);
}

static void ignore(struct sim_peer *a)
{
	a->in_used = a->in_n;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* One of the responses may open a tunnel. Then bytes after a request with Upgrade are not a
 * request. */
static bool may_switch(const struct fuzz_case *s)
{
	for (unsigned i = 0; i < s->script_n; i++)
		if (memmem(s->scripts[i].ptr, s->scripts[i].len, " 101", 4))
			return true;
	return false;
}

static void origin_respond(struct fuzz_case *s, struct sim_peer *a,
			   const struct strict_head *h, uint64_t hash)
{
	if (h->upgrade && may_switch(s))
		a->on_input = ignore;
	if (s->script_at < s->script_n) {
		sim_peer_send(a, s->scripts[s->script_at++]);
		if (s->mode & ORIGIN_CLOSES)
			sim_peer_close(a);
	} else if (target_starts(h, "/closed")) {
		sim_peer_close(a);
	} else if (target_starts(h, "/reset")) {
		sim_peer_reset_now(a);
	} else if (target_starts(h, "/upgrade") && h->upgrade) {
		respond_upgrade(a);
	} else if (!target_starts(h, "/never") && !a->head_seen) {
		respond_correctly(a, h, hash);
	}
}

/* It is a request that the configuration makes, for a part of a join. */
static bool is_join_part(const struct strict_head *h)
{
	static const char *const targets[] = { "/length/10", "/chunked/50", "/never", "/" };

	for (size_t i = 0; i < COUNT(targets); i++)
		if (slice_equal(h->target, slice_of(targets[i])))
			return slice_equal(h->method, SLICE("GET"));
	return false;
}

/* The client has sent this request, or it is a part of a join. */
static void check_request_sent(const struct fuzz_case *s, const struct strict_head *h,
			       uint64_t hash)
{
	for (unsigned i = 0; i < s->sent_n; i++)
		if (s->sent[i].body == STRICT_OK && s->sent[i].hash == hash &&
		    !fuzz_forwarded_fault(h, &s->sent[i].head, SLICE("127.0.0.1")))
			return;
	ASSERT(is_join_part(h));
}

/* Handles one request. False: it is not complete. */
static bool origin_read_request(struct sim_peer *a)
{
	static struct strict_head h;
	struct fuzz_case *s = a->owner;
	struct slice rest = { a->in + a->in_used, a->in_n - a->in_used };
	struct strict_body body = { .data = malloc(rest.len + 1) };
	enum strict_verdict v = strict_request(&h, rest);
	bool early;
	uint64_t hash;

	ASSERT(v != STRICT_BAD);
	if (v == STRICT_OK) {
		ASSERT(!h.not_canonical && h.minor == 1);
		v = strict_read_body(&body, slice_after(rest, h.bytes), h.framing, h.length,
				     false);
		ASSERT(v != STRICT_BAD);
		early = target_starts(&h, "/early");
		if (early && !a->head_seen)
			sim_peer_send_text(
				a, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
		a->head_seen = early;
	}
	if (v == STRICT_OK) {
		ASSERT(!body.not_canonical);
		hash = hash_request(&h, (struct slice){ body.data, body.data_n });
		check_request_sent(s, &h, hash);
		a->in_used += h.bytes + body.bytes;
		origin_respond(s, a, &h, hash);
		a->head_seen = false;
	}
	free(body.data);
	return v == STRICT_OK && a->fd >= 0;
}

static void origin_on_input(struct sim_peer *a)
{
	while (a->on_input == origin_on_input && origin_read_request(a))
		;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* ---- memcached -------------------------------------------------------------- */

static bool memcached_read_query(struct sim_peer *a)
{
	struct slice s = { a->in + a->in_used, a->in_n - a->in_used }, key;
	const char *end = memmem(s.ptr, s.len, "\r\n", 2);
	char text[700];

	if (!end || a->fd < 0)
		return false;
	ASSERT(slice_starts(s, SLICE("get ")));
	key = (struct slice){ s.ptr + 4, (size_t)(end - s.ptr) - 4 };
	ASSERT(key.len >= 1 && key.len <= 250);
	for (size_t i = 0; i < key.len; i++)
		ASSERT((unsigned char)key.ptr[i] > ' ' && key.ptr[i] != 0x7f);
	a->in_used += key.len + 6;
	if (slice_starts(key, SLICE("miss")))
		sim_peer_send_text(a, "END\r\n");
	else if (slice_starts(key, SLICE("error")))
		sim_peer_send_text(a, "SERVER_ERROR out of sorts\r\n");
	else if (slice_starts(key, SLICE("bad")))
		sim_peer_send_text(a, "VALUE bad 0 x\r\n");
	else if (slice_starts(key, SLICE("closed")))
		sim_peer_close(a);
	else if (!slice_starts(key, SLICE("never"))) {
		snprintf(text, sizeof(text), "VALUE %.*s 0 %zu\r\nvalue of %.*s\r\nEND\r\n",
			 SLICE_ARG(key), key.len + 9, SLICE_ARG(key));
		sim_peer_send_text(a, text);
	}
	return true;
}

static void memcached_on_input(struct sim_peer *a)
{
	while (memcached_read_query(a))
		;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* ---- checks of the responses ------------------------------------------------ */

/* A correct response of an origin belongs to this request, and its body is complete, or a
 * prefix. */
static void check_seen(const struct sent *sent, const struct strict_head *h,
		       const struct strict_body *body, bool whole, bool has_body)
{
	struct slice seen = strict_find(h, "X-Seen");
	unsigned long long hash;
	char text[64];
	size_t n;

	if (seen.len < 18 || seen.len >= sizeof(text))
		return;
	memcpy(text, seen.ptr, seen.len);
	text[seen.len] = '\0';
	if (sscanf(text, "%16llx %zu", &hash, &n) != 2)
		return;
	ASSERT(sent->body == STRICT_OK && sent->hash == hash);
	if (!has_body)
		return;
	ASSERT(body->data_n <= n && (!whole || body->data_n == n));
	for (size_t i = 0; i < body->data_n; i++)
		ASSERT(body->data[i] == pattern_byte(hash, i));
}

/* A value from the cache is the one of the requested key. */
static void check_value(const struct strict_head *asked, const struct strict_body *body)
{
	struct slice key = asked->target, prefix = SLICE("value of ");
	struct slice value = { body->data, body->data_n };
	const char *mark = memchr(key.ptr, '?', key.len);

	if (mark)
		key.len = (size_t)(mark - key.ptr);
	if (!slice_starts(key, SLICE("/cache/")) || memchr(key.ptr, '%', key.len) ||
	    memmem(key.ptr, key.len, "/.", 2))
		return;
	key = slice_after(key, 7);
	ASSERT(slice_starts(value, prefix) && slice_equal(slice_after(value, prefix.len), key));
}

/* Nothing can go wrong: the origins send only correct responses, and no target causes a fault. */
static bool is_plain(const struct fuzz_case *s)
{
	static const char *const troubles[] = { "/closed", "/reset", "/never", "/short", "/more",
						"/early", "/last", "/upgrade", "/pa", "/cache",
						"/next", "/nobody" };

	for (unsigned i = 0; i < s->sent_n; i++)
		for (size_t k = 0; k < COUNT(troubles); k++)
			if (memmem(s->sent[i].head.target.ptr, s->sent[i].head.target.len,
				   troubles[k], strlen(troubles[k])) ||
			    slice_equal_nocase(s->sent[i].head.authority, SLICE("nowhere")))
				return false;
	return s->script_n == 0 && !(s->mode & (SEND_FIN | CLOSE | RESET | SCARCE));
}

/* This request must get a complete response. Exception: bytes after the last request may arrive
 * at a closed socket, and the reset that they cause may overtake the response. */
static bool must_be_answered(const struct fuzz_case *s, const struct sim_peer *a,
			     const struct sent *sent)
{
	return sent && sent->body == STRICT_OK && s->plain &&
	       !(s->sends_after_close && a->error);
}

enum response_end { END_NONE, END_LAST, END_BROKEN };

/* Checks and removes the first final response in *rest. `sent`: the request it belongs to;
 * NULL: it belongs to bytes that are not a valid request. */
static enum response_end check_response(struct fuzz_case *s, struct sim_peer *a,
					const struct sent *sent, struct slice *rest)
{
	static struct strict_head h;
	struct strict_body body = { .data = malloc(rest->len + 1) };
	struct slice method = sent ? sent->head.method : SLICE("GET");
	enum strict_verdict v;
	enum strict_framing framing;

	do {
		v = strict_response(&h, *rest);
		ASSERT(v != STRICT_BAD);
		if (v == STRICT_OK) {
			ASSERT(!h.not_canonical && (sent || h.status >= 400));
			*rest = slice_after(*rest, h.bytes);
		}
	} while (v == STRICT_OK && h.status < 200 && h.status != 101);
	if (v == STRICT_PART) {
		ASSERT(!must_be_answered(s, a, sent));
		free(body.data);
		*rest = slice_after(*rest, rest->len);
		return END_BROKEN;
	}
	if (h.status == 101) {
		ASSERT(sent->head.upgrade);
		free(body.data);
		*rest = slice_after(*rest, rest->len);
		return END_LAST;
	}
	framing = strict_response_framing(&h, method);
	v = strict_read_body(&body, *rest, framing, h.length, a->eof && !a->error);
	ASSERT(v != STRICT_BAD && !body.not_canonical);
	*rest = slice_after(*rest, v == STRICT_OK ? body.bytes : rest->len);
	if (sent && s->script_n == 0)
		check_seen(sent, &h, &body, v == STRICT_OK, framing != STRICT_NONE);
	if (sent && v == STRICT_OK && h.status == 200 && framing != STRICT_NONE)
		check_value(&sent->head, &body);
	free(body.data);
	if (must_be_answered(s, a, sent))
		ASSERT(v == STRICT_OK && h.status < 500);
	if (v != STRICT_OK)
		return END_BROKEN;
	ASSERT(framing != STRICT_CLOSE || h.close);
	if (sent && sent->head.minor == 0 && !h.keep_alive)
		ASSERT(h.close);
	return h.close ? END_LAST : END_NONE;
}

static void check_client(struct fuzz_case *s, struct sim_peer *a)
{
	struct slice rest = sim_peer_received(a);
	/* A client that sends FIN before a response begins is dropped. */
	bool stays = !(s->mode & (SEND_FIN | CLOSE | RESET));
	enum response_end end = END_NONE;
	unsigned i = 0;

	for (; i < s->sent_n && end == END_NONE && rest.len > 0; i++)
		end = check_response(s, a, &s->sent[i], &rest);
	if (end == END_NONE && rest.len > 0 && s->sent_n < REQUESTS_MAX) {
		/* A response to the bytes after the last request, which are incomplete or
		 * malformed. */
		end = check_response(s, a, NULL, &rest);
		ASSERT(end != END_NONE);
		i++;
	}
	ASSERT(rest.len == 0 || s->sent_n == REQUESTS_MAX);
	/* No complete request is left without a response on an open connection; in a plain
	 * case not on one that was reset, either. */
	if (stays && end == END_NONE && i < s->sent_n && !(s->mode & SCARCE))
		ASSERT(a->error ? !must_be_answered(s, a, &s->sent[i])
				: s->sent[i].body != STRICT_OK);
}

/* ---- one case --------------------------------------------------------------- */

static struct sim_peer *send_client(struct fuzz_case *s)
{
	struct sim_peer *a = sim_peer_connect(&s->rig.sim, PROXYRIG_PORT);

	a->uncut = s->mode & UNCUT;
	sim_peer_send(a, s->stream);
	if (s->mode & RESET)
		sim_peer_reset(a);
	else if (s->mode & CLOSE)
		sim_peer_close(a);
	else if (s->mode & SEND_FIN)
		sim_peer_shutdown(a);
	return a;
}

static bool client_over(const struct sim_peer *a)
{
	return !a || sim_peer_finished(a) || a->connect_error ||
	       (a->connected && a->fd < 0);
}

static void run_case(struct fuzz_case *s, unsigned seed)
{
	struct proxyrig_options o = {
		.seed = seed + 1,
		.buffers = s->mode & SCARCE ? 8 : 64,
		.descriptors = s->mode & SCARCE ? 2 : 100,
		.limits = "  header_timeout: 2s\n  idle_timeout: 3s\n  send_timeout: 4s\n"
			  "  receive_timeout: 2s\n",
		.strange_clients = true,
		.upstream = "    response_timeout: 3s\n    connections: 2\n",
	};
	struct sim_peer *a, *b = NULL;

	proxyrig_open(&s->rig, &o);
	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++) {
		s->rig.origins[i].on_input = origin_on_input;
		s->rig.origins[i].owner = s;
	}
	s->rig.memcached.on_input = memcached_on_input;
	a = send_client(s);
	if (s->mode & TWICE)
		b = send_client(s);
	SIMRIG_UNTIL(&s->rig.sim, client_over(a) && client_over(b), CASE_MS);
	check_client(s, a);
	if (b)
		check_client(s, b);
	proxyrig_close(&s->rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct fuzz_case s;
	struct fuzz f = fuzz_begin(bytes, n);
	unsigned seed = fuzz_octet(&f);

	memset(&s, 0, offsetof(struct fuzz_case, sent));
	s.mode = fuzz_octet(&f);
	s.stream = fuzz_take_until(&f, SEPARATOR);
	while (f.left > 0 && s.script_n < SCRIPTS_MAX)
		s.scripts[s.script_n++] = fuzz_take_until(&f, SEPARATOR);
	parse_stream(&s);
	s.plain = is_plain(&s);
	run_case(&s, seed);
	return 0;
}

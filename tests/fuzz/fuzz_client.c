/* Everything that a client can say, and an origin answer, with a whole proxy between them on
 * the simulated engine.
 *
 * An input is a seed, a mode, the client's bytes and then, behind separators, what origins
 * answer to one request after the other; when that is used up they answer in good order,
 * telling the hash of the request they have seen. A strict reader looks at what each side
 * got: an origin only canonical requests, each of which the client has sent; the client one
 * whole answer for each request, in order and not another's, or an end that it can see. */
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
/* More than all timeouts of as many requests together. */
#define PATIENCE_MS 3000000

enum mode {
	SHUT = 1,        /* the client shows that it has said all */
	WHOLE = 2,       /* is not cut by the seed */
	LEAVE = 4,       /* the client goes when it has said all */
	RESET = 8,       /* likewise, with a reset */
	ORIGIN_ENDS = 16, /* an origin closes behind each of its scripts */
	SCARCE = 32,     /* few buffers and descriptors */
	TWICE = 64,      /* a second client says the same */
};

/* A request as the client sent it. */
struct sent {
	struct strict_head head;
	enum strict_verdict body;
	uint64_t hash;
};

struct scene {
	struct proxyrig rig;
	unsigned mode;
	struct slice stream;
	struct slice scripts[SCRIPTS_MAX];
	unsigned script_n, script_at;
	unsigned sent_n; /* whole heads; what follows them is `after` */
	enum strict_verdict after;
	bool plain; /* see is_plain() */
	bool says_more; /* though it has asked for the connection to end */
	struct sent sent[REQUESTS_MAX];
};

/* ---- what was asked --------------------------------------------------------- */

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

static bool asks_to_end(const struct strict_head *h)
{
	return h->close || (h->minor == 0 && !h->keep_alive);
}

/* Takes the client's bytes apart as long as they can be. */
static void read_stream(struct scene *s)
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
		s->says_more |= rest.len > 0 && sent->head.framing == STRICT_NONE &&
				asks_to_end(&sent->head);
	}
	free(body.data);
}

/* ---- origins ---------------------------------------------------------------- */

static char pattern(uint64_t hash, size_t i)
{
	return (char)('a' + (hash + i * 7 + i / 1000) % 26);
}

/* Of an answer to such a target. */
static size_t pattern_length(struct slice target)
{
	size_t n = 0;

	for (size_t i = 0; i < target.len && target.ptr[i] != '?'; i++)
		n = target.ptr[i] >= '0' && target.ptr[i] <= '9' ?
			    n * 10 + (size_t)(target.ptr[i] - '0') : 0;
	return n % PATTERN_MAX;
}

static bool asks_for(const struct strict_head *h, const char *what)
{
	struct slice t = h->target;

	if (slice_starts(t, SLICE("/pair/")))
		t = slice_after(t, 5);
	return slice_starts(t, slice_of(what));
}

static void say_pattern(struct sim_peer *a, uint64_t hash, size_t n, bool chunked)
{
	char *text = malloc(n + 64), *at = text;

	if (chunked && n > 0)
		at += sprintf(at, "%zX;ext=\"1\"\r\n", n);
	for (size_t i = 0; i < n; i++)
		*at++ = pattern(hash, i);
	if (chunked)
		at += sprintf(at, "%s0\r\nX-Sum: 1\r\n\r\n", n > 0 ? "\r\n" : "");
	sim_peer_send(a, (struct slice){ text, (size_t)(at - text) });
	free(text);
}

static void answer_orderly(struct sim_peer *a, const struct strict_head *h, uint64_t hash)
{
	bool chunked = asks_for(h, "/chunked"), until_close = asks_for(h, "/until-close");
	int status = asks_for(h, "/status/204") ? 204 : asks_for(h, "/status/304") ? 304 : 200;
	size_t n = pattern_length(h->target);
	char head[256];

	if (asks_for(h, "/interim"))
		sim_peer_send_text(a, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
	if (strict_lists(h, "Expect", SLICE("100-continue")))
		sim_peer_send_text(a, "HTTP/1.1 100 Continue\r\n\r\n");
	snprintf(head, sizeof(head), "HTTP/1.%d %d Fine\r\nX-Seen: %016llx %zu\r\n",
		 !asks_for(h, "/old"), status, (unsigned long long)hash, n);
	sim_peer_send_text(a, head);
	/* Not as we write it, on purpose. */
	snprintf(head, sizeof(head), "Content-Length:%zu\r\n", n);
	if (chunked)
		sim_peer_send_text(a, "Transfer-Encoding:  chunked\r\n");
	else if (!until_close && status != 204)
		sim_peer_send_text(a, head);
	sim_peer_send_text(a, "\r\n");
	if (!slice_equal(h->method, SLICE("HEAD")) && status == 200)
		say_pattern(a, hash, asks_for(h, "/short") ? n / 2 : n, chunked);
	if (asks_for(h, "/more"))
		sim_peer_send_text(a, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	if (until_close || asks_for(h, "/last") || asks_for(h, "/short"))
		sim_peer_close(a);
}

static void echo_on(struct sim_peer *a)
{
	sim_peer_send(a, (struct slice){ a->in + a->in_used, a->in_n - a->in_used });
	a->in_used = a->in_n;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

static void answer_upgrade(struct sim_peer *a)
{
	sim_peer_send_text(a,
			   "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
			   "Upgrade: echo\r\n\r\nhello");
	a->on_input = echo_on;
	echo_on(a);
}

static void ignore(struct sim_peer *a)
{
	a->in_used = a->in_n;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* One of the scripts may make a tunnel: what comes behind a request that asked for one is no
 * request then. */
static bool may_switch(const struct scene *s)
{
	for (unsigned i = 0; i < s->script_n; i++)
		if (memmem(s->scripts[i].ptr, s->scripts[i].len, " 101", 4))
			return true;
	return false;
}

static void answer(struct scene *s, struct sim_peer *a, const struct strict_head *h,
		   uint64_t hash)
{
	if (h->upgrade && may_switch(s))
		a->on_input = ignore;
	if (s->script_at < s->script_n) {
		sim_peer_send(a, s->scripts[s->script_at++]);
		if (s->mode & ORIGIN_ENDS)
			sim_peer_close(a);
	} else if (asks_for(h, "/closed")) {
		sim_peer_close(a);
	} else if (asks_for(h, "/reset")) {
		sim_peer_reset_now(a);
	} else if (asks_for(h, "/upgrade") && h->upgrade) {
		answer_upgrade(a);
	} else if (!asks_for(h, "/never") && !a->head_seen) {
		answer_orderly(a, h, hash);
	}
}

/* Is one of those that the configuration has instead of the client's. */
static bool is_part(const struct strict_head *h)
{
	static const char *const targets[] = { "/length/10", "/chunked/50", "/never", "/" };

	for (size_t i = 0; i < COUNT(targets); i++)
		if (slice_equal(h->target, slice_of(targets[i])))
			return slice_equal(h->method, SLICE("GET"));
	return false;
}

/* Somebody has asked for this. */
static void check_asked(const struct scene *s, const struct strict_head *h, uint64_t hash)
{
	for (unsigned i = 0; i < s->sent_n; i++)
		if (s->sent[i].body == STRICT_OK && s->sent[i].hash == hash &&
		    !fuzz_forwarded(h, &s->sent[i].head, SLICE("127.0.0.1")))
			return;
	ASSERT(is_part(h));
}

/* One request; false: it is not there. */
static bool origin_one(struct sim_peer *a)
{
	static struct strict_head h;
	struct scene *s = a->owner;
	struct slice rest = { a->in + a->in_used, a->in_n - a->in_used };
	struct strict_body body = { .data = malloc(rest.len + 1) };
	enum strict_verdict v = strict_request(&h, rest);
	bool early;
	uint64_t hash;

	ASSERT(v != STRICT_BAD);
	if (v == STRICT_OK) {
		ASSERT(!h.odd && h.minor == 1);
		v = strict_read_body(&body, slice_after(rest, h.bytes), h.framing, h.length,
				     false);
		ASSERT(v != STRICT_BAD);
		early = asks_for(&h, "/early");
		if (early && !a->head_seen)
			sim_peer_send_text(
				a, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly");
		a->head_seen = early;
	}
	if (v == STRICT_OK) {
		ASSERT(!body.odd);
		hash = hash_request(&h, (struct slice){ body.data, body.data_n });
		check_asked(s, &h, hash);
		a->in_used += h.bytes + body.bytes;
		answer(s, a, &h, hash);
		a->head_seen = false;
	}
	free(body.data);
	return v == STRICT_OK && a->fd >= 0;
}

static void origin_heard(struct sim_peer *a)
{
	while (a->on_input == origin_heard && origin_one(a))
		;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* ---- memcached -------------------------------------------------------------- */

static bool memcached_one(struct sim_peer *a)
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

static void memcached_heard(struct sim_peer *a)
{
	while (memcached_one(a))
		;
	if (sim_peer_finished(a))
		sim_peer_close(a);
}

/* ---- what the client got ---------------------------------------------------- */

/* An answer that an origin gave in good order is to this request, and its body is whole, or
 * the first of it. */
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
		ASSERT(body->data[i] == pattern(hash, i));
}

/* What the cache holds for a key is told of no other. */
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

/* Nothing goes wrong with any of them: no script, no target that asks for trouble. */
static bool is_plain(const struct scene *s)
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
	return s->script_n == 0 && !(s->mode & (SHUT | LEAVE | RESET | SCARCE));
}

/* Nothing excuses it if this request gets no whole answer. What is said behind a request for
 * the end may meet a socket that is closed, and the reset overtake the answer. */
static bool is_owed(const struct scene *s, const struct sim_peer *a,
		    const struct sent *sent)
{
	return sent && sent->body == STRICT_OK && s->plain && !(s->says_more && a->error);
}

enum end { GOES_ON, IS_LAST, IS_BROKEN };

/* One answer that is not interim at the front of *rest, to a request, or to something that
 * is none (NULL). */
static enum end answer_one(struct scene *s, struct sim_peer *a, const struct sent *sent,
			   struct slice *rest)
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
			ASSERT(!h.odd && (sent || h.status >= 400));
			*rest = slice_after(*rest, h.bytes);
		}
	} while (v == STRICT_OK && h.status < 200 && h.status != 101);
	if (v == STRICT_PART) {
		ASSERT(!is_owed(s, a, sent));
		free(body.data);
		*rest = slice_after(*rest, rest->len);
		return IS_BROKEN;
	}
	if (h.status == 101) {
		ASSERT(sent->head.upgrade);
		free(body.data);
		*rest = slice_after(*rest, rest->len);
		return IS_LAST;
	}
	framing = strict_answer(&h, method);
	v = strict_read_body(&body, *rest, framing, h.length, a->eof && !a->error);
	ASSERT(v != STRICT_BAD && !body.odd);
	*rest = slice_after(*rest, v == STRICT_OK ? body.bytes : rest->len);
	if (sent && s->script_n == 0)
		check_seen(sent, &h, &body, v == STRICT_OK, framing != STRICT_NONE);
	if (sent && v == STRICT_OK && h.status == 200 && framing != STRICT_NONE)
		check_value(&sent->head, &body);
	free(body.data);
	if (is_owed(s, a, sent))
		ASSERT(v == STRICT_OK && h.status < 500);
	if (v != STRICT_OK)
		return IS_BROKEN;
	ASSERT(framing != STRICT_CLOSE || h.close);
	if (sent && sent->head.minor == 0 && !h.keep_alive)
		ASSERT(h.close);
	return h.close ? IS_LAST : GOES_ON;
}

static void check_client(struct scene *s, struct sim_peer *a)
{
	struct slice rest = sim_peer_received(a);
	/* Who says FIN before a response begins has left. */
	bool patient = !(s->mode & (SHUT | LEAVE | RESET));
	enum end end = GOES_ON;
	unsigned i = 0;

	for (; i < s->sent_n && end == GOES_ON && rest.len > 0; i++)
		end = answer_one(s, a, &s->sent[i], &rest);
	if (end == GOES_ON && rest.len > 0 && s->sent_n < REQUESTS_MAX) {
		/* To the rest of it, if that is a beginning of a request or none. */
		end = answer_one(s, a, NULL, &rest);
		ASSERT(end != GOES_ON);
		i++;
	}
	ASSERT(rest.len == 0 || s->sent_n == REQUESTS_MAX);
	/* Nothing whole is left without an answer and without a word; if it was all plain, with
	 * a reset neither. */
	if (patient && end == GOES_ON && i < s->sent_n && !(s->mode & SCARCE))
		ASSERT(a->error ? !is_owed(s, a, &s->sent[i]) :
				  s->sent[i].body != STRICT_OK);
}

/* ---- a scene ---------------------------------------------------------------- */

static struct sim_peer *send_client(struct scene *s)
{
	struct sim_peer *a = sim_peer_connect(&s->rig.sim, PROXYRIG_PORT);

	a->uncut = s->mode & WHOLE;
	sim_peer_send(a, s->stream);
	if (s->mode & RESET)
		sim_peer_reset(a);
	else if (s->mode & LEAVE)
		sim_peer_close(a);
	else if (s->mode & SHUT)
		sim_peer_shutdown(a);
	return a;
}

static bool over(const struct sim_peer *a)
{
	return !a || sim_peer_finished(a) || a->connect_error ||
	       (a->connected && a->fd < 0);
}

static void play(struct scene *s, unsigned seed)
{
	struct proxyrig_options o = {
		.seed = seed + 1,
		.buffers = s->mode & SCARCE ? 8 : 64,
		.descriptors = s->mode & SCARCE ? 2 : 100,
		.limits = "  header_timeout: 2s\n  idle_timeout: 3s\n  send_timeout: 4s\n"
			  "  receive_timeout: 2s\n",
		.upstream = "    response_timeout: 3s\n    connections: 2\n",
	};
	struct sim_peer *a, *b = NULL;

	proxyrig_open(&s->rig, &o);
	for (unsigned i = 0; i < PROXYRIG_ORIGINS; i++) {
		s->rig.origins[i].on_input = origin_heard;
		s->rig.origins[i].owner = s;
	}
	s->rig.memcached.on_input = memcached_heard;
	a = send_client(s);
	if (s->mode & TWICE)
		b = send_client(s);
	SIMRIG_UNTIL(&s->rig.sim, over(a) && over(b), PATIENCE_MS);
	check_client(s, a);
	if (b)
		check_client(s, b);
	proxyrig_close(&s->rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct scene s;
	struct fuzz f = fuzz_begin(bytes, n);
	unsigned seed = fuzz_octet(&f);

	memset(&s, 0, offsetof(struct scene, sent));
	s.mode = fuzz_octet(&f);
	s.stream = fuzz_part(&f, SEPARATOR);
	while (f.left > 0 && s.script_n < SCRIPTS_MAX)
		s.scripts[s.script_n++] = fuzz_part(&f, SEPARATOR);
	read_stream(&s);
	s.plain = is_plain(&s);
	play(&s, seed);
	return 0;
}

/* The sources of responses (source.h), used through their operations as a relay uses them. The
 * relay itself, with all three of them, is tested by test_relay, test_endings and test_tunnel. */
#include <string.h>

#include "../../src/proxy/reply.h"
#include "lib/proxycase.h"
#include "proxy/action.h"
#include "proxy/fetch.h"
#include "proxy/value.h"

static unsigned runs;

static void count_run(struct task *task)
{
	(void)task;
	runs++;
}

/* What a reader has got of a source. */
struct response {
	int status;
	const char *server;
	enum ending ending; /* of a source that has failed */
	struct slice head;
	char bytes[4096];
	size_t n;
};

/* A client's stream that keeps the head it is sent. */
struct head_stream {
	struct stream stream;
	struct buf_pool *pool;
	struct buf *head;
};

static void begin_block(struct stream *s, struct field_block *b, size_t size)
{
	field_block_begin(b, &sink_http1_ops,
			  CONTAINER(s, struct head_stream, stream)->pool, size);
}

static bool send_kept_head(struct stream *s, struct buf *head, enum framing framing,
			   uint64_t length)
{
	(void)framing;
	(void)length;
	CONTAINER(s, struct head_stream, stream)->head = head;
	return true;
}

static const struct stream_ops head_ops = { .begin_block = begin_block,
					    .send_kept_head = send_kept_head };

/* Steps the source until a final head or its failure. False: it has failed. */
static bool read_head(struct proxyrig *r, struct source *s, struct head *h)
{
	for (unsigned ms = 0; ms < 5000; ms++) {
		source_step(s);
		source_check(s);
		switch (source_head(s, h)) {
		case VERDICT_OK:
			return true;
		case VERDICT_BAD:
			assert_true(s->ending != 0);
			return false;
		case VERDICT_MORE:
			assert_int_equal(s->ending, 0);
			break;
		}
		simrig_run(&r->sim, 1);
	}
	fail_msg("no head");
	return false;
}

static void read_body(struct proxyrig *r, struct source *s, struct response *got)
{
	struct head *scratch = &r->proxy.response;
	struct piece p = { NULL, NULL, 0 };
	enum body_event event = BODY_MORE;

	for (unsigned ms = 0; ms < 5000 && event != BODY_END && event != BODY_BAD;) {
		event = source_body(s, scratch, &p);
		if (event == BODY_DATA) {
			assert_in_range(p.len, 1, sizeof(got->bytes) - got->n);
			memcpy(got->bytes + got->n, p.ptr, p.len);
			got->n += p.len;
			piece_put(&p);
		} else if (event == BODY_TRAILERS) {
			source_end_trailers(s);
		} else if (event == BODY_MORE) {
			simrig_run(&r->sim, 1);
			source_step(s);
			ms++;
		}
		source_check(s);
	}
	got->ending = (enum ending)s->ending;
	/* The end is no event that passes. */
	assert_int_equal(source_body(s, scratch, &p), event);
}

static void read_response(struct proxyrig *r, struct source *s, enum method method,
			  struct response *got)
{
	struct head *h = &r->proxy.response;
	struct forward_response f = { .close = true };
	struct head_stream down = { .stream = { .ops = &head_ops },
				    .pool = io_bufs(r->sim.tick.loop) };
	enum framing framing;

	memset(got, 0, sizeof(*got));
	assert_non_null(s);
	if (!read_head(r, s, h)) {
		got->ending = (enum ending)s->ending;
		return;
	}
	got->status = h->status;
	got->server = source_server(s);
	framing = head_response_framing(h, method);
	f.framing = framing;
	f.length = h->length;
	f.keep_length = h->framing == FRAMING_LENGTH;
	assert_true(source_send_head(s, &down.stream, h, &f));
	assert_non_null(
		memmem(down.head->data, down.head->end, "\r\nConnection: close\r\n", 21));
	buf_put(down.head);
	source_take_head(s, h, framing);
	read_body(r, s, got);
}

/* ---- a reply of our own ----------------------------------------------------- */

static void reply(struct proxyrig *r)
{
	struct reply own = { .proxy = &r->proxy,
			     .status = 404,
			     .ending = ENDING_NO_ROUTE };
	struct buf *b;
	struct source *s = reply_source(&own);
	struct response got;

	read_response(r, s, METHOD_GET, &got);
	assert_int_equal(got.status, 404);
	assert_int_equal(got.n, 14);
	assert_memory_equal(got.bytes, "404 Not Found\n", 14);
	assert_null(got.server);
	assert_int_equal(source_attempts(s), 0);
	source_free(&s);
	assert_null(s);

	own = (struct reply){ .proxy = &r->proxy, .status = 204 };
	s = reply_source(&own);
	read_response(r, s, METHOD_GET, &got);
	assert_int_equal(got.status, 204);
	assert_int_equal(got.n, 0);
	source_free(&s);

	/* The body of a HEAD request is dropped, and one that was never read is freed. */
	for (unsigned i = 0; i < 2; i++) {
		b = buf_new(io_bufs(r->sim.tick.loop), 100);
		assert_non_null(b);
		memset(b->data, 'x', 100);
		own = (struct reply){ .proxy = &r->proxy,
				      .status = 200,
				      .body = { b, b->data, 100 } };
		s = reply_source(&own);
		if (i == 0) {
			read_response(r, s, METHOD_HEAD, &got);
			assert_int_equal(got.n, 0);
			assert_null(own.body.buf);
		}
		source_free(&s);
		assert_null(own.body.buf);
	}
}

/* ---- a value ---------------------------------------------------------------- */

static const struct config_memcached *cache_route(const struct proxyrig *r)
{
	for (unsigned i = 0; i < r->config->route_n; i++)
		if (action_of(&r->config->routes[i]) == &action_memcached)
			return r->config->routes[i].memcached;
	fail_msg("no route");
	return NULL;
}

static struct source *value(struct proxyrig *r, const char *key, struct task *waiter)
{
	return value_get(r->proxy.generation, cache_route(r), slice_of(key), waiter);
}

static void values(struct proxyrig *r)
{
	struct task waiter;
	struct response got, head;
	struct source *s;

	task_init(&waiter, count_run);
	runs = 0;
	s = value(r, "foo", &waiter);
	read_response(r, s, METHOD_GET, &got);
	assert_true(runs > 0);
	assert_int_equal(got.status, 200);
	assert_true(got.n > 0);
	assert_non_null(got.server);
	assert_int_equal(source_attempts(s), 1);
	source_free(&s);
	/* Of a HEAD request no byte of the value is handed out. */
	s = value(r, "foo", &waiter);
	read_response(r, s, METHOD_HEAD, &head);
	assert_int_equal(head.status, 200);
	assert_int_equal(head.n, 0);
	source_free(&s);
	s = value(r, "miss", &waiter);
	read_response(r, s, METHOD_GET, &got);
	assert_int_equal(got.status, 0);
	assert_int_equal(got.ending, ENDING_CACHE_MISS);
	source_free(&s);
	/* Freed while it is asked for. */
	s = value(r, "foo", &waiter);
	source_free(&s);
	task_stop(&waiter);
}

/* ---- a fetch ---------------------------------------------------------------- */

static struct source *fetch(struct proxyrig *r, const char *request, enum method method,
			    struct task *waiter)
{
	size_t n = strlen(request);
	struct buf *head = buf_new(io_bufs(r->sim.tick.loop), n);
	struct fetch *f;

	assert_non_null(head);
	memcpy(head->data, request, n);
	head->end = (uint32_t)n;
	f = fetch_new(&(struct fetch_options){ .generation = r->proxy.generation,
					       .waiter = waiter,
					       .head = head,
					       .method = method,
					       .framing = FRAMING_NONE });
	assert_non_null(f);
	return &f->source;
}

static void fetches(struct proxyrig *r)
{
	struct task waiter;
	struct response got;
	struct source *s;

	task_init(&waiter, count_run);
	runs = 0;
	s = fetch(r, GET("/length/2000"), METHOD_GET, &waiter);
	read_response(r, s, METHOD_GET, &got);
	assert_true(runs > 0);
	assert_int_equal(got.status, 200);
	proxycase_assert_pattern((struct slice){ got.bytes, got.n }, 2000);
	assert_non_null(got.server);
	assert_int_equal(source_attempts(s), 1);
	source_free(&s);
	s = fetch(r, GET("/chunked/3000"), METHOD_GET, &waiter);
	read_response(r, s, METHOD_GET, &got);
	proxycase_assert_pattern((struct slice){ got.bytes, got.n }, 3000);
	source_free(&s);
	s = fetch(r, GET("/short"), METHOD_GET, &waiter);
	read_response(r, s, METHOD_GET, &got);
	assert_int_equal(got.ending, ENDING_ORIGIN_TRUNCATED);
	source_free(&s);
	s = fetch(r, GET("/closed"), METHOD_GET, &waiter);
	read_response(r, s, METHOD_GET, &got);
	assert_int_equal(got.status, 0);
	assert_int_equal(got.ending, ENDING_ORIGIN_CLOSED);
	source_free(&s);
	/* Freed while the server has not responded. */
	s = fetch(r, GET("/never"), METHOD_GET, &waiter);
	source_step(s);
	simrig_run(&r->sim, 50);
	source_step(s);
	source_free(&s);
	task_stop(&waiter);
}

/* ----------------------------------------------------------------------------- */

static void test_reply(void **state)
{
	(void)state;
	proxycase_some_seeds(2, reply, "reply",
			     (struct proxyrig_options){ .buffers = 0 });
}

static void test_value(void **state)
{
	(void)state;
	proxycase_some_seeds(20, values, "value",
			     (struct proxyrig_options){ .buffers = 0 });
}

static void test_fetch(void **state)
{
	(void)state;
	proxycase_some_seeds(20, fetches, "fetch",
			     (struct proxyrig_options){ .buffers = 0 });
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		PROXYCASE_TEST(test_reply),
		PROXYCASE_TEST(test_value),
		PROXYCASE_TEST(test_fetch),
	};

	return proxycase_run("source", tests, COUNT(tests));
}

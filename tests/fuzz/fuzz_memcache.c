/* Replies of a memcached. The first line parses the same wherever it is cut; and a whole client
 * with three calls gets what a second parser of the protocol finds, in order, and leaves nothing
 * behind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/fuzz.h"
#include "lib/memcacherig.h"

#define CALLS 3
#define VALUE_MAX 1000

static const struct slice keys[CALLS] = { { "foo", 3 }, { "bar", 3 }, { "foo", 3 } };

/* ---- the second parser ------------------------------------------------------ */

enum second_kind { HIT, MISS, ERROR_LINE, PART, MALFORMED };

struct second_reply {
	enum second_kind kind;
	struct slice value;
};

/* A number without sign or spaces, as memcached writes it. */
static bool take_number(struct slice *s, uint64_t *n)
{
	size_t i = 0;

	*n = 0;
	while (i < s->len && s->ptr[i] >= '0' && s->ptr[i] <= '9') {
		*n = *n * 10 + (uint64_t)(s->ptr[i++] - '0');
		if (*n > UINT32_MAX)
			return false;
	}
	*s = slice_after(*s, i);
	return i > 0;
}

static bool take_word(struct slice *s, struct slice word)
{
	if (!slice_starts(*s, word))
		return false;
	*s = slice_after(*s, word.len);
	return true;
}

static bool is_error(struct slice line)
{
	return slice_equal(line, SLICE("ERROR")) || slice_starts(line, SLICE("ERROR ")) ||
	       slice_starts(line, SLICE("CLIENT_ERROR ")) ||
	       slice_starts(line, SLICE("SERVER_ERROR "));
}

static bool flags_are_good(struct slice s)
{
	while (s.len > 0) {
		if (s.ptr[0] != ' ' || s.len < 2 ||
		    !((s.ptr[1] >= 'a' && s.ptr[1] <= 'z') || (s.ptr[1] >= 'A' && s.ptr[1] <= 'Z')))
			return false;
		for (s = slice_after(s, 1); s.len > 0 && s.ptr[0] != ' '; s = slice_after(s, 1))
			if ((unsigned char)s.ptr[0] < 0x21 || (unsigned char)s.ptr[0] > 0x7e)
				return false;
	}
	return true;
}

/* Parses the line of a hit; *n is the length of its value. */
static bool read_hit(struct slice line, enum memcache_command command, struct slice key,
		     uint64_t *n)
{
	uint64_t flags;

	if (command == MEMCACHE_MG)
		return take_word(&line, SLICE("VA ")) && take_number(&line, n) &&
		       flags_are_good(line);
	return take_word(&line, SLICE("VALUE ")) && take_word(&line, key) &&
	       take_word(&line, SLICE(" ")) && take_number(&line, &flags) &&
	       take_word(&line, SLICE(" ")) && take_number(&line, n) && line.len == 0;
}

/* Parses and removes the reply to one request. */
static struct second_reply take_reply(struct slice *s, enum memcache_command command,
				      struct slice key)
{
	struct slice tail = command == MEMCACHE_MG ? SLICE("\r\n") : SLICE("\r\nEND\r\n");
	struct slice miss = command == MEMCACHE_MG ? SLICE("EN") : SLICE("END"), line, value;
	const char *lf = s->len > 0 ? memchr(s->ptr, '\n', s->len) : NULL;
	uint64_t n;

	if (!lf || lf >= s->ptr + MEMCACHE_LINE_MAX)
		return (struct second_reply){ .kind = s->len >= MEMCACHE_LINE_MAX
							      ? MALFORMED
							      : PART };
	if (lf == s->ptr || lf[-1] != '\r')
		return (struct second_reply){ .kind = MALFORMED };
	line = (struct slice){ s->ptr, (size_t)(lf - s->ptr) - 1 };
	*s = slice_after(*s, line.len + 2);
	if (is_error(line))
		return (struct second_reply){ .kind = memchr(line.ptr, '\r', line.len)
							      ? MALFORMED
							      : ERROR_LINE };
	if (slice_equal(line, miss))
		return (struct second_reply){ .kind = MISS };
	if (!read_hit(line, command, key, &n))
		return (struct second_reply){ .kind = MALFORMED };
	if (s->len < n + tail.len)
		return (struct second_reply){ .kind = PART };
	value = (struct slice){ s->ptr, n };
	*s = slice_after(*s, n);
	if (!take_word(s, tail))
		return (struct second_reply){ .kind = MALFORMED };
	return (struct second_reply){ .kind = HIT, .value = value };
}

/* ---- the first line --------------------------------------------------------- */

static void check_line(struct slice s, enum memcache_command command, struct slice key)
{
	struct memcache_reply whole, cut;
	enum verdict v = memcache_parse_reply(&whole, command, key, s.ptr, s.len);
	enum verdict part = VERDICT_MORE;

	for (size_t n = 0; part == VERDICT_MORE; n = fuzz_cut(n, s.len)) {
		fuzz_forbid(s.ptr + n, s.ptr + s.len);
		part = memcache_parse_reply(&cut, command, key, s.ptr, n);
		fuzz_allow(s.ptr + n, s.ptr + s.len);
		if (n == s.len)
			break;
	}
	ASSERT(part == v);
	if (v == VERDICT_OK)
		ASSERT(whole.kind == cut.kind && whole.length == cut.length &&
		       whole.line == cut.line && whole.tail == cut.tail);
}

/* ---- a whole client --------------------------------------------------------- */

static bool all_decided(struct memcache_call *const *calls)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i] && !memcacherig_decided(calls[i]))
			return false;
	return true;
}

static void check_value(struct memcache_call *call, struct slice value)
{
	struct piece p;

	ASSERT(call->length == value.len);
	while (memcache_take(call, &p)) {
		ASSERT(p.len <= value.len && memcmp(p.ptr, value.ptr, p.len) == 0);
		value = slice_after(value, p.len);
		piece_put(&p);
	}
	ASSERT(value.len == 0);
}

/* Asserts that the call has this result. Returns whether the next reply begins at a known
 * place. */
static bool check_call(struct memcache_call *call, struct second_reply r)
{
	switch (r.kind) {
	case HIT:
		if (call && r.value.len > VALUE_MAX) {
			ASSERT(call->state == CALL_FAILED);
			ASSERT(call->failure == CALL_VALUE_LARGE);
		} else if (call) {
			ASSERT(call->state == CALL_HIT);
			check_value(call, r.value);
		}
		return true;
	case MISS:
		ASSERT(!call || call->state == CALL_MISS);
		return true;
	case ERROR_LINE:
		ASSERT(!call || (call->state == CALL_FAILED && call->failure == CALL_ERROR));
		return true;
	case PART:
	case MALFORMED:
		break;
	}
	ASSERT(!call || call->state == CALL_FAILED);
	return false;
}

/* For calls that were all sent on one link, on which each got the bytes `replies`. */
static void check_calls(struct memcache_call *const *calls,
			const enum memcache_command *commands, struct slice replies)
{
	char *text = malloc(CALLS * replies.len), *at = text;
	struct slice stream = { text, CALLS * replies.len };
	bool in_sync = true;

	for (unsigned i = 0; i < CALLS; i++)
		at = mempcpy(at, replies.ptr, replies.len);
	for (unsigned i = 0; i < CALLS; i++) {
		if (in_sync)
			in_sync = check_call(calls[i],
					     take_reply(&stream, commands[i], keys[i]));
		else
			ASSERT(!calls[i] || calls[i]->state == CALL_FAILED);
	}
	free(text);
}

static void run_client(unsigned seed, unsigned cut, unsigned mode, struct slice replies)
{
	const enum memcache_command commands[CALLS] = {
		mode & 2 ? MEMCACHE_MG : MEMCACHE_GET, MEMCACHE_MG, MEMCACHE_GET,
	};
	struct memcache_call *calls[CALLS];
	struct memcacherig r;

	memcacherig_open(&r, seed + 1);
	r.upstream.value_max = VALUE_MAX;
	r.upstream.links = mode & 1 ? 1 : 4;
	r.upstream.pipeline = mode & 4 ? 1 : 64;
	r.fakes[0].raw = replies;
	r.fakes[0].cut = cut;
	for (unsigned i = 0; i < CALLS; i++)
		calls[i] = memcache_get(r.memcache, commands[i], keys[i], &r);
	if (mode & 8) { /* its reply will still arrive */
		while (calls[1]->state == CALL_WAITING)
			tick_once(&r.tick);
		memcache_forget(&calls[1]);
	}
	for (uint64_t end_ms = r.tick.now_ms + 60000; !all_decided(calls);) {
		ASSERT(r.tick.now_ms < end_ms);
		tick_once(&r.tick);
	}
	if (r.fakes[0].accepted == 1 && !(mode & 4))
		check_calls(calls, commands, replies);
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i])
			memcache_forget(&calls[i]);
	memcacherig_close(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	struct fuzz f = fuzz_begin(bytes, n);
	unsigned seed = fuzz_octet(&f), cut = fuzz_octet(&f), mode = fuzz_octet(&f);

	check_line(fuzz_rest(&f), MEMCACHE_GET, keys[0]);
	check_line(fuzz_rest(&f), MEMCACHE_MG, keys[0]);
	if (f.left > 0)
		run_client(seed, cut, mode, fuzz_rest(&f));
	return 0;
}

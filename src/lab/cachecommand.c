#include "cachecommand.h"

#include <stdlib.h>

#include "base/check.h"

#define BAD_FORMAT "CLIENT_ERROR bad command line format"
#define BAD_CHUNK "CLIENT_ERROR bad data chunk"
#define TOO_LARGE "SERVER_ERROR object too large for cache"

/* A larger exptime is a date (seconds since 1970). */
#define RELATIVE_MAX_S (60 * 60 * 24 * 30)

struct slice cache_word(struct slice *words)
{
	struct slice word;
	size_t n = 0;

	while (words->len > 0 && words->ptr[0] == ' ')
		*words = slice_after(*words, 1);
	while (n < words->len && words->ptr[n] != ' ')
		n++;
	word = (struct slice){ words->ptr, n };
	*words = slice_after(*words, n);
	return word;
}

uint64_t cache_expires_ms(int64_t exptime, uint64_t now_ms)
{
	if (exptime == 0)
		return 0;
	if (exptime < 0)
		return 1;
	if (exptime <= RELATIVE_MAX_S)
		return now_ms + (uint64_t)exptime * 1000;
	return (uint64_t)exptime * 1000;
}

static bool parse_uint64(struct slice word, uint64_t max, uint64_t *n)
{
	*n = 0;
	for (size_t i = 0; i < word.len; i++) {
		if (word.ptr[i] < '0' || word.ptr[i] > '9')
			return false;
		if (*n > (max - (uint64_t)(word.ptr[i] - '0')) / 10)
			return false;
		*n = *n * 10 + (uint64_t)(word.ptr[i] - '0');
	}
	return word.len > 0;
}

static bool parse_uint32(struct slice word, uint32_t *n)
{
	uint64_t wide;

	if (!parse_uint64(word, UINT32_MAX, &wide))
		return false;
	*n = (uint32_t)wide;
	return true;
}

static bool parse_seconds(struct slice word, int64_t *s)
{
	bool negative = word.len > 0 && word.ptr[0] == '-';
	uint64_t n;

	if (negative)
		word = slice_after(word, 1);
	if (!parse_uint64(word, INT32_MAX, &n))
		return false;
	*s = negative ? -(int64_t)n : (int64_t)n;
	return true;
}

static void reject(struct cache_command *c, const char *complaint)
{
	c->verb = CACHE_WRONG;
	c->complaint = complaint;
}

/* ---- classic ---------------------------------------------------------------- */

static void parse_get(struct cache_command *c, struct slice words)
{
	struct slice key;

	c->rest = words;
	if (cache_word(&words).len == 0) {
		reject(c, "ERROR");
		return;
	}
	words = c->rest;
	while ((key = cache_word(&words)).len > 0) {
		if (!cache_key_valid(key))
			reject(c, BAD_FORMAT);
	}
}

static void parse_noreply(struct cache_command *c, struct slice words)
{
	struct slice word = cache_word(&words);

	c->quiet = slice_equal(word, SLICE("noreply"));
	if ((word.len > 0 && !c->quiet) || cache_word(&words).len > 0)
		reject(c, BAD_FORMAT);
}

static void parse_set(struct cache_command *c, struct slice words)
{
	struct slice key = cache_word(&words), flags = cache_word(&words);
	struct slice exptime = cache_word(&words), length = cache_word(&words);

	c->key = key;
	if (!cache_key_valid(key) || !parse_uint32(flags, &c->flags) ||
	    !parse_seconds(exptime, &c->exptime) ||
	    !parse_uint64(length, INT32_MAX, &c->length)) {
		reject(c, BAD_FORMAT);
		return;
	}
	c->has_data = true;
	parse_noreply(c, words);
	if (c->length > CACHE_VALUE_MAX)
		reject(c, TOO_LARGE);
}

static void parse_delete(struct cache_command *c, struct slice words)
{
	c->key = cache_word(&words);
	parse_noreply(c, words);
	if (!cache_key_valid(c->key))
		reject(c, BAD_FORMAT);
}

/* ---- meta ------------------------------------------------------------------- */

static bool parse_flag(struct cache_command *c, char flag, struct slice token)
{
	switch (flag) {
	case 'q':
		c->quiet = true;
		return true;
	case 'F':
		return parse_uint32(token, &c->flags);
	case 'T':
		return parse_seconds(token, &c->exptime);
	case 'C':
		return parse_uint64(token, UINT64_MAX, &c->cas);
	}
	return true;
}

/* Only flags in `known`, each at most once. */
static void parse_flags(struct cache_command *c, const char *known)
{
	struct slice words = c->rest, word;
	bool seen[128] = { false };

	while ((word = cache_word(&words)).len > 0) {
		unsigned char flag = (unsigned char)word.ptr[0];

		if (flag == 0 || flag >= sizeof(seen) || !strchr(known, flag))
			reject(c, "CLIENT_ERROR invalid flag");
		else if (seen[flag])
			reject(c, "CLIENT_ERROR duplicate flag");
		else if (flag == 'O' && word.len > 1 + CACHE_OPAQUE_MAX)
			reject(c, "CLIENT_ERROR opaque token too long");
		else if (!parse_flag(c, (char)flag, slice_after(word, 1)))
			reject(c, "CLIENT_ERROR bad token in command line format");
		if (flag < sizeof(seen))
			seen[flag] = true;
	}
}

static void parse_meta(struct cache_command *c, struct slice words, const char *known)
{
	c->key = cache_word(&words);
	c->rest = words;
	if (cache_key_valid(c->key))
		parse_flags(c, known);
	else
		reject(c, BAD_FORMAT);
}

static void parse_ms(struct cache_command *c, struct slice words)
{
	struct slice key = cache_word(&words);
	bool has_data = parse_uint64(cache_word(&words), INT32_MAX, &c->length);

	c->key = key;
	c->rest = words;
	c->has_data = has_data;
	if (!has_data)
		reject(c, BAD_CHUNK);
	else if (!cache_key_valid(key))
		reject(c, BAD_FORMAT);
	else if (c->length > CACHE_VALUE_MAX)
		reject(c, TOO_LARGE);
	else
		parse_flags(c, "FTCOkq");
}

/* ---- verbs ------------------------------------------------------------------ */

static enum cache_verb verb_of(struct slice word)
{
	static const struct slice verbs[] = {
		[CACHE_GET] = SLICE("get"),         [CACHE_GETS] = SLICE("gets"),
		[CACHE_SET] = SLICE("set"),         [CACHE_DELETE] = SLICE("delete"),
		[CACHE_MG] = SLICE("mg"),           [CACHE_MS] = SLICE("ms"),
		[CACHE_MD] = SLICE("md"),           [CACHE_MN] = SLICE("mn"),
		[CACHE_VERSION] = SLICE("version"), [CACHE_QUIT] = SLICE("quit"),
	};

	for (unsigned i = 0; i < COUNT(verbs); i++) {
		if (slice_equal(word, verbs[i]))
			return (enum cache_verb)i;
	}
	return CACHE_WRONG;
}

void cache_command_parse(struct cache_command *c, struct slice line)
{
	*c = (struct cache_command){ .verb = verb_of(cache_word(&line)) };
	switch (c->verb) {
	case CACHE_GET:
	case CACHE_GETS:
		parse_get(c, line);
		break;
	case CACHE_SET:
		parse_set(c, line);
		break;
	case CACHE_DELETE:
		parse_delete(c, line);
		break;
	case CACHE_MG:
		parse_meta(c, line, "vskftcOq");
		break;
	case CACHE_MS:
		parse_ms(c, line);
		break;
	case CACHE_MD:
		parse_meta(c, line, "COkq");
		break;
	case CACHE_MN:
	case CACHE_VERSION:
	case CACHE_QUIT:
		break;
	case CACHE_WRONG:
		c->complaint = "ERROR";
		break;
	}
}

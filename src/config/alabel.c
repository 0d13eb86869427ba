#include "alabel.h"

#include <stdint.h>

#include "base/check.h"

#define LABEL_MAX 63
#define NAME_MAX_BYTES 253

/* Parameters of Punycode (RFC 3492 5). */
enum { BASE = 36, TMIN = 1, TMAX = 26, SKEW = 38, DAMP = 700, BIAS = 72, FIRST = 0x80 };

/* One label on its way. */
struct label {
	uint32_t points[LABEL_MAX];
	unsigned n;
	char text[2 * LABEL_MAX];
	unsigned text_n;
};

/* In lower case, as far as letters of Latin, Greek and Cyrillic go, and digits; 0: a letter or
 * sign that IDNA maps by tables. */
static uint32_t mapped(uint32_t c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 32 : c;
	if (c >= 0xc0 && c <= 0xde && c != 0xd7)
		return c + 32;
	if (c >= 0xdf && c <= 0xff && c != 0xf7)
		return c;
	if (c >= 0x391 && c <= 0x3a9)
		return c + 32;
	if (c >= 0x410 && c <= 0x42f)
		return c + 32;
	if ((c >= 0x3ac && c <= 0x3ce) || (c >= 0x430 && c <= 0x45f) ||
	    (c >= 0x4e00 && c <= 0x9fa5) || (c >= 0x3041 && c <= 0x3096) ||
	    (c >= 0x30a1 && c <= 0x30fa))
		return c;
	/* Pairs of Latin Extended-A, the capital first. */
	if ((c >= 0x100 && c <= 0x12f) || (c >= 0x14a && c <= 0x177))
		return c | 1;
	return 0;
}

/* The code point at s.ptr[*i] of valid UTF-8. */
static uint32_t point_take(struct slice s, size_t *i)
{
	unsigned char c = (unsigned char)s.ptr[*i];
	unsigned n = c < 0x80 ? 1 : (c < 0xe0 ? 2 : (c < 0xf0 ? 3 : 4));
	uint32_t point = n == 1 ? c : c & (0x7fu >> n);

	ASSERT(s.len - *i >= n);
	for (unsigned k = 1; k < n; k++)
		point = point << 6 | ((unsigned char)s.ptr[*i + k] & 0x3fu);
	*i += n;
	return point;
}

static bool digit_put(struct label *l, uint32_t digit)
{
	if (l->text_n == LABEL_MAX)
		return false;
	l->text[l->text_n++] = (char)(digit < 26 ? 'a' + digit : '0' + digit - 26);
	return true;
}

/* A number of variable length (RFC 3492 3.3). */
static bool number_put(struct label *l, uint32_t number, uint32_t bias)
{
	for (uint32_t k = BASE;; k += BASE) {
		uint32_t t = k <= bias ? TMIN : (k >= bias + TMAX ? TMAX : k - bias);

		if (number < t)
			return digit_put(l, number);
		if (!digit_put(l, t + (number - t) % (BASE - t)))
			return false;
		number = (number - t) / (BASE - t);
	}
}

static uint32_t bias_adapt(uint32_t delta, uint32_t points, bool first)
{
	uint32_t k = 0;

	delta = first ? delta / DAMP : delta / 2;
	delta += delta / points;
	for (; delta > (BASE - TMIN) * TMAX / 2; k += BASE)
		delta /= BASE - TMIN;
	return k + (BASE - TMIN + 1) * delta / (delta + SKEW);
}

/* The smallest code point that is not below `from`. */
static uint32_t next_point(const struct label *l, uint32_t from)
{
	uint32_t least = UINT32_MAX;

	for (unsigned i = 0; i < l->n; i++)
		if (l->points[i] >= from && l->points[i] < least)
			least = l->points[i];
	return least;
}

/* What is not ASCII, behind what is (RFC 3492 6.3). */
static bool points_encode(struct label *l, unsigned ascii)
{
	uint32_t n = FIRST, delta = 0, bias = BIAS;

	for (unsigned done = ascii; done < l->n; delta++, n++) {
		uint32_t m = next_point(l, n);

		delta += (m - n) * (done + 1);
		n = m;
		for (unsigned i = 0; i < l->n; i++) {
			delta += l->points[i] < n;
			if (l->points[i] != n)
				continue;
			if (!number_put(l, delta, bias))
				return false;
			bias = bias_adapt(delta, done + 1, done == ascii);
			delta = 0;
			done++;
		}
	}
	return true;
}

static bool label_encode(struct label *l)
{
	unsigned ascii = 0;

	for (unsigned i = 0; i < l->n; i++)
		ascii += l->points[i] < FIRST;
	memcpy(l->text, "xn--", 4);
	l->text_n = ascii < l->n ? 4 : 0;
	for (unsigned i = 0; i < l->n; i++)
		if (l->points[i] < FIRST && l->text_n < LABEL_MAX)
			l->text[l->text_n++] = (char)l->points[i];
	if (ascii == l->n)
		return true;
	if (ascii > 0)
		l->text[l->text_n++] = '-';
	return points_encode(l, ascii);
}

/* Takes a label off the name, up to its dot or the end. */
static bool label_take(struct label *l, struct slice name, size_t *i)
{
	*l = (struct label){ .n = 0 };
	while (*i < name.len && name.ptr[*i] != '.') {
		uint32_t c = mapped(point_take(name, i));

		if (c == 0 || l->n == LABEL_MAX)
			return false;
		l->points[l->n++] = c;
	}
	return label_encode(l);
}

const char *alabel_name(struct slice name, struct arena *memory)
{
	char text[NAME_MAX_BYTES + 1];
	size_t n = 0, i = 0;
	struct label l;

	while (i < name.len) {
		if (!label_take(&l, name, &i) || n + l.text_n + 1 > NAME_MAX_BYTES)
			return NULL;
		memcpy(text + n, l.text, l.text_n);
		n += l.text_n;
		if (i < name.len) {
			text[n++] = '.';
			i++;
		}
	}
	return arena_text(memory, (struct slice){ text, n });
}

#include "samples.h"

#include <math.h>
#include <stdlib.h>

bool sample_next(struct slice *rest, struct sample *s)
{
	static const struct slice prefix = SLICE("fairlead_");

	while (rest->len > 0) {
		const char *end = memchr(rest->ptr, '\n', rest->len);
		struct slice line = { rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len };
		const char *space = memrchr(line.ptr, ' ', line.len), *brace;

		*rest = slice_after(*rest, end ? line.len + 1 : line.len);
		if (!slice_starts(line, prefix) || !space)
			continue;
		s->value = strtod(space + 1, NULL);
		line = slice_after((struct slice){ line.ptr, (size_t)(space - line.ptr) },
				   prefix.len);
		brace = memchr(line.ptr, '{', line.len);
		s->name = line;
		s->labels = SLICE("");
		if (brace && line.ptr[line.len - 1] == '}') {
			s->name.len = (size_t)(brace - line.ptr);
			s->labels = (struct slice){ brace + 1, line.len - s->name.len - 2 };
		}
		return true;
	}
	return false;
}

/* The quoted value of a label, without its quotes; ptr NULL: there is none. */
static struct slice label_find(const struct sample *s, const char *label)
{
	struct slice name = slice_of(label), rest = s->labels;

	while (rest.len > 0) {
		const char *is = memchr(rest.ptr, '=', rest.len), *at;
		struct slice found;

		if (!is || is + 2 > rest.ptr + rest.len || is[1] != '"')
			break;
		found = (struct slice){ rest.ptr, (size_t)(is - rest.ptr) };
		for (at = is + 2; at < rest.ptr + rest.len && *at != '"'; at++)
			at += *at == '\\';
		if (slice_equal(found, name))
			return (struct slice){ is + 2, (size_t)(at - is) - 2 };
		if (at + 2 > rest.ptr + rest.len)
			break;
		rest = slice_after(rest, (size_t)(at + 2 - rest.ptr));
	}
	return (struct slice){ NULL, 0 };
}

bool sample_label(const struct sample *s, const char *label, char *to, size_t size)
{
	struct slice value = label_find(s, label);
	size_t n = 0;

	for (size_t i = 0; i < value.len && n + 1 < size; i++) {
		i += value.ptr[i] == '\\' && i + 1 < value.len;
		to[n++] = value.ptr[i];
	}
	to[n] = '\0';
	return value.ptr;
}

bool sample_has(const struct sample *s, const char *label, const char *value)
{
	return slice_equal(label_find(s, label), slice_of(value));
}

/* ---- histograms ------------------------------------------------------------------ */

void buckets_add(struct buckets *b, const struct sample *s)
{
	char text[32];
	unsigned i = 0;
	double le;

	if (!sample_label(s, "le", text, sizeof(text)))
		return;
	le = strtod(text, NULL); /* "+Inf" as well */
	while (i < b->n && b->le[i] < le)
		i++;
	if (i == b->n && b->n < BUCKETS_MAX)
		b->le[b->n++] = le;
	if (i < b->n && b->le[i] == le)
		b->count[i] += s->value;
}

static double bucket_count(const struct buckets *now, const struct buckets *before, unsigned i)
{
	return now->count[i] - (before && i < before->n ? before->count[i] : 0);
}

double buckets_quantile(const struct buckets *now, const struct buckets *before, double q)
{
	double total = now->n > 0 ? bucket_count(now, before, now->n - 1) : 0, low = 0, under = 0;

	for (unsigned i = 0; total > 0 && i < now->n; i++) {
		double n = bucket_count(now, before, i);

		if (n >= q * total && isinf(now->le[i]))
			return low;
		if (n >= q * total)
			return low + (now->le[i] - low) * (q * total - under) / (n - under);
		low = now->le[i];
		under = n;
	}
	return NAN;
}

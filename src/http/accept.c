#include "http/accept.h"

#include "octet.h"

/* Cuts text up to `separator` off the front of *rest, without blanks at its ends. */
static struct slice part_take(struct slice *rest, char separator)
{
	const char *end = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
	struct slice part = *rest;

	if (end) {
		part.len = (size_t)(end - rest->ptr);
		*rest = slice_after(*rest, part.len + 1);
	} else {
		rest->len = 0;
	}
	return slice_trim(part);
}

/* "0.5" as 500 (RFC 9110 12.4.2); -1: malformed. */
static int weight_parse(struct slice s)
{
	int weight = 0, unit = 1000;

	if (s.len == 0 || s.len > 5 || (s.ptr[0] != '0' && s.ptr[0] != '1') ||
	    (s.len > 1 && s.ptr[1] != '.'))
		return -1;
	for (size_t i = 0; i < s.len; i++) {
		if (i == 1)
			continue;
		if (!octet_is(s.ptr[i], OCTET_DIGIT))
			return -1;
		weight += (s.ptr[i] - '0') * unit;
		unit /= 10;
	}
	return weight <= 1000 ? weight : -1;
}

/* The weight of the parameters of a range. */
static int parameters_weight(struct slice parameters)
{
	while (parameters.len > 0) {
		struct slice one = part_take(&parameters, ';');

		if (one.len > 2 &&
		    slice_equal_nocase((struct slice){ one.ptr, 2 }, SLICE("q=")))
			return weight_parse(slice_after(one, 2));
	}
	return 1000;
}

/* How specific a range is that the type is in: 1 to 3. 0: it is not in it. */
static unsigned range_specificity(struct slice range, struct slice type)
{
	struct slice wanted = range, has = type;
	struct slice wanted_type = part_take(&wanted, '/'),
		     has_type = part_take(&has, '/');

	if (slice_equal(range, SLICE("*/*")))
		return 1;
	if (!slice_equal_nocase(wanted_type, has_type))
		return 0;
	if (slice_equal(wanted, SLICE("*")))
		return 2;
	return slice_equal_nocase(wanted, has) ? 3 : 0;
}

unsigned accept_weight(const struct head *h, struct slice type)
{
	struct slice bare = part_take(&type, ';');
	unsigned specificity = 0;
	int weight = 0;
	bool present = false;

	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		struct slice rest = f->value;

		if (!slice_equal_nocase(f->name, SLICE("Accept")))
			continue;
		present = true;
		while (rest.len > 0) {
			struct slice parameters = part_take(&rest, ',');
			struct slice range = part_take(&parameters, ';');
			unsigned found = range_specificity(range, bare);
			int wanted = parameters_weight(parameters);

			if (found <= specificity || wanted < 0)
				continue;
			specificity = found;
			weight = wanted;
		}
	}
	return present ? (unsigned)weight : 1000;
}

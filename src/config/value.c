#include "value.h"

#include <inttypes.h>
#include <stdio.h>

#include "config/report.h"

struct unit {
	struct slice name;
	uint64_t scale;
};

/* Largest first: a number is printed in the first unit that divides it. Days are read, but not
 * printed. */
static const struct unit durations[] = {
	{ { "d", 1 }, 86400000 },
	{ { "h", 1 }, 3600000 },
	{ { "m", 1 }, 60000 },
	{ { "s", 1 }, 1000 },
	{ { "ms", 2 }, 1 },
};

static const struct unit sizes[] = {
	{ { "GiB", 3 }, 1 << 30 },
	{ { "MiB", 3 }, 1 << 20 },
	{ { "KiB", 3 }, 1 << 10 },
	{ { "B", 1 }, 1 },
};

/* The i-th word of "a|b|c"; empty: there are fewer words. */
static struct slice word_at(const char *words, uint64_t i)
{
	const char *at = words, *end;

	for (; i > 0; i--) {
		at = strchr(at, '|');
		if (!at)
			return (struct slice){ NULL, 0 };
		at++;
	}
	end = strchrnul(at, '|');
	return (struct slice){ at, (size_t)(end - at) };
}

static void format_unit(const struct unit *units, uint64_t number, char *text)
{
	while (number % units->scale != 0 || (number == 0 && units->scale != 1))
		units++;
	snprintf(text, VALUE_TEXT_MAX, "%" PRIu64 "%s", number / units->scale,
		 units->name.ptr);
}

void value_format(const struct key *k, uint64_t number, char text[VALUE_TEXT_MAX])
{
	bool beyond = k->kind != KIND_WORD && number > k->max; /* the second word */

	if (k->kind == KIND_WORD || (k->words && (number == 0 || beyond))) {
		struct slice word = word_at(k->words, beyond ? 1 : number);

		ASSERT(word.len > 0);
		snprintf(text, VALUE_TEXT_MAX, "%.*s", SLICE_ARG(word));
	} else if (k->kind == KIND_DURATION) {
		format_unit(durations + 1, number, text);
	} else if (k->kind == KIND_SIZE) {
		format_unit(sizes, number, text);
	} else {
		snprintf(text, VALUE_TEXT_MAX, "%" PRIu64, number);
	}
}

const char *value_words(const struct key *k, char text[VALUE_WORDS_MAX])
{
	struct slice second;

	ASSERT(k->kind != KIND_WORD);
	text[0] = '\0';
	if (!k->words)
		return text;
	second = word_at(k->words, 1);
	snprintf(text, VALUE_WORDS_MAX, ", or %.*s%s%.*s", SLICE_ARG(word_at(k->words, 0)),
		 second.len > 0 ? " or " : "", SLICE_ARG(second));
	return text;
}

uint64_t value_number(const struct key *k, const void *from)
{
	const void *field = (const char *)from + k->offset;

	switch (k->bytes) {
	case 1:
		return *(const uint8_t *)field;
	case 4:
		return *(const uint32_t *)field;
	case 8:
		return *(const uint64_t *)field;
	}
	ASSERT(!"a field of another size");
	return 0;
}

static void store(const struct key *k, uint64_t number, void *into)
{
	void *field = (char *)into + k->offset;

	switch (k->bytes) {
	case 1:
		*(uint8_t *)field = (uint8_t)number;
		break;
	case 4:
		*(uint32_t *)field = (uint32_t)number;
		break;
	case 8:
		*(uint64_t *)field = number;
		break;
	}
	ASSERT(value_number(k, into) == number);
}

/* Consumes 1 to 15 decimal digits. False: there are none, or more. */
static bool take_digits(struct slice *text, uint64_t *number)
{
	size_t n = 0;

	*number = 0;
	while (n < text->len && n < 16 && text->ptr[n] >= '0' && text->ptr[n] <= '9')
		*number = *number * 10 + (uint64_t)(text->ptr[n++] - '0');
	*text = slice_after(*text, n);
	return n > 0 && n < 16;
}

/* Consumes an optional fraction, such as ".5" or ".125". False: it is invalid. */
static bool take_fraction(struct slice *text, uint64_t *thousandths)
{
	size_t before;

	*thousandths = 0;
	if (text->len == 0 || text->ptr[0] != '.')
		return true;
	*text = slice_after(*text, 1);
	before = text->len;
	if (!take_digits(text, thousandths) || before - text->len > 3)
		return false;
	for (size_t n = before - text->len; n < 3; n++)
		*thousandths *= 10;
	return true;
}

static const struct unit *unit_find(const struct unit *units, size_t n, struct slice name)
{
	for (size_t i = 0; i < n; i++)
		if (slice_equal(units[i].name, name))
			return &units[i];
	return NULL;
}

static const char *range_fault(const struct key *k, struct slice text,
			       struct arena *memory)
{
	char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX];
	char words[VALUE_WORDS_MAX];
	struct key plain = *k; /* without the words */

	plain.words = NULL;
	value_format(&plain, k->min, min);
	value_format(&plain, k->max, max);
	return arena_format(memory, "'%s' cannot be '%.*s'; write %s to %s%s", k->name.ptr,
			    REPORT_ARG(text), min, max, value_words(k, words));
}

static const char *read_count(const struct key *k, struct slice text,
			      struct arena *memory, uint64_t *number)
{
	struct slice rest = text;

	if (!take_digits(&rest, number) || rest.len > 0)
		return range_fault(k, text, memory);
	return NULL;
}

static bool unit_fits(const struct key *k, const struct unit *u, uint64_t number)
{
	return number <= k->max / u->scale && number * u->scale >= k->min;
}

/* The unit to suggest for a number without one: `usual` if the value is then in the range of the
 * key, otherwise the smallest unit with which it is. NULL: no unit fits. */
static const struct unit *unit_suggested(const struct key *k, const struct unit *units,
					 size_t n, const struct unit *usual,
					 uint64_t number)
{
	if (unit_fits(k, usual, number))
		return usual;
	while (n-- > 0)
		if (unit_fits(k, &units[n], number))
			return &units[n];
	return NULL;
}

static const char *duration_unit_fault(const struct key *k, struct slice text,
				       struct arena *memory, uint64_t number)
{
	const struct unit *u = unit_suggested(
		k, durations, COUNT(durations),
		unit_find(durations, COUNT(durations), SLICE("s")), number);

	if (!u)
		return range_fault(k, text, memory);
	return arena_format(memory, "'%s' has no unit; write %.*s%s", k->name.ptr,
			    REPORT_ARG(text), u->name.ptr);
}

static const char *size_unit_fault(const struct key *k, struct slice text,
				   struct arena *memory, uint64_t number)
{
	const struct unit *u = unit_suggested(k, sizes, COUNT(sizes),
					      &sizes[COUNT(sizes) - 1], number);

	if (!u)
		return range_fault(k, text, memory);
	return arena_format(memory,
			    "'%s' has no unit; use B, KiB, MiB or GiB, as in %.*s%s",
			    k->name.ptr, REPORT_ARG(text), u->name.ptr);
}

static const char *read_duration(const struct key *k, struct slice text,
				 struct arena *memory, uint64_t *number)
{
	char words[VALUE_WORDS_MAX];
	struct slice rest = text;
	uint64_t thousandths;
	const struct unit *u;

	if (!take_digits(&rest, number) || !take_fraction(&rest, &thousandths))
		return arena_format(
			memory,
			"'%s' takes a duration, not '%.*s'; write a number with a unit, "
			"such as 250ms, 1.5s, 10m, 1h or 1d%s",
			k->name.ptr, REPORT_ARG(text), value_words(k, words));
	if (rest.len == 0)
		return duration_unit_fault(k, text, memory, *number);
	u = unit_find(durations, COUNT(durations), rest);
	if (!u)
		return arena_format(
			memory,
			"'%.*s' is not a unit of time; use ms, s, m, h or d, as in %.*ss",
			REPORT_ARG(rest), (int)(text.len - rest.len), text.ptr);
	if (thousandths * u->scale % 1000 != 0)
		return arena_format(
			memory,
			"'%.*s' is not a whole number of milliseconds; round it to whole "
			"milliseconds",
			REPORT_ARG(text));
	if (*number > k->max / u->scale)
		return range_fault(k, text, memory);
	*number = *number * u->scale + thousandths * u->scale / 1000;
	return NULL;
}

/* The unit that KB, M, gb or kib probably means. */
static const char *size_unit_meant(struct slice unit)
{
	switch (unit.ptr[0]) {
	case 'k':
	case 'K':
		return "KiB";
	case 'm':
	case 'M':
		return "MiB";
	case 'g':
	case 'G':
		return "GiB";
	}
	return "B";
}

static const char *read_size(const struct key *k, struct slice text, struct arena *memory,
			     uint64_t *number)
{
	char words[VALUE_WORDS_MAX];
	struct slice rest = text;
	const struct unit *u;

	if (!take_digits(&rest, number))
		return arena_format(
			memory,
			"'%s' takes a size, not '%.*s'; write a number with a unit, such "
			"as 512B, 16KiB, 1MiB or 2GiB%s",
			k->name.ptr, REPORT_ARG(text), value_words(k, words));
	if (rest.len == 0 && *number == 0 && k->words)
		return NULL;
	if (rest.len == 0)
		return size_unit_fault(k, text, memory, *number);
	if (rest.ptr[0] == '.')
		return arena_format(
			memory,
			"a size cannot have a fraction; write '%s' in a smaller unit",
			k->name.ptr);
	u = unit_find(sizes, COUNT(sizes), rest);
	if (!u)
		return arena_format(memory, "'%.*s' is not a unit of size; write %.*s%s",
				    REPORT_ARG(rest), (int)(text.len - rest.len),
				    text.ptr, size_unit_meant(rest));
	if (*number > k->max / u->scale)
		return range_fault(k, text, memory);
	*number *= u->scale;
	return NULL;
}

static const char *words_fault(const struct key *k, struct slice text,
			       struct arena *memory)
{
	char list[128] = "";

	for (uint64_t i = 0; word_at(k->words, i).len > 0; i++) {
		bool last = word_at(k->words, i + 1).len == 0;
		size_t n = strlen(list);

		snprintf(list + n, sizeof(list) - n, "%s%.*s",
			 i == 0 ? "" : (last ? " or " : ", "),
			 SLICE_ARG(word_at(k->words, i)));
	}
	return arena_format(memory, "'%s' cannot be '%.*s'; write %s", k->name.ptr,
			    REPORT_ARG(text), list);
}

/* 0: off, 1: on, -1: another word. */
static int switch_value(struct slice text)
{
	static const char *const words[2][3] = { { "off", "no", "false" },
						 { "on", "yes", "true" } };

	for (int on = 0; on < 2; on++)
		for (unsigned i = 0; i < 3; i++)
			if (slice_equal_nocase(text, slice_of(words[on][i])))
				return on;
	return -1;
}

bool value_is_off(struct slice text)
{
	return switch_value(text) == 0;
}

bool value_is_on(struct slice text)
{
	return switch_value(text) == 1;
}

static bool is_switch(const struct key *k)
{
	return strcmp(k->words, "off|on") == 0 || strcmp(k->words, "false|true") == 0;
}

static const char *read_word(const struct key *k, struct slice text, struct arena *memory,
			     uint64_t *number)
{
	if (is_switch(k) && switch_value(text) >= 0) {
		*number = (uint64_t)switch_value(text);
		return NULL;
	}
	for (*number = 0; word_at(k->words, *number).len > 0; (*number)++)
		if (slice_equal(word_at(k->words, *number), text))
			return NULL;
	return words_fault(k, text, memory);
}

/* True: the text is a word of the key that stands for this number, or a synonym of the first one if
 * that is "off". */
static bool number_of_word(const struct key *k, struct slice text, uint64_t *number)
{
	struct slice word = k->words ? word_at(k->words, 0) : (struct slice){ NULL, 0 };

	*number = 0;
	if (word.len == 0)
		return false;
	if (slice_equal(word, text) ||
	    (slice_equal(word, SLICE("off")) && value_is_off(text)))
		return true;
	word = word_at(k->words, 1);
	*number = k->max + 1;
	return k->kind != KIND_WORD && word.len > 0 && slice_equal(word, text);
}

static const char *read_number(const struct key *k, struct slice text,
			       struct arena *memory, void *into)
{
	uint64_t number = 0;
	const char *fault = NULL;

	if (!number_of_word(k, text, &number)) {
		fault = k->kind == KIND_COUNT ? read_count(k, text, memory, &number)
			: k->kind == KIND_DURATION
				? read_duration(k, text, memory, &number)
			: k->kind == KIND_SIZE ? read_size(k, text, memory, &number)
					       : read_word(k, text, memory, &number);
		if (!fault && k->kind != KIND_WORD &&
		    (number < k->min || number > k->max))
			fault = range_fault(k, text, memory);
	}
	if (!fault)
		store(k, number, into);
	return fault;
}

static void store_text(const struct key *k, struct slice text, struct arena *memory,
		       void *into)
{
	const char *copy = arena_text(memory, text);
	struct slice s = { copy, text.len };
	void *field = (char *)into + k->offset;

	if (k->kind == KIND_STRING)
		memcpy(field, &copy, sizeof(copy));
	else
		memcpy(field, &s, sizeof(s));
}

static bool is_text(enum value_kind kind)
{
	switch (kind) {
	case KIND_STRING:
	case KIND_PATH:
	case KIND_HOST:
	case KIND_VALUE:
	case KIND_URI:
		return true;
	case KIND_COUNT:
	case KIND_DURATION:
	case KIND_SIZE:
	case KIND_WORD:
	case KIND_NODE:
		break;
	}
	return false;
}

const char *value_read(const struct key *k, struct slice text, struct arena *memory,
		       void *into)
{
	const char *fault;

	ASSERT(k->kind != KIND_NODE);
	if (!is_text(k->kind))
		return read_number(k, text, memory, into);
	fault = value_text_fault(k->kind, k->name, text, memory);
	if (!fault)
		store_text(k, text, memory, into);
	return fault;
}

void value_preset(const struct key *k, struct arena *memory, void *into)
{
	if (!k->preset || k->kind == KIND_NODE)
		return;
	if (is_text(k->kind))
		store_text(k, slice_of(k->preset), memory, into);
	else
		ASSERT(!read_number(k, slice_of(k->preset), memory, into));
}

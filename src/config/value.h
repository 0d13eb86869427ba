/* Scalar values: from text to the field of a struct, and back.
 *
 * COUNT     42
 * DURATION  250ms, 1.5s, 10m, 1h, 1d: at most three decimals; a whole number of milliseconds
 * SIZE      512B, 16KiB, 1MiB, 2GiB
 * WORD      one of the words of the key; if these are off and on, or false and true: any of off,
 *           no, false and on, yes, true, in any letter case
 * STRING    text without control characters
 * PATH      "/…" as in a request, without query string
 * HOST      HOST or HOST:PORT
 * VALUE     the value of a header field
 * URI       "/…", "http://…" or "https://…" */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "config/arena.h"
#include "base/check.h"
#include "config/keys.h"

/* Parses `text` into the field of the key in the struct at `into`. Strings are copied to `memory`.
 * Returns NULL, or what is wrong and the remedy. */
const char *value_read(const struct key *k, struct slice text, struct arena *memory,
		       void *into);

/* True: "off", "no" or "false", in any letter case. */
bool value_is_off(struct slice text);

/* True: "on", "yes" or "true", in any letter case. */
bool value_is_on(struct slice text);

/* Stores the default of the key; nothing if the key is required. */
void value_preset(const struct key *k, struct arena *memory, void *into);

/* Checks a text that is not empty, as STRING, PATH, HOST, VALUE or URI. Returns NULL, or what is
 * wrong and the remedy. */
const char *value_text_fault(enum value_kind kind, struct slice name, struct slice text,
			     struct arena *memory);

/* The number in the field of the key, which is not a text. */
uint64_t value_number(const struct key *k, const void *from);

/* Formats a number of the key in the syntax of the file. */
#define VALUE_TEXT_MAX 32
void value_format(const struct key *k, uint64_t number, char text[VALUE_TEXT_MAX]);

/* The words of a number, for the end of a sentence: ", or auto"; "" if it has none. */
#define VALUE_WORDS_MAX 64
const char *value_words(const struct key *k, char text[VALUE_WORDS_MAX]);

#endif

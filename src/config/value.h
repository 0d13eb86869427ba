/* Plain values: text to field and back.
 *
 * COUNT     42
 * DURATION  250ms, 1.5s, 10m, 1h, 1d: at most three digits after the point, whole
 *           milliseconds
 * SIZE      512B, 16KiB, 1MiB, 2GiB
 * WORD      one of the key's words; of off and on, and of false and true, also no and yes,
 *           and each for the other, in any letter case
 * STRING    anything without control characters
 * PATH      "/…" as in a request, without query
 * HOST      a host, with or without port
 * VALUE     a field value
 * URI       "/…", "http://…" or "https://…" */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include "arena.h"
#include "base/check.h"
#include "keys.h"

/* Reads `text` into the key's field of the struct at `into`; texts are copied to
 * `memory`. Returns NULL, or what is wrong and the remedy. */
const char *value_read(const struct key *k, struct slice text, struct arena *memory,
		       void *into);

/* "off", or another word for it. */
bool value_is_off(struct slice text);

/* Fills in the default. */
void value_preset(const struct key *k, struct arena *memory, void *into);

/* NULL, or what is wrong with a text as STRING, PATH, HOST, VALUE or URI. */
const char *value_text_fault(enum kind kind, struct slice name, struct slice text,
			     struct arena *memory);

/* The number in the key's field; not for texts. */
uint64_t value_number(const struct key *k, const void *from);

/* A number of the key as one writes it. */
#define VALUE_TEXT_MAX 32
void value_format(const struct key *k, uint64_t number, char text[VALUE_TEXT_MAX]);

#endif

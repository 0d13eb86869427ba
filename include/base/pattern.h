/* Regular expressions of the configuration (PCRE2), for bytes: no UTF-8 mode, "$" matches at the
 * very end only. A pattern matches anywhere in a text, as in nginx and HAProxy.
 *
 * Owner: the caller of pattern_new(). Immutable; all threads may match with it.
 * Limits: PATTERN_BYTES_MAX of a pattern, PATTERN_SUBJECT_MAX of a text. Backtracking is limited,
 * because a text comes from a client: PATTERN_STEPS in all, or PATTERN_STEPS_LEAST for each place
 * in the text where a match may begin. What needs more does not match, and is told apart.
 * Memory: what a thread needs to match is allocated by its first match and freed with the thread;
 * it grows up to PATTERN_HEAP_KIB while a match needs that, and never per match.
 * Machine code: only where the process may make memory executable, so not behind the sandbox of
 * a worker process. PCRE2's interpreter needs 2 to 8 times as long: 70 to 650 ns for usual
 * patterns on a User-Agent of 100 bytes, instead of 30 to 90. */
#ifndef BASE_PATTERN_H
#define BASE_PATTERN_H

#include <stdbool.h>

#include "base/slice.h"

#define PATTERN_BYTES_MAX 4096
#define PATTERN_SUBJECT_MAX 16384
#define PATTERN_GROUPS_MAX 10 /* with the whole match, which is group 0 */
#define PATTERN_STEPS 1000000
#define PATTERN_STEPS_LEAST 200
#define PATTERN_HEAP_KIB 512
#define PATTERN_WHY_MAX 128

struct pattern;

/* From now on no pattern of this process is compiled to machine code: its sandbox forbids
 * executable memory, and kills it otherwise. */
void pattern_forbid_machine_code(void);

/* Compiles a pattern; `machine_code`: to machine code if that is allowed. NULL: *offset is where
 * it is wrong, and `why` what is. */
struct pattern *pattern_new(struct slice text, bool machine_code, size_t *offset,
			    char why[PATTERN_WHY_MAX]);

/* Accepts NULL. */
void pattern_free(struct pattern *p);

/* The groups of a pattern, with group 0: 1 to PATTERN_GROUPS_MAX. */
unsigned pattern_groups(const struct pattern *p);

enum pattern_result {
	PATTERN_DIFFERS,
	PATTERN_MATCHES,
	PATTERN_GAVE_UP, /* over a limit, or no memory: nobody knows whether it matches */
};

/* Matches a text. Sets n groups, which point into the text; a group that took no part is empty. */
enum pattern_result pattern_match(const struct pattern *p, struct slice text,
				  struct slice *groups, unsigned n);

/* The version of PCRE2. */
void pattern_library(char version[64]);

#endif

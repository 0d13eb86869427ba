#include "base/pattern.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/check.h"

struct pattern {
	pcre2_code *code;
	unsigned groups;
};

/* What a thread needs to match. */
struct matcher {
	pcre2_match_data *data;
	pcre2_match_context *limits;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t matcher_key; /* frees the matcher of a thread that ends */
static _Thread_local struct matcher *matcher;

static void matcher_free(void *p)
{
	struct matcher *m = p;

	pcre2_match_data_free(m->data);
	pcre2_match_context_free(m->limits);
	free(m);
	matcher = NULL;
}

static void key_make(void)
{
	int error = pthread_key_create(&matcher_key, matcher_free);

	ASSERT(error == 0);
}

/* NULL: no memory. */
static struct matcher *matcher_make(void)
{
	struct matcher *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->data = pcre2_match_data_create(PATTERN_GROUPS_MAX, NULL);
	m->limits = pcre2_match_context_create(NULL);
	pthread_once(&once, key_make);
	if (!m->data || !m->limits || pthread_setspecific(matcher_key, m) != 0) {
		matcher_free(m);
		return NULL;
	}
	pcre2_set_heap_limit(m->limits, PATTERN_HEAP_KIB);
	matcher = m;
	return m;
}

/* The last of a process that ends by exit(), where no key is destroyed. */
__attribute__((destructor)) static void matcher_done(void)
{
	if (matcher)
		matcher_free(matcher);
}

/* What PCRE2 says of an error, without the point at its end. */
static void describe(int error, char why[PATTERN_WHY_MAX])
{
	if (pcre2_get_error_message(error, (PCRE2_UCHAR *)why, PATTERN_WHY_MAX) < 0)
		snprintf(why, PATTERN_WHY_MAX, "invalid (PCRE2 error %d)", error);
}

static pcre2_code *compile(struct slice text, size_t *offset, char why[PATTERN_WHY_MAX])
{
	const uint32_t options = PCRE2_NEVER_UTF | PCRE2_NEVER_UCP |
				 PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
	pcre2_code *code;
	int error;

	*offset = 0;
	if (text.len > PATTERN_BYTES_MAX) {
		snprintf(why, PATTERN_WHY_MAX, "longer than %d bytes", PATTERN_BYTES_MAX);
		return NULL;
	}
	code = pcre2_compile((PCRE2_SPTR)text.ptr, text.len, options, &error, offset,
			     NULL);
	if (!code)
		describe(error, why);
	return code;
}

static atomic_bool no_machine_code;

void pattern_forbid_machine_code(void)
{
	atomic_store(&no_machine_code, true);
}

struct pattern *pattern_new(struct slice text, bool machine_code, size_t *offset,
			    char why[PATTERN_WHY_MAX])
{
	struct pattern *p = calloc(1, sizeof(*p));
	uint32_t groups = 0;

	ASSERT(p); /* out of memory: see config/arena.h */
	p->code = compile(text, offset, why);
	if (!p->code) {
		free(p);
		return NULL;
	}
	pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &groups);
	if (groups >= PATTERN_GROUPS_MAX) {
		snprintf(why, PATTERN_WHY_MAX, "more than %d groups; (?:…) is no group",
			 PATTERN_GROUPS_MAX - 1);
		pattern_free(p);
		return NULL;
	}
	p->groups = groups + 1;
	if (machine_code &&
	    !atomic_load(&no_machine_code)) /* if it fails, the interpreter is used */
		(void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
	return p;
}

void pattern_free(struct pattern *p)
{
	if (!p)
		return;
	pcre2_code_free(p->code);
	free(p);
}

unsigned pattern_groups(const struct pattern *p)
{
	return p->groups;
}

/* PCRE2 counts the steps anew at each place where a match may begin. */
static uint32_t steps_for(struct slice text)
{
	size_t steps = PATTERN_STEPS / (text.len + 1);

	return (uint32_t)(steps > PATTERN_STEPS_LEAST ? steps : PATTERN_STEPS_LEAST);
}

static void groups_take(const struct matcher *m, struct slice text, unsigned found,
			struct slice *groups, unsigned n)
{
	const size_t *ends = pcre2_get_ovector_pointer(m->data);

	for (unsigned i = 0; i < n; i++) {
		bool set = i < found && ends[2 * i] != PCRE2_UNSET &&
			   ends[2 * i] <= ends[2 * i + 1]; /* else: \K */

		groups[i] = set ? (struct slice){ text.ptr + ends[2 * i],
						  ends[2 * i + 1] - ends[2 * i] }
				: (struct slice){ text.ptr, 0 };
	}
}

enum pattern_result pattern_match(const struct pattern *p, struct slice text,
				  struct slice *groups, unsigned n)
{
	struct matcher *m = matcher ? matcher : matcher_make();
	int found;

	ASSERT(n <= PATTERN_GROUPS_MAX);
	if (!m || text.len > PATTERN_SUBJECT_MAX)
		return PATTERN_GAVE_UP;
	pcre2_set_match_limit(m->limits, steps_for(text));
	if (!text.ptr)
		text.ptr = "";
	found = pcre2_match(p->code, (PCRE2_SPTR)text.ptr, text.len, 0, 0, m->data,
			    m->limits);
	if (found == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter has more memory */
		found = pcre2_match(p->code, (PCRE2_SPTR)text.ptr, text.len, 0,
				    PCRE2_NO_JIT, m->data, m->limits);
	if (found == PCRE2_ERROR_NOMATCH)
		return PATTERN_DIFFERS;
	if (found < 0)
		return PATTERN_GAVE_UP;
	groups_take(m, text, (unsigned)found, groups, n);
	return PATTERN_MATCHES;
}

void pattern_library(char version[64])
{
	int n = pcre2_config(PCRE2_CONFIG_VERSION, NULL);

	version[0] = '\0';
	if (n > 0 && n <= 64)
		pcre2_config(PCRE2_CONFIG_VERSION, version);
}

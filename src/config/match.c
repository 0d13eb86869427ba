#include "config/match.h"

#include <ctype.h>

#include "config/nearest.h"
#include "reader.h"
#include "value.h"

#define TEST_FORM "\"TEXT\", \"TEXT*\", \"*\" for any value, or \"~PATTERN\""

/* The conditions of a map, while it is read. */
struct conditions {
	struct config_condition *all;
	unsigned n, max;
};

/* ---- tests of a value ---------------------------------------------------------- */

void patterns_free(struct config *c)
{
	for (struct config_pattern *p = c->patterns; p; p = p->next)
		pattern_free(p->pattern);
	c->patterns = NULL;
}

const struct pattern *pattern_read(struct config_reader *r, const struct node *n,
				   struct slice text)
{
	struct config_pattern *p = arena_alloc(r->memory, sizeof(*p));
	char why[PATTERN_WHY_MAX];
	size_t offset;

	p->pattern = pattern_new(text, !r->config->sandbox, &offset, why);
	if (!p->pattern) {
		offset += (size_t)(text.ptr - n->text.ptr);
		report_error(
			&r->report, node_text_pos(n, offset),
			"invalid regular expression: %s; check the parentheses, brackets "
			"and backslashes up to here",
			why);
		return NULL;
	}
	p->next = r->config->patterns;
	r->config->patterns = p;
	return p->pattern;
}

/* What was written for `text`, which is the node's without a mark in front or behind. */
static const char *test_written(struct config_reader *r, const struct node *n,
				struct slice text)
{
	size_t before = (size_t)(text.ptr - n->text.ptr);
	struct slice written;

	if (!n->references)
		return NULL;
	written = slice_after(slice_of(node_written(r, n)), before);
	written.len -= n->text.len - before - text.len;
	return arena_text(r->memory, written);
}

/* A text that is compared as it is. */
static void literal_read(struct config_reader *r, const struct node *n, struct slice text,
			 enum config_test_kind kind, struct config_test *t)
{
	const char *variable = memmem(text.ptr, text.len, "${", 2);

	t->kind = kind;
	t->text = (struct slice){ arena_text(r->memory, text), text.len };
	t->written = test_written(r, n, text);
	if (variable && !n->references)
		report_error(&r->report,
			     node_text_pos(n, (size_t)(variable - n->text.ptr)),
			     "a test cannot contain variables; write the text itself");
}

static void pattern_test_read(struct config_reader *r, const struct node *n,
			      struct slice text, struct config_test *t)
{
	t->kind = TEST_PATTERN;
	t->text = (struct slice){ arena_text(r->memory, text), text.len };
	t->written = test_written(r, n, text);
	if (text.len == 0)
		report_error(&r->report, n->at,
			     "'~' needs a regular expression; write \"~PATTERN\"");
	else
		t->pattern = pattern_read(r, n, text);
}

/* { exact: TEXT }, { prefix: TEXT } or { pattern: TEXT } */
static void test_map_read(struct config_reader *r, const struct node *n,
			  struct config_test *t)
{
	struct section_values values;
	const struct node *one = NULL;

	if (!section_read(r, n, &section_test, t, &values))
		return;
	for (size_t i = 0; i < section_test.row_n; i++) {
		if (values.of[i] && one) {
			report_error(
				&r->report, values.of[i]->key->at,
				"a test has one key, and this one already has '%s'; write "
				"a list of tests, of which one must pass",
				node_name(one));
			return;
		}
		one = values.of[i] ? values.of[i] : one;
	}
	if (!one) {
		report_error(&r->report, node_pos(n), "this test is empty; write %s",
			     TEST_FORM);
		return;
	}
	if (!scalar_check(r, one, TEST_FORM))
		return;
	if (values.of[KEY_test_pattern])
		pattern_test_read(r, one, one->text, t);
	else
		literal_read(r, one, one->text,
			     values.of[KEY_test_exact] ? TEST_EXACT : TEST_PREFIX, t);
}

static void test_read(struct config_reader *r, const struct node *n,
		      struct config_test *t)
{
	struct slice text = n->text;

	if (n->kind == NODE_MAP) {
		test_map_read(r, n, t);
		return;
	}
	if (n->kind == NODE_SCALAR && !n->plain && text.len == 0) {
		t->kind = TEST_EXACT; /* the empty value */
		return;
	}
	if (!scalar_check(r, n, TEST_FORM))
		return;
	/* What a reference stands for is text, whatever it begins or ends with. */
	if (n->references && n->references->at == 0 && n->references->len == text.len)
		literal_read(r, n, text, TEST_EXACT, t);
	else if (slice_equal(text, SLICE("*")))
		t->kind = TEST_ANY;
	else if (text.ptr[0] == '~')
		pattern_test_read(r, n, slice_after(text, 1), t);
	else if (text.ptr[text.len - 1] == '*')
		literal_read(r, n, (struct slice){ text.ptr, text.len - 1 }, TEST_PREFIX,
			     t);
	else
		literal_read(r, n, text, TEST_EXACT, t);
}

static void tests_read(struct config_reader *r, const struct node *n,
		       struct config_condition *c)
{
	const struct node *list = list_of(r, n);
	struct config_test *tests;

	if (!children_check(r, list, NODE_LIST, MATCH_TESTS_MAX, TEST_FORM))
		return;
	tests = arena_alloc(r->memory, list->child_n * sizeof(tests[0]));
	for (const struct node *one = list->children; one; one = one->next)
		test_read(r, one, &tests[c->test_n++]);
	c->tests = tests;
}

/* ---- conditions ------------------------------------------------------------------ */

static struct config_condition *condition_add(struct conditions *all,
					      enum config_condition_kind kind)
{
	ASSERT(all->n < all->max);
	all->all[all->n] = (struct config_condition){ .kind = kind };
	return &all->all[all->n++];
}

/* A tchar or several (RFC 9110 5.6.2). */
static bool is_token(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!isalnum((unsigned char)text.ptr[i]) &&
		    !memchr("!#$%&'*+-.^_`|~", text.ptr[i], 15))
			return false;
	return text.len > 0;
}

/* The method that a word in other letters means; empty: none. */
static struct slice method_meant(struct slice text)
{
	static const struct slice known[] = {
#define METHOD(name, token, safe, idempotent) { token, sizeof(token) - 1 },
#include "http/method.def"
#undef METHOD
	};

	for (size_t i = 0; i < COUNT(known); i++)
		if (slice_equal_nocase(text, known[i]) && !slice_equal(text, known[i]))
			return known[i];
	return (struct slice){ NULL, 0 };
}

static void method_read(struct config_reader *r, const struct node *n,
			struct config_test *t)
{
	struct slice meant;

	if (!scalar_check(r, n, "a method, such as GET"))
		return;
	meant = method_meant(n->text);
	t->kind = TEST_EXACT;
	t->text = (struct slice){ arena_text(r->memory, n->text), n->text.len };
	if (meant.len > 0)
		report_error(&r->report, n->at,
			     "methods are in capital letters; write '%.*s'",
			     REPORT_ARG(meant));
	else if (!is_token(n->text))
		report_error(&r->report, n->at,
			     "'%.*s' is not a method; write its name alone",
			     REPORT_ARG(n->text));
}

static void methods_read(struct config_reader *r, const struct node *n,
			 struct conditions *all)
{
	struct config_condition *c = condition_add(all, CONDITION_METHOD);
	const struct node *list = list_of(r, n);
	struct config_test *tests;

	if (!children_check(r, list, NODE_LIST, MATCH_TESTS_MAX, "'method: [METHOD, …]'"))
		return;
	tests = arena_alloc(r->memory, list->child_n * sizeof(tests[0]));
	for (const struct node *one = list->children; one; one = one->next)
		method_read(r, one, &tests[c->test_n++]);
	c->tests = tests;
}

/* A map of names and tests; NULL: not in the file. */
static void named_read(struct config_reader *r, const struct node *map,
		       enum config_condition_kind kind, struct conditions *all)
{
	if (!map ||
	    !children_check(r, map, NODE_MAP, MATCH_CONDITIONS_MAX, "'NAME: TEST'"))
		return;
	for (const struct node *n = map->children; n; n = n->next) {
		struct config_condition *c = condition_add(all, kind);
		struct slice name = n->key->text;

		if (n->key->kind != NODE_SCALAR || name.len == 0 ||
		    (kind != CONDITION_QUERY && !is_token(name))) {
			report_error(&r->report, n->key->at,
				     "this is not a name of a %s; write 'NAME: TEST'",
				     kind == CONDITION_HEADER   ? "header field"
				     : kind == CONDITION_COOKIE ? "cookie"
								: "parameter");
			continue;
		}
		c->name = (struct slice){ arena_text(r->memory, name), name.len };
		tests_read(r, n, c);
	}
}

/* The variable of a key of `tls`; VARIABLE_NONE: unknown, which is reported. */
static enum variable tls_variable(struct config_reader *r, const struct node *key)
{
	struct nearest near = { .word = key->text };
	char list[256] = "";

	for (unsigned i = 0; i < VARIABLE_NONE; i++) {
		struct slice text = variable_text((enum variable)i), rest;
		size_t n = strlen(list);

		if (!slice_starts(text, SLICE("tls.")))
			continue;
		rest = slice_after(text, 4);
		if (key->kind == NODE_SCALAR && slice_equal(rest, key->text))
			return (enum variable)i;
		nearest_offer(&near, rest);
		snprintf(list + n, sizeof(list) - n, "%s%.*s", n ? ", " : "",
			 SLICE_ARG(rest));
	}
	if (key->kind == NODE_SCALAR && near.best.len > 0)
		report_error(&r->report, key->at,
			     "unknown variable 'tls.%.*s'; write '%.*s'",
			     REPORT_ARG(key->text), REPORT_ARG(near.best));
	else
		report_error(&r->report, key->at,
			     "unknown variable of TLS; use one of %s", list);
	return VARIABLE_NONE;
}

static void tls_read(struct config_reader *r, const struct node *n,
		     struct conditions *all)
{
	if (n->kind == NODE_SCALAR && !node_is_null(n) &&
	    (value_is_off(n->text) || value_is_on(n->text))) {
		condition_add(all, CONDITION_TLS)->on = value_is_on(n->text);
		return;
	}
	if (!children_check(r, n, NODE_MAP, MATCH_CONDITIONS_MAX,
			    "'tls: on', 'tls: off' or 'tls: { VARIABLE: TEST }'"))
		return;
	for (const struct node *one = n->children; one; one = one->next) {
		struct config_condition *c = condition_add(all, CONDITION_VARIABLE);

		c->variable = tls_variable(r, one->key);
		variable_noted(r, c->variable);
		tests_read(r, one, c);
	}
}

static void client_read(struct config_reader *r, const struct node *n,
			struct conditions *all)
{
	condition_add(all, CONDITION_CLIENT)->client =
		addresses_read(r, n, "'client: [ADDRESS, …]'");
}

static const struct config_match *map_read(struct config_reader *r, const struct node *n,
					   bool negated);

static void not_read(struct config_reader *r, const struct node *n,
		     struct conditions *all)
{
	const struct node *list = list_of(r, n);

	if (!children_check(r, list, NODE_LIST, MATCH_CONDITIONS_MAX,
			    "'not: { KEY: … }'"))
		return;
	for (const struct node *one = list->children; one; one = one->next)
		condition_add(all, CONDITION_NOT)->not = map_read(r, one, true);
}

/* Reads the keys in the order of the conditions they make. */
static void conditions_read(struct config_reader *r, const struct section_values *values,
			    struct conditions *all)
{
	if (values->of[KEY_match_method])
		methods_read(r, values->of[KEY_match_method], all);
	if (values->of[KEY_match_tls])
		tls_read(r, values->of[KEY_match_tls], all);
	if (values->of[KEY_match_client])
		client_read(r, values->of[KEY_match_client], all);
	named_read(r, values->of[KEY_match_header], CONDITION_HEADER, all);
	named_read(r, values->of[KEY_match_cookie], CONDITION_COOKIE, all);
	named_read(r, values->of[KEY_match_query], CONDITION_QUERY, all);
	if (values->of[KEY_match_not])
		not_read(r, values->of[KEY_match_not], all);
}

/* NULL: reported. */
static const struct config_match *map_read(struct config_reader *r, const struct node *n,
					   bool negated)
{
	struct config_match *m = arena_alloc(r->memory, sizeof(*m));
	struct section_values values;
	struct conditions all = { .max = 8 };

	if (!children_check(r, n, NODE_MAP, NODE_CHILDREN_MAX,
			    "'{ method: METHOD }', or another condition") ||
	    !section_read(r, n, &section_match, m, &values))
		return NULL;
	if (negated && values.of[KEY_match_not]) {
		report_error(&r->report, values.of[KEY_match_not]->key->at,
			     "'not' cannot be in 'not'; write its conditions in 'match'");
		return NULL;
	}
	for (size_t i = 0; i < section_match.row_n; i++)
		if (values.of[i])
			all.max += values.of[i]->child_n;
	all.all = arena_alloc(r->memory, all.max * sizeof(all.all[0]));
	conditions_read(r, &values, &all);
	m->conditions = all.all;
	m->n = all.n;
	return m;
}

void conditions_of_route_read(struct config_reader *r, const struct node *n,
			      struct config_route *route)
{
	route->match = map_read(r, n, false);
}

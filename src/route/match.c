#include "route/match.h"

#include "http/path.h"
#include "pieces.h"
#include "route/variable.h"

static enum match_result result_of(bool holds)
{
	return holds ? MATCH_HOLDS : MATCH_FAILS;
}

static enum match_result pattern_test(const struct pattern *p, struct slice value)
{
	switch (pattern_match(p, value, NULL, 0)) {
	case PATTERN_DIFFERS:
		return MATCH_FAILS;
	case PATTERN_MATCHES:
		return MATCH_HOLDS;
	case PATTERN_GAVE_UP:
		break;
	}
	return MATCH_UNDECIDED;
}

static enum match_result value_test(const struct config_test *t, struct slice value)
{
	switch (t->kind) {
	case TEST_ANY:
		return MATCH_HOLDS;
	case TEST_EXACT:
		return result_of(slice_equal(value, t->text));
	case TEST_PREFIX:
		return result_of(slice_starts(value, t->text));
	case TEST_PATTERN:
		return pattern_test(t->pattern, value);
	}
	return MATCH_UNDECIDED;
}

/* One of the tests passes. */
static enum match_result any_test(const struct config_condition *c, struct slice value)
{
	for (unsigned i = 0; i < c->test_n; i++) {
		enum match_result result = value_test(&c->tests[i], value);

		if (result != MATCH_FAILS)
			return result;
	}
	return MATCH_FAILS;
}

static enum match_result header_test(const struct config_condition *c,
				     const struct request_view *v)
{
	for (unsigned i = 0; i < v->head->field_n; i++) {
		const struct field *f = &v->head->fields[i];
		enum match_result result;

		if (!slice_equal_nocase(f->name, c->name))
			continue;
		result = any_test(c, f->value);
		if (result != MATCH_FAILS)
			return result;
	}
	return MATCH_FAILS;
}

static enum match_result cookie_test(const struct config_condition *c,
				     const struct request_view *v)
{
	for (unsigned i = 0; i < v->head->field_n; i++) {
		struct slice rest = v->head->fields[i].value, value;

		if (v->head->fields[i].header != HEADER_COOKIE)
			continue;
		while (cookie_next(&rest, c->name, &value)) {
			enum match_result result = any_test(c, value);

			if (result != MATCH_FAILS)
				return result;
		}
	}
	return MATCH_FAILS;
}

/* A value with a "%" that is malformed is tested as received. */
static enum match_result query_test(const struct config_condition *c,
				    const struct request_view *v)
{
	struct slice rest = v->head->query, value;
	char decoded[PATTERN_SUBJECT_MAX];

	while (query_next(&rest, c->name, &value)) {
		enum match_result result;
		long n;

		if (value.len > sizeof(decoded))
			return MATCH_UNDECIDED;
		n = path_decode(decoded, value, true);
		result = any_test(c,
				  n < 0 ? value : (struct slice){ decoded, (size_t)n });
		if (result != MATCH_FAILS)
			return result;
	}
	return MATCH_FAILS;
}

static enum match_result client_test(const struct config_addresses *t,
				     const struct request_view *v)
{
	struct ip ip;

	if (!ip_parse(&ip, v->client))
		return result_of(t->unix_sockets);
	return result_of(ip_ranges_contain(t->ranges, t->range_n, &ip));
}

static enum match_result variable_test(const struct config_condition *c,
				       const struct request_view *v)
{
	struct slice value;

	/* Variables of TLS need no space: nothing of them is decoded. */
	return variable_value(c->variable, SLICE(""), v, NULL, 0, &value)
		       ? any_test(c, value)
		       : MATCH_FAILS;
}

static enum match_result negated(enum match_result result)
{
	return result == MATCH_UNDECIDED ? result : result_of(result == MATCH_FAILS);
}

/* A `not` is in no other. */
static enum match_result condition_test(const struct config_condition *c,
					const struct request_view *v)
{
	switch (c->kind) {
	case CONDITION_METHOD:
		return any_test(c, v->head->method_token);
	case CONDITION_TLS:
		return result_of(c->on == (v->tls != NULL));
	case CONDITION_CLIENT:
		return client_test(c->client, v);
	case CONDITION_HEADER:
		return header_test(c, v);
	case CONDITION_COOKIE:
		return cookie_test(c, v);
	case CONDITION_QUERY:
		return query_test(c, v);
	case CONDITION_VARIABLE:
		return variable_test(c, v);
	case CONDITION_NOT:
		return negated(match_test(c->not, v));
	}
	return MATCH_UNDECIDED;
}

static enum match_result conditions_test(const struct config_match *m,
					 const struct request_view *v, unsigned *failed)
{
	for (unsigned i = 0; i < m->n; i++) {
		enum match_result result = condition_test(&m->conditions[i], v);

		*failed = i;
		if (result != MATCH_HOLDS)
			return result;
	}
	return MATCH_HOLDS;
}

enum match_result match_test(const struct config_match *m, const struct request_view *v)
{
	unsigned failed;

	return conditions_test(m, v, &failed);
}

const struct config_condition *match_failed(const struct config_match *m,
					    const struct request_view *v)
{
	unsigned failed;

	return conditions_test(m, v, &failed) == MATCH_HOLDS ? NULL
							     : &m->conditions[failed];
}

#include "condition.h"

#include "route/variable.h"

static void test_print(FILE *out, const struct config_test *t)
{
	struct slice text = t->written ? slice_of(t->written) : t->text;

	switch (t->kind) {
	case TEST_ANY:
		fputs("is there", out);
		break;
	case TEST_EXACT:
		fprintf(out, "is '%.*s'", SLICE_ARG(text));
		break;
	case TEST_PREFIX:
		fprintf(out, "begins with '%.*s'", SLICE_ARG(text));
		break;
	case TEST_PATTERN:
		fprintf(out, "matches '%.*s'", SLICE_ARG(text));
		break;
	}
}

static void tests_print(FILE *out, const struct config_condition *c)
{
	for (unsigned i = 0; i < c->test_n; i++) {
		fputs(i > 0 ? " or " : " ", out);
		test_print(out, &c->tests[i]);
	}
}

/* The first value that the request has. */
static void value_print(FILE *out, enum variable variable, struct slice name,
			const struct request_view *v)
{
	char space[1024];
	struct slice value;

	if (!variable_value(variable, name, v, space, sizeof(space), &value))
		fputs(" (the request has none)", out);
	else
		fprintf(out, " (it is '%.*s')", (int)(value.len < 200 ? value.len : 200),
			value.ptr);
}

static void list_print(FILE *out, const struct config_match *m,
		       const struct request_view *v)
{
	for (unsigned i = 0; i < m->n; i++) {
		fputs(i > 0 ? " and " : "", out);
		condition_print(out, &m->conditions[i], v);
	}
}

static void named_print(FILE *out, const char *kind, const struct config_condition *c,
			enum variable variable, const struct request_view *v)
{
	fprintf(out, "%s %.*s", kind, SLICE_ARG(c->name));
	tests_print(out, c);
	value_print(out, variable, c->name, v);
}

void condition_print(FILE *out, const struct config_condition *c,
		     const struct request_view *v)
{
	switch (c->kind) {
	case CONDITION_METHOD:
		fputs("method", out);
		tests_print(out, c);
		break;
	case CONDITION_TLS:
		fputs(c->on ? "the client uses TLS" : "the client does not use TLS", out);
		break;
	case CONDITION_CLIENT:
		fprintf(out, "client %.*s is in", SLICE_ARG(v->client));
		for (unsigned i = 0; i < c->client->text_n; i++)
			fprintf(out, "%s%s", i > 0 ? ", " : " ", c->client->texts[i]);
		break;
	case CONDITION_HEADER:
		named_print(out, "header", c, VARIABLE_HEADER, v);
		break;
	case CONDITION_COOKIE:
		named_print(out, "cookie", c, VARIABLE_COOKIE, v);
		break;
	case CONDITION_QUERY:
		named_print(out, "query", c, VARIABLE_QUERY, v);
		break;
	case CONDITION_VARIABLE:
		fprintf(out, "%.*s", SLICE_ARG(variable_text(c->variable)));
		tests_print(out, c);
		value_print(out, c->variable, SLICE(""), v);
		break;
	case CONDITION_NOT:
		fputs("not: ", out);
		list_print(out, c->not, v);
		break;
	}
}

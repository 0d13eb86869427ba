#include "printmatch.h"

#include "config/action.h"

static void print_test(FILE *out, const struct config_test *t, unsigned depth)
{
	static const char *const keys[] = { NULL, "exact", "prefix", "pattern" };

	print_indent(out, depth);
	if (t->kind == TEST_ANY) {
		fputs("- \"*\"\n", out);
	} else if (t->text.len == 0) {
		fputs("- \"\"\n", out);
	} else {
		fputs("- ", out);
		print_text(out, keys[t->kind],
			   t->written ? slice_of(t->written) : t->text);
	}
}

static void print_tests(FILE *out, const struct config_condition *c, unsigned depth)
{
	for (unsigned i = 0; i < c->test_n; i++)
		print_test(out, &c->tests[i], depth);
}

static void print_named(FILE *out, const struct config_condition *c, unsigned depth)
{
	struct slice name = c->kind == CONDITION_VARIABLE
				    ? slice_after(variable_text(c->variable), 4)
				    : c->name;

	print_indent(out, depth);
	fputc('"', out);
	print_quoted(out, name);
	fputs("\":\n", out);
	print_tests(out, c, depth + 1);
}

static void print_methods(FILE *out, const struct config_condition *c)
{
	fputs(" [", out);
	for (unsigned i = 0; i < c->test_n; i++)
		fprintf(out, "%s\"%.*s\"", i > 0 ? ", " : "",
			SLICE_ARG(c->tests[i].text));
	fputs("]\n", out);
}

static void print_condition(FILE *out, const struct config_condition *c, unsigned depth)
{
	switch (c->kind) {
	case CONDITION_METHOD:
		print_methods(out, c);
		break;
	case CONDITION_TLS:
		fputs(c->on ? " on\n" : " off\n", out);
		break;
	case CONDITION_CLIENT:
		fputc('\n', out);
		print_addresses(out, c->client, depth + 1);
		break;
	case CONDITION_HEADER:
	case CONDITION_COOKIE:
	case CONDITION_QUERY:
	case CONDITION_VARIABLE:
		print_named(out, c, depth + 1);
		break;
	case CONDITION_NOT:
		print_indent(out, depth + 1);
		fputs("-\n", out);
		print_match(out, c->not, depth + 2);
		break;
	}
}

static const char *condition_key(enum config_condition_kind kind)
{
	switch (kind) {
	case CONDITION_METHOD:
		return "method";
	case CONDITION_TLS:
	case CONDITION_VARIABLE:
		return "tls";
	case CONDITION_CLIENT:
		return "client";
	case CONDITION_HEADER:
		return "header";
	case CONDITION_COOKIE:
		return "cookie";
	case CONDITION_QUERY:
		return "query";
	case CONDITION_NOT:
		return "not";
	}
	ASSERT(false);
	return "";
}

void print_match(FILE *out, const struct config_match *m, unsigned depth)
{
	const char *before = "";

	for (unsigned i = 0; i < m->n; i++) {
		const struct config_condition *c = &m->conditions[i];
		const char *key = condition_key(c->kind);
		bool inline_value = c->kind == CONDITION_METHOD ||
				    c->kind == CONDITION_TLS ||
				    c->kind == CONDITION_CLIENT;

		if (strcmp(key, before) != 0) {
			print_indent(out, depth);
			fprintf(out, "%s:%s", key, inline_value ? "" : "\n");
		}
		before = key;
		print_condition(out, c, depth);
	}
}

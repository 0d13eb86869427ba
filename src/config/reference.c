#include "config/config.h"

#include "config/rule.h"
#include "value.h"

/* Prints a cell of a Markdown table; "|" is escaped. */
static void print_cell(FILE *out, const char *text)
{
	for (; *text; text++)
		fprintf(out, "%s%c", *text == '|' ? "\\" : "", *text);
	fputs(" | ", out);
}

static const char *type_text(enum value_kind kind)
{
	switch (kind) {
	case KIND_COUNT:
		return "number";
	case KIND_DURATION:
		return "duration: ms, s, m, h, d";
	case KIND_SIZE:
		return "size: B, KiB, MiB, GiB";
	case KIND_WORD:
		return "word";
	case KIND_STRING:
		return "text";
	case KIND_PATH:
		return "path";
	case KIND_HOST:
		return "host";
	case KIND_VALUE:
		return "field value";
	case KIND_URI:
		return "URL or path";
	case KIND_NODE:
		break;
	}
	return "";
}

static void print_preset(FILE *out, const struct key *k)
{
	if (!k->preset)
		print_cell(out, "required");
	else if (k->preset[0] == '\0')
		print_cell(out, "none");
	else if (k->kind == KIND_NODE)
		print_cell(out, k->preset);
	else {
		fputc('`', out);
		fputs(k->preset, out);
		print_cell(out, "`");
	}
}

/* "1 to 256, or auto"; of a WORD its words. */
static void print_range(FILE *out, const struct key *k)
{
	char min[VALUE_TEXT_MAX], max[VALUE_TEXT_MAX], words[VALUE_WORDS_MAX];
	struct key plain = *k;

	if (k->kind == KIND_WORD) {
		print_cell(out, k->words);
		return;
	}
	if (k->max == 0) {
		print_cell(out, "");
		return;
	}
	plain.words = NULL;
	value_format(&plain, k->min, min);
	value_format(&plain, k->max, max);
	fprintf(out, "%s to %s", min, max);
	print_cell(out, value_words(k, words));
}

/* The condition under which a key is accepted. */
static const char *protocol_note(const struct section *s, const struct key *k)
{
	switch (k->protocol) {
	case PROTOCOL_ANY:
		break;
	case PROTOCOL_HTTP:
		return s == &section_health ? "; with `type: http` only"
					    : "; with `protocol: http` only";
	case PROTOCOL_MEMCACHED:
		return "; with `protocol: memcached` only";
	}
	return "";
}

static void print_variables(FILE *out)
{
	fputs("\n| variable | value |\n|---|---|\n", out);
#define VARIABLE(name, text, argument, help) \
	fprintf(out, "| `${%s%s}` | %s |\n", text, (argument) ? ".NAME" : "", help);
#include "config/variables.def"
#undef VARIABLE
}

static void print_log_variables(FILE *out)
{
	fputs("\n| variable of `access_log[].template` only | value |\n|---|---|\n", out);
#define LOG_VARIABLE(name, text, help) fprintf(out, "| `${%s}` | %s |\n", text, help);
#include "config/logvariables.def"
#undef LOG_VARIABLE
}

static void print_limits(FILE *out)
{
	fputs("\n| limit | maximum |\n|---|---|\n", out);
	fprintf(out, "| size | %zu MiB |\n", CONFIG_FILE_BYTES_MAX >> 20);
	fprintf(out, "| `listen` addresses | %d |\n", CONFIG_LISTENS_MAX);
	fprintf(out, "| `upstreams` | %d |\n", CONFIG_UPSTREAMS_MAX);
	fprintf(out,
		"| `servers` of an upstream; also the addresses of all of them | %d |\n",
		CONFIG_SERVERS_MAX);
	fprintf(out, "| addresses of a server name | %d |\n", CONFIG_ADDRESSES_MAX);
	fprintf(out, "| `access_log` | %d |\n", CONFIG_LOGS_MAX);
	fprintf(out, "| `error_log` | %d |\n", CONFIG_ERROR_LOGS_MAX);
	fprintf(out, "| `routes` | %d |\n", CONFIG_ROUTES_MAX);
}

static void print_keys(FILE *out, const struct section *s)
{
	const struct key *k;

	for (size_t i = 0; (k = section_key(s, i)); i++) {
		fprintf(out, "| `%s%s` | ", s->path, k->name.ptr);
		print_cell(out, k->kind == KIND_NODE ? k->form : type_text(k->kind));
		print_preset(out, k);
		print_range(out, k);
		fprintf(out, "%s%s%s |\n", k->help, protocol_note(s, k),
			key_needs_restart(k)
				? "; a change requires an upgrade or a restart"
				: "");
	}
}

static void print_all_keys(FILE *out, const struct section *const *s)
{
	while (s && *s)
		print_keys(out, *s++);
}

static void print_keys_of_actions_and_rules(FILE *out)
{
	for (size_t i = 0; config_actions[i]; i++)
		print_all_keys(out, config_actions[i]->sections);
	for (size_t i = 0; config_rules[i]; i++)
		print_all_keys(out, config_rules[i]->sections);
}

void config_reference(FILE *out)
{
	fputs("| key | type | default | range | description |\n|---|---|---|---|---|\n",
	      out);
	for (size_t i = 0; core_sections[i]; i++) {
		print_keys(out, core_sections[i]);
		if (core_sections[i] == &section_memcached)
			print_keys_of_actions_and_rules(out);
	}
	print_variables(out);
	print_log_variables(out);
	print_limits(out);
}

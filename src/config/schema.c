/* The JSON schema of the configuration file, for editors: made of the same tables as the reference.
 *
 * It says what keys there are, and the form of scalar values. What needs more than that (names that
 * must be defined, values that exclude each other) is left to `fairlead check`. */
#include <string.h>

#include "config/config.h"
#include "config/rule.h"
#include "value.h"

#define NAME_BYTES_MAX 256

/* ---- JSON ---------------------------------------------------------------------- */

static void print_json(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++)
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < ' ')
			fprintf(out, "\\u%04x", (unsigned)*text);
		else
			fputc(*text, out);
	fputc('"', out);
}

/* ---- sections ------------------------------------------------------------------ */

/* The sections of keys.def, then those of the actions and rules. NULL: the index is past the last
 * one. */
static const struct section *section_at(size_t index)
{
	for (size_t i = 0; core_sections[i]; i++)
		if (index-- == 0)
			return core_sections[i];
	for (size_t i = 0; config_actions[i]; i++)
		for (const struct section *const *s = config_actions[i]->sections;
		     s && *s; s++)
			if (index-- == 0)
				return *s;
	for (size_t i = 0; config_rules[i]; i++)
		for (const struct section *const *s = config_rules[i]->sections; s && *s;
		     s++)
			if (index-- == 0)
				return *s;
	return NULL;
}

/* The section whose path is `name` and then `suffix`. */
static const struct section *section_named(const char *name, const char *suffix)
{
	size_t n = strlen(name);
	const struct section *s;

	for (size_t i = 0; (s = section_at(i)); i++)
		if (strncmp(s->path, name, n) == 0 && strcmp(s->path + n, suffix) == 0)
			return s;
	return NULL;
}

/* ---- values -------------------------------------------------------------------- */

/* A value by reference, ${env.NAME}, ${file:PATH} or ${credential.NAME}, may be anything. */
static void print_reference(FILE *out)
{
	fputs("{ \"type\": \"string\", "
	      "\"pattern\": \"\\\\$\\\\{(env\\\\.|file:|credential\\\\.)\" }",
	      out);
}

/* YAML has booleans for some words, and numbers for others. */
static void print_word(FILE *out, const char *word)
{
	static const char *const synonyms[][4] = {
		{ "off", "no", "false", NULL },
		{ "false", "no", "off", NULL },
		{ "on", "yes", "true", NULL },
		{ "true", "yes", "on", NULL },
	};

	print_json(out, word);
	for (size_t i = 0; i < COUNT(synonyms); i++) {
		if (strcmp(word, synonyms[i][0]) != 0)
			continue;
		for (size_t k = 1; synonyms[i][k]; k++) {
			fputs(", ", out);
			print_json(out, synonyms[i][k]);
		}
		fprintf(out, ", %s", i < 2 ? "false" : "true");
	}
	if (strspn(word, "0123456789.") == strlen(word))
		fprintf(out, ", %s", word);
}

static void print_words(FILE *out, const char *words)
{
	fputs("{ \"enum\": [", out);
	for (const char *at = words; *at;) {
		const char *end = strchrnul(at, '|');
		char word[NAME_BYTES_MAX];

		snprintf(word, sizeof(word), "%.*s", (int)(end - at), at);
		print_word(out, word);
		at = *end ? end + 1 : end;
		fputs(*at ? ", " : "", out);
	}
	fputs("] }", out);
}

static void print_scalar(FILE *out, const struct key *k)
{
	switch (k->kind) {
	case KIND_COUNT:
		fprintf(out,
			"{ \"type\": \"integer\", \"minimum\": %llu, \"maximum\": %llu }",
			(unsigned long long)k->min, (unsigned long long)k->max);
		break;
	case KIND_DURATION:
		fputs("{ \"type\": \"string\", \"pattern\": "
		      "\"^[0-9]+(\\\\.[0-9]{1,3})?(ms|s|m|h|d)$\" }",
		      out);
		break;
	case KIND_SIZE:
		fputs("{ \"type\": \"string\", \"pattern\": \"^[0-9]+(B|KiB|MiB|GiB)$\" }",
		      out);
		break;
	case KIND_WORD:
		print_words(out, k->words);
		break;
	case KIND_PATH:
		fputs("{ \"type\": \"string\", \"pattern\": \"^/\" }", out);
		break;
	case KIND_STRING:
	case KIND_HOST:
	case KIND_VALUE:
	case KIND_URI:
		fputs("{ \"type\": [\"string\", \"number\", \"boolean\"] }", out);
		break;
	case KIND_NODE:
		break;
	}
	if (k->words && k->kind != KIND_WORD) {
		fputs(", ", out);
		print_words(out, k->words);
	}
	fputs(", ", out);
	print_reference(out);
}

/* A map has the keys of the section; what else the value may be is not said. */
static void print_map(FILE *out, const char *definition)
{
	fputs("{ \"if\": { \"type\": \"object\" }, \"then\": { \"$ref\": \"#/definitions/",
	      out);
	fputs(definition, out);
	fputs("\" } }", out);
}

/* The definition of a section: its path without the dot at its end. */
static const char *definition_of(const struct section *s, char name[NAME_BYTES_MAX])
{
	size_t n = strlen(s->path);

	snprintf(name, NAME_BYTES_MAX, "%.*s", (int)(n > 0 ? n - 1 : 0), s->path);
	return n > 0 ? name : "top";
}

static void print_node(FILE *out, const char *name)
{
	const struct section *map = section_named(name, "."),
			     *list = section_named(name, "[]."),
			     *names = section_named(name, ".NAME.");
	char text[NAME_BYTES_MAX];
	const char *one = map || list ? definition_of(map ? map : list, text) : NULL;

	if (strcmp(name, "defaults.upstream") == 0)
		one = "some of upstreams.NAME";
	else if (strcmp(name, "defaults.route") == 0)
		one = "some of routes[]";
	if (one) {
		fputs("\"allOf\": [", out);
		print_map(out, one);
		fputs("], \"items\": ", out);
		print_map(out, one);
	} else if (names || strcmp(name, "hosts") == 0) {
		fputs("\"additionalProperties\": ", out);
		print_map(out, names ? definition_of(names, text) : "hosts.HOST");
	}
}

/* ---- definitions --------------------------------------------------------------- */

static void print_key_schema(FILE *out, const struct section *s, const struct key *k)
{
	char name[NAME_BYTES_MAX], help[2048];

	snprintf(name, sizeof(name), "%s%s", s->path, k->name.ptr);
	snprintf(help, sizeof(help), "%s%s%s%s", k->help,
		 k->preset && k->preset[0] ? " (" : "", k->preset ? k->preset : "",
		 k->preset && k->preset[0] ? ")" : "");
	fputs("        ", out);
	print_json(out, k->name.ptr);
	fputs(": { \"description\": ", out);
	print_json(out, help);
	if (k->kind == KIND_NODE) {
		char node[4096] = "";
		FILE *to = fmemopen(node, sizeof(node), "w");

		ASSERT(to);
		print_node(to, name);
		fclose(to);
		fprintf(out, "%s%s", node[0] ? ", " : "", node);
	} else {
		fputs(", \"anyOf\": [", out);
		print_scalar(out, k);
		fputs("]", out);
	}
	fputs(" }", out);
}

/* A key such as STATUS stands for many. */
static bool is_placeholder(const struct key *k)
{
	return k->name.ptr[0] >= 'A' && k->name.ptr[0] <= 'Z';
}

/* `more`: a property beside those of the section; NULL: none. required: the keys that the section
 * requires are. */
static void print_definition(FILE *out, const char *name, const struct section *s,
			     const char *more, bool required)
{
	const struct key *k;
	const char *comma = "";
	bool open = false;

	fputs("    ", out);
	print_json(out, name);
	fputs(": {\n      \"properties\": {\n", out);
	for (size_t i = 0; (k = section_key(s, i)); i++) {
		open |= is_placeholder(k);
		fputs(i > 0 ? ",\n" : "", out);
		print_key_schema(out, s, k);
	}
	fprintf(out, "%s%s\n      },\n", more ? ",\n        " : "", more ? more : "");
	fprintf(out, "      \"patternProperties\": { \"^%s\": {} },\n",
		s == &section_top ? "(x-.*|<<$)" : "<<$");
	fputs("      \"required\": [", out);
	for (size_t i = 0; (k = section_key(s, i)) && required; i++) {
		if (!k->required || is_placeholder(k))
			continue;
		fputs(comma, out);
		print_json(out, k->name.ptr);
		comma = ", ";
	}
	fprintf(out, "],\n      \"additionalProperties\": %s\n    }",
		open ? "true" : "false");
}

void config_schema(FILE *out)
{
	static const char routes[] =
		"\"routes\": { \"items\": { \"if\": { \"type\": \"object\" }, \"then\": { "
		"\"$ref\": \"#/definitions/routes[]\" } } }";
	const struct section *s;
	char name[NAME_BYTES_MAX];

	fputs("{\n  \"$schema\": \"http://json-schema.org/draft-07/schema#\",\n"
	      "  \"title\": \"fairlead configuration\",\n"
	      "  \"type\": \"object\",\n"
	      "  \"allOf\": [{ \"$ref\": \"#/definitions/top\" }],\n"
	      "  \"definitions\": {\n",
	      out);
	for (size_t i = 0; (s = section_at(i)); i++) {
		/* The keys of an included file are some of those at the top. */
		print_definition(out, definition_of(s, name), s, NULL, s != &section_top);
		fputs(",\n", out);
	}
	print_definition(out, "some of upstreams.NAME", &section_upstream, NULL, false);
	fputs(",\n", out);
	print_definition(out, "some of routes[]", &section_route, NULL, false);
	fputs(",\n", out);
	print_definition(out, "hosts.HOST", &section_route, routes, false);
	fputs("\n  }\n}\n", out);
}

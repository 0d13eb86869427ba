#include "cli/proxyfile.h"

#include <string.h>

#include "config/action.h"

/* An address of --to. */
struct proxy_target {
	struct slice address; /* without the scheme */
	const char *host;     /* before it; "": it has one */
	const char *port;     /* behind it; "": it has one */
	bool tls;
};

static bool is_printable(const char *text)
{
	for (; *text; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

static bool is_port(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return false;
	return text.len > 0;
}

/* Whether a port follows the host: "[::1]" and "host" have none. */
static bool has_port(struct slice address)
{
	const char *colon = memrchr(address.ptr, ':', address.len);

	return colon && !memchr(colon, ']', (size_t)(address.ptr + address.len - colon));
}

/* "3000", ":3000", "HOST:PORT", "unix:/PATH", "http://HOST" or "https://HOST". False: reported. */
static bool target_read(const char *text, struct proxy_target *t)
{
	struct slice s = slice_of(text);
	const char *slash;
	bool url = false;

	*t = (struct proxy_target){ .host = "", .port = "" };
	if (slice_starts(s, SLICE("http://")) || slice_starts(s, SLICE("https://"))) {
		t->tls = s.ptr[4] == 's';
		s = slice_after(s, t->tls ? strlen("https://") : strlen("http://"));
		url = true;
	}
	slash = slice_starts(s, SLICE("unix:")) ? NULL : memchr(s.ptr, '/', s.len);
	if (slash && slash < s.ptr + s.len - 1) {
		arguments_complain(
			CLI_PROXY,
			"'--to %s' has a path, but requests keep theirs; write "
			"'--to %.*s'",
			text, (int)(slash - text), text);
		return false;
	}
	if (slash)
		s.len--;
	t->address = s;
	if (is_port(s))
		t->host = "127.0.0.1:";
	else if (slice_starts(s, SLICE(":")))
		t->host = "127.0.0.1";
	else if (url && !has_port(s))
		t->port = t->tls ? ":443" : ":80";
	return true;
}

/* The value is printable ASCII, so that it can be quoted. False: reported. */
static bool values_check(const struct arguments *a)
{
	for (unsigned i = 0; i < a->option_n; i++) {
		const char *value = a->options[i].value;

		if (!value || (value[0] != '\0' && is_printable(value)))
			continue;
		arguments_complain(
			a->command,
			"--%s takes printable characters without spaces; write "
			"'--%s %s'",
			option_rows[a->options[i].id].name,
			option_rows[a->options[i].id].name,
			option_rows[a->options[i].id].value);
		return false;
	}
	return true;
}

/* "CERT,KEY", or one file that has both. */
static void tls_print(FILE *out, const char *files)
{
	const char *comma = strchr(files, ',');
	struct slice chain = { files, comma ? (size_t)(comma - files) : strlen(files) };

	fputs("    tls:\n      certificates:\n", out);
	fputs(comma ? "        - chain: \"" : "        - \"", out);
	print_quoted(out, chain);
	fputs("\"\n", out);
	if (!comma)
		return;
	print_indent(out, 5);
	print_text(out, "key", slice_of(comma + 1));
}

static void listen_print(FILE *out, const struct arguments *a)
{
	const char *tls = option_value(a, OPTION_TLS);
	unsigned n = 0;

	fputs("listen:\n", out);
	for (unsigned i = 0; i < a->option_n; i++) {
		if (a->options[i].id != OPTION_LISTEN)
			continue;
		fputs("  - ", out);
		print_text(out, "address", slice_of(a->options[i].value));
		if (tls)
			tls_print(out, tls);
		n++;
	}
	if (n > 0)
		return;
	fputs(tls ? "  - address: \":8443\"\n" : "  - address: \":8080\"\n", out);
	if (tls)
		tls_print(out, tls);
}

/* False: reported. */
static bool servers_print(FILE *out, const struct arguments *a)
{
	bool tls = false;
	unsigned n = 0;
	struct proxy_target t;

	fputs("upstreams:\n  app:\n    servers:\n", out);
	for (unsigned i = 0; i < a->option_n; i++) {
		if (a->options[i].id != OPTION_TO)
			continue;
		if (!target_read(a->options[i].value, &t))
			return false;
		if (n++ > 0 && tls != t.tls) {
			arguments_complain(CLI_PROXY,
					   "some of --to are https:// and some are "
					   "not; write all of one kind");
			return false;
		}
		tls = t.tls;
		fprintf(out, "      - \"%s", t.host);
		print_quoted(out, t.address);
		fprintf(out, "%s\"\n", t.port);
	}
	if (tls)
		fputs("    tls: true\n", out);
	return true;
}

int proxy_file_write(const struct arguments *a, FILE *out)
{
	if (a->word_n > 0)
		return arguments_complain(CLI_PROXY,
					  "'%s' is not an option; write '--to %s'",
					  a->words[0], a->words[0]);
	if (!option_given(a, OPTION_TO))
		return arguments_complain(CLI_PROXY,
					  "--to is missing; write '--to HOST:PORT'");
	if (!values_check(a))
		return STATUS_USAGE;
	listen_print(out, a);
	fputs("access_log:\n  path: \"-\"\n  format: combined\n", out);
	if (!servers_print(out, a))
		return STATUS_USAGE;
	fputs("routes:\n  - prefix: /\n    proxy:\n      upstream: app\n", out);
	return 0;
}

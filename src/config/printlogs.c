#include "printlogs.h"

/* The keys of a log that are values, and where its lines go. `path`: its key of that name. */
static void print_target(FILE *out, const struct section *s, const struct key *path,
			 const void *log, enum config_log_target target,
			 const struct config_address *address, unsigned depth)
{
	static const char *const targets[] = {
		[CONFIG_LOG_SYSLOG] = "syslog", [CONFIG_LOG_JOURNALD] = "journald"
	};

	for (size_t i = 0; i < s->row_n; i++)
		if (&s->rows[i] != path || target == CONFIG_LOG_FILE)
			print_key(out, &s->rows[i], log, depth);
	if (target == CONFIG_LOG_FILE)
		return;
	print_indent(out, depth);
	print_text(out, targets[target], slice_of(address->text));
}

static void print_log(FILE *out, const struct config_access_log *log, unsigned depth)
{
	print_target(out, &section_access_log, KEY_OF(access_log, path), log, log->target,
		     log->address, depth);
	if (log->format == CONFIG_LOG_TEMPLATE) {
		print_indent(out, depth);
		print_template(out, "template", &log->template);
	}
	print_indent(out, depth);
	fprintf(out, "sample: %.10g%%\n", log->sample / 1e4);
}

void print_logs(FILE *out, const struct config *c)
{
	fputs(c->log_n > 0 ? "access_log:\n" : "access_log: off\n", out);
	for (unsigned i = 0; i < c->log_n; i++) {
		if (c->log_n > 1)
			fputs("  -\n", out);
		print_log(out, &c->logs[i], c->log_n > 1 ? 2 : 1);
	}
}

void print_route_logs(FILE *out, const struct config *c, const struct config_route *route)
{
	const char *comma = "";

	if (route->logs == c->logs_default)
		return;
	print_indent(out, ACTION_DEPTH);
	fputs("access_log: ", out);
	for (unsigned i = 0; i < c->log_n; i++) {
		if (!(route->logs >> i & 1))
			continue;
		fputs(*comma ? comma : "[\"", out);
		print_quoted(out, slice_of(c->logs[i].name));
		comma = "\", \"";
	}
	fputs(*comma ? "\"]\n" : "off\n", out);
}

void print_error_logs(FILE *out, const struct config *c)
{
	fputs("error_log:\n", out);
	for (unsigned i = 0; i < c->error_log_n; i++) {
		const struct config_error_log *log = &c->error_logs[i];

		if (c->error_log_n > 1)
			fputs("  -\n", out);
		print_target(out, &section_error_log, KEY_OF(error_log, path), log,
			     log->target, log->address, c->error_log_n > 1 ? 2 : 1);
	}
}

/* Reads `access_log`, that of routes, and `error_log`. */
#include "reader.h"

#include "value.h"

bool percent_read(struct config_reader *r, const struct node *n, const char *form,
		  uint32_t *parts)
{
	struct slice text = n->text;
	uint64_t value = 0;
	unsigned decimals = 0;
	bool point = false, digits = false;

	if (!scalar_check(r, n, form))
		return false;
	if (text.len > 0 && text.ptr[text.len - 1] == '%')
		text.len--;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (c == '.' && !point && digits) {
			point = true;
			continue;
		}
		if (c < '0' || c > '9' || decimals == 4 || value > CONFIG_SAMPLE_ALL)
			goto fail;
		value = value * 10 + (unsigned)(c - '0');
		digits = true;
		decimals += point;
	}
	for (; decimals < 4; decimals++)
		value *= 10;
	if (!digits || text.len == n->text.len || value > CONFIG_SAMPLE_ALL)
		goto fail;
	*parts = (uint32_t)value;
	return true;
fail:
	report_error(&r->report, n->at,
		     "'%.*s' is not a share; write 0%% to 100%%, with at most 4 decimals, as in "
		     "%s",
		     REPORT_ARG(n->text), form);
	return false;
}

/* The socket of a daemon. NULL: reported. */
static const struct config_address *daemon_read(struct config_reader *r,
						const struct node *n, struct slice text,
						const char *form)
{
	struct config_address *a = arena_alloc(r->memory, sizeof(*a));
	const char *fault;
	unsigned found;

	if (!scalar_check(r, n, form))
		return NULL;
	fault = address_lookup(r, text, false, a, 1, &found);
	if (fault)
		report_error(&r->report, n->at, "%s", fault);
	return fault ? NULL : a;
}

/* The nodes of a map that say where lines go; NULL: not set. */
struct target_nodes {
	const struct node *path, *syslog, *journald;
};

static void log_target_read(struct config_reader *r, const struct target_nodes *n,
			    enum config_log_target *target,
			    const struct config_address **address)
{
	struct slice text;

	if (!!n->path + !!n->syslog + !!n->journald > 1) {
		report_error(
			&r->report, (n->journald ? n->journald : n->syslog)->key->at,
			"a log has one of 'path', 'syslog' and 'journald'; remove the others, "
			"or write another log");
		return;
	}
	if (n->syslog) {
		*target = CONFIG_LOG_SYSLOG;
		*address = daemon_read(r, n->syslog, n->syslog->text,
				       "'syslog: unix:/dev/log'");
	}
	if (!n->journald)
		return;
	*target = CONFIG_LOG_JOURNALD;
	text = n->journald->text;
	if (n->journald->kind == NODE_SCALAR && slice_equal(text, SLICE("on")))
		text = SLICE("unix:/run/systemd/journal/socket");
	*address = daemon_read(r, n->journald, text, "'journald: on'");
	if (*address && (*address)->sa.ss_family != AF_UNIX)
		report_error(&r->report, n->journald->at,
			     "the journal has a unix socket; write on, or unix:/PATH");
}

static void format_read(struct config_reader *r, const struct section_values *values,
			struct config_access_log *log)
{
	const struct node *n = values->of[KEY_access_log_template];
	const struct node *format = values->of[KEY_access_log_format];

	if (n && format && log->format != CONFIG_LOG_TEMPLATE)
		report_error(&r->report, format->key->at,
			     "this log has a template; remove 'format' or 'template'");
	else if (!n && log->format == CONFIG_LOG_TEMPLATE)
		report_error(&r->report, format->at,
			     "'format: template' needs a template; write 'template: "
			     "\"${client.address} ${status}\"', or 'format: json'");
	if (!n)
		return;
	log->format = CONFIG_LOG_TEMPLATE;
	log_template_read(r, n, "'template: \"${client.address} ${status}\"'", &log->template);
}

/* The log of this name; NULL: there is none. */
static const struct config_access_log *log_named(const struct config *c, struct slice name)
{
	for (unsigned i = 0; i < c->log_n; i++)
		if (name.len > 0 && slice_equal(slice_of(c->logs[i].name), name))
			return &c->logs[i];
	return NULL;
}

static void log_read(struct config_reader *r, const struct node *n)
{
	struct config *c = r->config;
	struct config_access_log *log = &c->logs[c->log_n];
	struct section_values values;
	uint8_t bit = (uint8_t)(1u << c->log_n);
	const struct node *name;

	log->sample = CONFIG_SAMPLE_ALL;
	if (!section_read(r, n, &section_access_log, log, &values))
		return;
	name = values.of[KEY_access_log_name];
	if (name && log_named(c, slice_of(log->name)))
		report_error(&r->report, name->at,
			     "another log has the name '%.*s'; write a name of its own, such as "
			     "'%.*s2'",
			     REPORT_ARG(name->text), REPORT_ARG(name->text));
	log_target_read(r,
			&(struct target_nodes){ values.of[KEY_access_log_path],
						values.of[KEY_access_log_syslog],
						values.of[KEY_access_log_journald] },
			&log->target, &log->address);
	format_read(r, &values, log);
	if (values.of[KEY_access_log_sample])
		percent_read(r, values.of[KEY_access_log_sample], "'sample: 1%'", &log->sample);
	if (log->format == CONFIG_LOG_OFF)
		return;
	c->log_n++;
	c->logs_default |= log->all_routes ? bit : 0;
	c->logs_detailed |= log->format != CONFIG_LOG_COMBINED ? bit : 0;
	c->logs_whole |= log->format == CONFIG_LOG_TEMPLATE ? bit : 0;
}

void access_logs_read(struct config_reader *r, const struct node *n)
{
	struct config *c = r->config;

	c->logs = arena_alloc(r->memory, CONFIG_LOGS_MAX * sizeof(c->logs[0]));
	if (!n || (n->kind == NODE_SCALAR && value_is_off(n->text)))
		return;
	if (n->kind == NODE_SCALAR) {
		report_error(&r->report, n->at,
			     "'access_log' takes off, a map or a list; write off, { path: FILE, "
			     "format: json }, or a list of such maps");
		return;
	}
	if (n->kind == NODE_MAP) {
		log_read(r, n);
		return;
	}
	if (!children_check(r, n, NODE_LIST, CONFIG_LOGS_MAX, "'access_log: off'"))
		return;
	for (const struct node *each = n->children; each; each = each->next)
		log_read(r, each);
}

void route_logs_read(struct config_reader *r, const struct node *n,
		     struct config_route *route)
{
	const struct config_access_log *log;

	route->logs = r->config->logs_default;
	if (!n)
		return;
	route->logs = 0;
	if (n->kind == NODE_SCALAR && value_is_off(n->text))
		return;
	n = list_of(r, n);
	if (!children_check(r, n, NODE_LIST, CONFIG_LOGS_MAX, "'access_log: off'"))
		return;
	for (const struct node *each = n->children; each; each = each->next) {
		if (!scalar_check(r, each, "'access_log: NAME'"))
			continue;
		log = log_named(r->config, each->text);
		if (log)
			route->logs |= (uint8_t)(1u << (log - r->config->logs));
		else
			report_error(&r->report, each->at,
				     "no access log has the name '%.*s'; write off, or add 'name: "
				     "%.*s' to a log of 'access_log'",
				     REPORT_ARG(each->text), REPORT_ARG(each->text));
	}
}

/* ---- error log -------------------------------------------------------------- */

static void error_log_read(struct config_reader *r, const struct node *n)
{
	struct config_error_log *log = &r->config->error_logs[r->config->error_log_n];
	struct section_values values;

	if (!section_read(r, n, &section_error_log, log, &values))
		return;
	log_target_read(r,
			&(struct target_nodes){ values.of[KEY_error_log_path],
						values.of[KEY_error_log_syslog],
						values.of[KEY_error_log_journald] },
			&log->target, &log->address);
	r->config->error_log_n++;
}

void error_logs_read(struct config_reader *r, const struct node *n)
{
	struct config *c = r->config;

	c->error_logs = arena_alloc(r->memory,
				    CONFIG_ERROR_LOGS_MAX * sizeof(c->error_logs[0]));
	if (n && n->kind == NODE_SCALAR) {
		report_error(
			&r->report, n->at,
			"'error_log' takes a map or a list; write { level: error } for few "
			"lines, { path: FILE }, or a list of such maps");
		return;
	}
	if (!n || n->kind == NODE_MAP) {
		error_log_read(r, n);
		return;
	}
	if (!children_check(r, n, NODE_LIST, CONFIG_ERROR_LOGS_MAX,
			    "'error_log: { path: FILE }'"))
		return;
	for (const struct node *each = n->children; each; each = each->next)
		error_log_read(r, each);
}

#include "reader.h"

#include "value.h"

/* Parses "200" or "200-299". False: it is neither. */
static bool take_range(struct slice text, struct config_statuses *range)
{
	uint16_t numbers[2] = { 0, 0 };
	unsigned n = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] == '-' && n == 0 && i > 0)
			n++;
		else if (text.ptr[i] >= '0' && text.ptr[i] <= '9' && numbers[n] < 100)
			numbers[n] = (uint16_t)(numbers[n] * 10 + text.ptr[i] - '0');
		else
			return false;
	}
	*range = (struct config_statuses){ numbers[0], numbers[n] };
	return range->first >= 200 && range->first <= range->last && range->last <= 599;
}

/* Parses `status`. False: it is invalid. */
static bool statuses_read(struct config_health *h)
{
	struct slice rest = slice_of(h->status);

	for (h->status_n = 0; h->status_n < CONFIG_STATUSES_MAX; h->status_n++) {
		const char *comma = memchr(rest.ptr, ',', rest.len);
		size_t len = comma ? (size_t)(comma - rest.ptr) : rest.len;

		if (!take_range(slice_trim((struct slice){ rest.ptr, len }),
				&h->statuses[h->status_n]))
			return false;
		if (!comma) {
			h->status_n++;
			return true;
		}
		rest = slice_after(rest, len + 1);
	}
	return false;
}

static const char *type_text(enum config_health_type type)
{
	switch (type) {
	case CONFIG_HEALTH_HTTP:
		return "http";
	case CONFIG_HEALTH_TCP:
		return "tcp";
	case CONFIG_HEALTH_MEMCACHED:
		return "memcached";
	case CONFIG_HEALTH_AUTO:
		break;
	}
	return "auto";
}

/* A key that has no effect with the type of the check is an error. */
static void keys_check(struct config_reader *r, const struct section_values *values,
		       const struct config_health *h)
{
	for (size_t i = 0; i < section_health.row_n; i++)
		if (values->of[i] && !values->of[i]->inherited &&
		    section_health.rows[i].protocol == PROTOCOL_HTTP &&
		    h->type != CONFIG_HEALTH_HTTP)
			report_error(
				&r->report, values->of[i]->key->at,
				"'%s' applies to 'type: http', and this check has 'type: %s'; "
				"remove it, or write 'type: http'",
				section_health.rows[i].name.ptr, type_text(h->type));
}

/* Another protocol than that of the upstream needs another port. */
static void type_check(struct config_reader *r, const struct node *n,
		       const struct config_upstream *u)
{
	const struct config_health *h = &u->health;
	enum config_health_type other = u->protocol == CONFIG_HTTP ? CONFIG_HEALTH_MEMCACHED :
								     CONFIG_HEALTH_HTTP;

	if (h->type == other && h->port == 0)
		report_error(
			&r->report, node_pos(n),
			"the protocol of '%s' is not %s; use another 'type', or set 'port' "
			"to a port with that protocol",
			u->name, type_text(other));
}

static void map_read(struct config_reader *r, const struct node *n,
		     struct config_upstream *u)
{
	struct config_health *h = &u->health;
	struct section_values values;

	if (!section_read(r, n, &section_health, h, &values))
		return;
	h->on = true;
	if (h->type == CONFIG_HEALTH_AUTO)
		h->type = u->protocol == CONFIG_HTTP ? CONFIG_HEALTH_HTTP :
						       CONFIG_HEALTH_MEMCACHED;
	keys_check(r, &values, h);
	type_check(r, n, u);
	if (!statuses_read(h))
		report_error(
			&r->report, values.of[KEY_health_status]->at,
			"'status' takes up to %d codes or ranges from 200 to 599, not "
			"'%.*s'; write them as in 200, 200-399 or 200-299,404",
			CONFIG_STATUSES_MAX, REPORT_ARG(slice_of(h->status)));
}

void health_read(struct config_reader *r, const struct node *n, struct config_upstream *u)
{
	if (!n || (n->kind == NODE_SCALAR && value_is_off(n->text)))
		return;
	if (n->kind == NODE_MAP)
		map_read(r, n, u);
	else
		report_error(
			&r->report, n->at,
			"'health_check' takes off or a map; write off, or { path: /health, "
			"interval: 5s }");
}

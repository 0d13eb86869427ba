/* Reads the maps `retry` and `hedge` of a route. */
#include "reader.h"

#define ON_FORM "'on: [connect, reset, timeout, 502, 503, 504]'"
#define ON_PRESET                                                                  \
	(1u << CONFIG_RETRY_CONNECT | 1u << CONFIG_RETRY_RESET |                   \
	 1u << CONFIG_RETRY_TIMEOUT | 1u << CONFIG_RETRY_502 | 1u << CONFIG_RETRY_503 | \
	 1u << CONFIG_RETRY_504)

const char *config_retry_word(enum config_retry_on on)
{
	static const char *const words[] = {
#define RETRY_ON(name, word, status) word,
#include "config/retry.def"
#undef RETRY_ON
	};

	return words[on];
}

int config_retry_status(enum config_retry_on on)
{
	static const int statuses[] = {
#define RETRY_ON(name, word, status) status,
#include "config/retry.def"
#undef RETRY_ON
	};

	return statuses[on];
}

static void condition_unknown(struct config_reader *r, const struct node *n)
{
	char list[256] = "";

	for (unsigned i = 0; i < CONFIG_RETRY_CONDITIONS; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s",
			 i == 0 ? "" : i + 1 < CONFIG_RETRY_CONDITIONS ? ", " : " or ",
			 config_retry_word((enum config_retry_on)i));
	report_error(&r->report, n->at, "'%.*s' is not a retry condition; write %s",
		     REPORT_ARG(n->text), list);
}

static void condition_read(struct config_reader *r, const struct node *n, uint32_t *on)
{
	if (!scalar_check(r, n, "a condition, as in " ON_FORM))
		return;
	for (unsigned i = 0; i < CONFIG_RETRY_CONDITIONS; i++) {
		if (!slice_equal(n->text, slice_of(config_retry_word((enum config_retry_on)i))))
			continue;
		if (*on >> i & 1)
			report_error(&r->report, n->at,
				     "'%.*s' is listed twice; remove one of the two",
				     REPORT_ARG(n->text));
		*on |= 1u << i;
		return;
	}
	condition_unknown(r, n);
}

void retry_read(struct config_reader *r, const struct node *n, struct config_route *route)
{
	struct config_retry *retry = arena_alloc(r->memory, sizeof(*retry));
	const struct node *on;
	struct section_values values;

	route->retry = retry;
	if (!section_read(r, n, &section_retry, retry, &values))
		return;
	on = values.of[KEY_retry_on];
	on = on ? list_of(r, on) : NULL;
	if (!on)
		retry->on = ON_PRESET;
	else if (children_check(r, on, NODE_LIST, CONFIG_RETRY_CONDITIONS, ON_FORM))
		for (const struct node *c = on->children; c; c = c->next)
			condition_read(r, c, &retry->on);
	if (route->deadline_ms > 0 && retry->per_try_timeout_ms > route->deadline_ms)
		report_error(
			&r->report, values.of[KEY_retry_per_try_timeout]->at,
			"'per_try_timeout' is longer than the 'deadline' of the route; "
			"write a shorter time, or remove it");
}

void hedge_read(struct config_reader *r, const struct node *n, struct config_route *route)
{
	struct config_hedge *hedge = arena_alloc(r->memory, sizeof(*hedge));
	struct section_values values;

	hedge->index = r->config->hedge_n++;
	route->hedge = hedge;
	section_read(r, n, &section_hedge, hedge, &values);
}

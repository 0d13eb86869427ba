/* The level of the error log in the admin API: GET tells it, PUT sets it, for the supervisor and
 * all worker processes. */
#include "adminapi.h"
#include "base/errorlog.h"
#include "json.h"

static void level_respond(struct admin_api_response *r)
{
	struct emit e = { r->json, r->json + ADMIN_API_BYTES - 1, false };

	json_member(&e, "{\"level\":", slice_of(errorlog_level_word(errorlog_level())));
	emit_slice(&e, SLICE("}\n"));
	*e.at = '\0';
	r->status = 200;
}

void api_log_get(const struct api_request *q, struct admin_api_response *r)
{
	(void)q;
	level_respond(r);
}

/* ?level=WORD, and nothing else. */
static bool level_read(struct slice query, enum errorlog_level *level)
{
	char value[API_NAME_BYTES];
	struct slice name;

	return api_query_next(&query, &name, value) && slice_equal(name, SLICE("level")) &&
	       errorlog_level_by_word(slice_of(value), level) &&
	       !api_query_next(&query, &name, value);
}

void api_log_put(const struct api_request *q, struct admin_api_response *r)
{
	enum errorlog_level level, before;
	char peer[SOCK_TEXT_MAX];

	if (!level_read(q->head->query, &level)) {
		api_fail(r, 400, "write ?level=critical, error, warning, notice or info");
		return;
	}
	if (!api_may_change(q, r))
		return;
	peer_text(&q->client->peer, peer, sizeof(peer));
	before = errorlog_level();
	if (level > before)
		errorlog_set_level(level);
	/* Written if one of the two levels lets it. */
	errorlog_put(EVENT_ADMIN_CHANGE,
		     "the level of the error log is %s, by the admin API from %s",
		     errorlog_level_word(level), peer);
	errorlog_set_level(level);
	level_respond(r);
}

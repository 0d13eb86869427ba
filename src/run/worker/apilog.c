/* The level of the error log in the admin API: GET tells it, PUT sets it, for the supervisor and
 * all worker processes, until a reload makes the levels of the file hold again. */
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

/* ?level=WORD, and nothing else. *configured: those of the file. */
static bool level_read(struct slice query, enum errorlog_level *level, bool *configured)
{
	char value[API_NAME_BYTES];
	struct slice name;

	if (!api_query_next(&query, &name, value) || !slice_equal(name, SLICE("level")))
		return false;
	*configured = strcmp(value, "configured") == 0;
	return (*configured || errorlog_level_by_word(slice_of(value), level)) &&
	       !api_query_next(&query, &name, value);
}

static void level_log(const struct api_request *q, const char *word)
{
	char peer[SOCK_TEXT_MAX];

	peer_text(&q->client->peer, peer, sizeof(peer));
	errorlog_put(EVENT_ADMIN_CHANGE,
		     "the level of the error log is %s, by the admin API from %s", word, peer);
}

void api_log_put(const struct api_request *q, struct admin_api_response *r)
{
	enum errorlog_level level = LEVEL_INFO;
	bool configured;

	if (!level_read(q->head->query, &level, &configured)) {
		api_fail(r, 400,
			 "write ?level=critical, error, warning, notice, info or configured");
		return;
	}
	if (!api_may_change(q, r))
		return;
	/* The line is written if the level before or the one after lets it. */
	if (configured) {
		level_log(q, "that of the file");
		errorlog_reset_level();
	} else {
		if (level > errorlog_level())
			errorlog_set_level(level);
		level_log(q, errorlog_level_word(level));
		errorlog_set_level(level);
	}
	level_respond(r);
}

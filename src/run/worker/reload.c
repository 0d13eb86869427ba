#include "reload.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/errorlog.h"

static void reload_post(struct reload *r, enum reload_state state,
			void (*command)(struct worker_config *wc))
{
	struct config_version *version = r->config_version;

	r->state = state;
	r->pending_n = version->worker_n;
	for (unsigned w = 0; w < version->worker_n; w++)
		command(&version->worker_configs[w]);
}

void reload_start(struct reload *r, struct config_version *version)
{
	ASSERT(r->state == RELOAD_IDLE);
	r->config_version = version;
	r->failed = false;
	for (unsigned w = 0; w < version->worker_n; w++)
		version->worker_configs[w].worker = &r->workers[w];
	reload_post(r, RELOAD_PREPARING, worker_prepare);
}

static const char *error_text(int error)
{
	return error == -EBUSY
		       ? "too many replaced access logs have lines that nobody reads"
		       : strerror(-error);
}

void reload_prepared(struct reload *r, struct worker_config *wc)
{
	ASSERT(r->state == RELOAD_PREPARING);
	if (wc->error < 0)
		errorlog_put(EVENT_CHANGE_FAILED,
			     "worker %u cannot apply the configuration: %s",
			     wc->worker->index, error_text(wc->error));
	r->failed |= wc->error < 0;
	if (--r->pending_n > 0)
		return;
	if (r->failed)
		reload_post(r, RELOAD_DROPPING, worker_drop);
	else
		reload_post(r, RELOAD_ADOPTING, worker_adopt);
}

void reload_settled(struct reload *r, struct worker_config *wc)
{
	bool adopted = r->state == RELOAD_ADOPTING;
	struct config_version *version = r->config_version;

	ASSERT(wc->config_version == version && r->state != RELOAD_IDLE);
	if (--r->pending_n > 0)
		return;
	r->state = RELOAD_IDLE;
	r->config_version = NULL;
	if (adopted)
		config_versions_set_current(r->config_versions, version);
	else
		config_version_free(version);
	r->done(r, adopted);
}

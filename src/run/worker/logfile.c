#include "logfile.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct log_file {
	struct access access;
	struct list node; /* in worker->closing_logs */
};

static bool has_log_slot(const struct worker *w)
{
	unsigned n = 0;

	LIST_EACH(&w->closing_logs, node)
		n++;
	return n < LOG_FILES_MAX;
}

static int log_file_open(struct worker *w, struct worker_config *wc, unsigned i)
{
	struct worker_log *log = &wc->logs[i];
	const struct config_access_log *config = &wc->config_version->config->logs[i];
	struct log_file *l = calloc(1, sizeof(*l));
	int error;

	if (!l)
		return -ENOMEM;
	error = access_init(&l->access, &w->tick, &w->stats, config, &w->proxy.random, log->fd);
	if (error < 0) {
		free(l);
		return error;
	}
	if (config->target == CONFIG_LOG_FILE && !log->is_file)
		access_limit_writes(&l->access);
	list_init(&l->node);
	log->fd = -1;
	wc->access.all[i] = &l->access;
	return 0;
}

int log_files_open(struct worker *w, struct worker_config *wc)
{
	int error = 0;

	wc->access.n = wc->config_version->config->log_n;
	for (unsigned i = 0; i < wc->access.n && error == 0; i++) {
		if (wc->logs[i].fd < 0)
			continue;
		error = has_log_slot(w) ? log_file_open(w, wc, i) : -EBUSY;
	}
	return error;
}

void log_files_drop(struct worker_config *wc)
{
	for (unsigned i = 0; i < wc->access.n; i++)
		if (wc->access.all[i])
			log_file_close(wc->access.all[i]);
	wc->access = (struct access_set){ 0 };
}

void log_file_close(struct access *a)
{
	struct log_file *l = CONTAINER(a, struct log_file, access);

	list_remove(&l->node);
	access_done(a);
	close(a->fd);
	free(l);
}

bool log_files_sweep(struct worker *w)
{
	LIST_EACH(&w->closing_logs, node) {
		struct access *a = &LIST_ITEM(node, struct log_file, node)->access;

		access_flush(a);
		if (access_idle(a))
			log_file_close(a);
	}
	return list_empty(&w->closing_logs);
}

void log_files_switch(struct worker *w, struct worker_config *wc)
{
	const struct config *config = wc->config_version->config;

	for (unsigned i = 0; i < wc->access.n; i++) {
		struct access **kept = &w->logs.all[wc->logs[i].current];

		if (!wc->logs[i].kept || !*kept)
			continue;
		access_configure(*kept, &config->logs[i]);
		wc->access.all[i] = *kept;
		*kept = NULL;
	}
	for (unsigned i = 0; i < w->logs.n; i++)
		if (w->logs.all[i])
			list_append(&w->closing_logs,
				    &CONTAINER(w->logs.all[i], struct log_file, access)->node);
	w->logs = wc->access;
	wc->access = (struct access_set){ 0 };
	proxy_change_logs(&w->proxy, &w->logs);
	log_files_sweep(w);
}

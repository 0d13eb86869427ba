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

int log_file_open(struct worker *w, struct worker_config *wc)
{
	struct log_file *l;
	int error;

	if (wc->log_fd < 0)
		return 0;
	if (!has_log_slot(w))
		return -EBUSY;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	error = access_init(&l->access, &w->tick, &w->stats,
			    wc->config_version->config->log_format, wc->log_fd);
	if (error < 0) {
		free(l);
		return error;
	}
	if (!wc->log_is_file)
		access_limit_writes(&l->access);
	list_init(&l->node);
	wc->log_fd = -1;
	wc->access = &l->access;
	return 0;
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

void log_file_switch(struct worker *w, struct worker_config *wc)
{
	if (wc->log_kept)
		return;
	if (w->access)
		list_append(&w->closing_logs,
			    &CONTAINER(w->access, struct log_file, access)->node);
	w->access = wc->access;
	wc->access = NULL;
	proxy_change_access(&w->proxy, w->access);
	log_files_sweep(w);
}

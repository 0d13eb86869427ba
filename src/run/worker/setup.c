#include "setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "run/handover.h"

/* Far more than any configuration with its resolved addresses. */
#define SNAPSHOT_BYTES_MAX (1u << 30)

/* Reads and discards n bytes, so that the next message is found. */
static int skip_bytes(int setup_channel, size_t n)
{
	char some[4096];
	int error = 0;

	for (size_t step; n > 0 && error == 0; n -= step) {
		step = n < sizeof(some) ? n : sizeof(some);
		error = handover_receive_bytes(setup_channel, some, step);
	}
	return error;
}

static int receive_config(struct setup *setup, struct config_versions *all,
			  int setup_channel, size_t n)
{
	struct config *config = NULL;
	char *bytes = n <= SNAPSHOT_BYTES_MAX ? malloc(n + 1) : NULL;
	int error;

	ASSERT(!setup->config_version);
	if (!bytes) {
		errorlog_put(EVENT_RESOURCE_SHORT,
			     "no memory for a configuration of %zu bytes", n);
		return skip_bytes(setup_channel, n);
	}
	error = handover_receive_bytes(setup_channel, bytes, n);
	if (error == 0)
		config = config_read_snapshot((struct slice){ bytes, n },
					      errorlog_stream(EVENT_CONFIG_FAULT));
	explicit_bzero(bytes, n); /* there may be private keys in it */
	free(bytes);
	if (config)
		setup->config_version = config_version_new(all, config);
	return error;
}

static bool add_listener(struct config_version *version, const struct handover *h)
{
	struct worker_listener *worker_listener = calloc(1, sizeof(*worker_listener));

	ASSERT(h->worker < version->worker_n);
	if (!worker_listener)
		return false;
	list_init(&worker_listener->node);
	worker_listener->fd = h->fd;
	worker_listener->number = h->value;
	list_append(&version->worker_configs[h->worker].listeners,
		    &worker_listener->node);
	config_version_add_address(version, h->value, h->index);
	return true;
}

/* Stores what a message brings. False: it was not stored, and the caller closes its
 * descriptor. */
static bool setup_take(struct setup *setup, const struct handover *h)
{
	struct config_version *version = setup->config_version;

	if (!version)
		return false;
	switch (h->kind) {
	case HANDOVER_LISTENER:
		return add_listener(version, h);
	case HANDOVER_LISTENER_KEPT:
		ASSERT(version->kept_n < version->config->listen_n);
		version->kept[version->kept_n++] = h->value;
		config_version_add_address(version, h->value, h->index);
		break;
	case HANDOVER_ADMIN:
		setup->admin_fd = h->fd;
		break;
	case HANDOVER_ADMIN_KEPT:
		setup->admin_kept = true;
		break;
	case HANDOVER_LOG:
		ASSERT(h->worker < version->worker_n && h->index < version->config->log_n);
		version->worker_configs[h->worker].logs[h->index] =
			(struct worker_log){ .fd = h->fd, .is_file = h->value };
		break;
	case HANDOVER_LOG_KEPT:
		ASSERT(h->index < version->config->log_n && h->value < CONFIG_LOGS_MAX);
		for (unsigned w = 0; w < version->worker_n; w++)
			version->worker_configs[w].logs[h->index] = (struct worker_log){
				.fd = -1, .kept = true, .current = h->value
			};
		break;
	case HANDOVER_KEYLOG:
		ASSERT(h->value < version->config->tls_n &&
		       version->keylogs[h->value] < 0);
		version->keylogs[h->value] = h->fd;
		break;
	case HANDOVER_ERROR_LOG:
		ASSERT(h->index < version->config->error_log_n &&
		       setup->error_logs.fds[h->index] < 0);
		setup->error_logs.fds[h->index] = h->fd;
		break;
	case HANDOVER_CONFIG:
	case HANDOVER_END:
		break;
	}
	return true;
}

static void setup_drop(struct setup *setup)
{
	if (setup->config_version)
		config_version_free(setup->config_version);
	if (setup->admin_fd >= 0)
		close(setup->admin_fd);
	error_logs_close(&setup->error_logs);
	setup->config_version = NULL;
	setup->admin_fd = -1;
}

/* *lacking: messages without their descriptor. *unused: messages that could not be
 * stored. */
static int receive_all(struct setup *setup, struct config_versions *all,
		       int setup_channel, unsigned *lacking, unsigned *unused)
{
	for (;;) {
		struct handover h;
		int error = handover_receive(setup_channel, &h);

		if (error == 0 && h.kind == HANDOVER_CONFIG)
			error = receive_config(setup, all, setup_channel, h.value);
		if (error < 0 || h.kind == HANDOVER_END)
			return error;
		if (handover_lacks_fd(&h)) {
			++*lacking;
		} else if (!setup_take(setup, &h)) {
			++*unused;
			if (h.fd >= 0)
				close(h.fd);
		}
	}
}

int setup_receive(struct setup *setup, struct config_versions *all, int setup_channel,
		  struct config *config)
{
	unsigned lacking = 0, unused = 0;
	int error;

	*setup = (struct setup){ .config_version =
					 config ? config_version_new(all, config) : NULL,
				 .admin_fd = -1,
				 .error_logs = ERROR_LOGS_NONE };
	error = receive_all(setup, all, setup_channel, &lacking, &unused);
	if (lacking > 0)
		errorlog_put(EVENT_RESOURCE_SHORT,
			     "%u descriptors could not be received: too many are "
			     "open; raise the limit of descriptors (ulimit -n)",
			     lacking);
	if (error < 0 || lacking > 0 || unused > 0 ||
	    (setup->config_version &&
	     !config_version_open_tls(all, setup->config_version)))
		setup_drop(setup);
	return error;
}

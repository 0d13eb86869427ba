#include "setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "run/handover.h"

/* Far beyond a configuration and all that its names can stand for. */
#define SNAPSHOT_BYTES_MAX (1u << 30)

/* What follows must be found in its place. */
static int pass_over(int setup_channel, size_t n)
{
	char some[4096];
	int error = 0;

	for (size_t step; n > 0 && error == 0; n -= step) {
		step = n < sizeof(some) ? n : sizeof(some);
		error = handover_receive_bytes(setup_channel, some, step);
	}
	return error;
}

static int take_config(struct setup *d, struct config_versions *all, int setup_channel,
		       size_t n)
{
	struct config *config = NULL;
	char *bytes = n <= SNAPSHOT_BYTES_MAX ? malloc(n + 1) : NULL;
	int error;

	ASSERT(!d->config_version);
	if (!bytes) {
		fprintf(stderr, "fairlead: no memory for a configuration of %zu bytes\n",
			n);
		return pass_over(setup_channel, n);
	}
	error = handover_receive_bytes(setup_channel, bytes, n);
	if (error == 0)
		config = config_read_snapshot((struct slice){ bytes, n }, stderr);
	free(bytes);
	if (config)
		d->config_version = config_version_new(all, config);
	return error;
}

static bool take_listener(struct config_version *e, const struct handover *h)
{
	struct worker_listener *worker_listener = calloc(1, sizeof(*worker_listener));

	ASSERT(h->worker < e->worker_n);
	if (!worker_listener)
		return false;
	list_init(&worker_listener->node);
	worker_listener->fd = h->fd;
	worker_listener->number = h->value;
	list_append(&e->worker_configs[h->worker].listeners, &worker_listener->node);
	config_version_add_address(e, h->value);
	return true;
}

/* False: nobody has taken the descriptor. */
static bool take(struct setup *d, const struct handover *h)
{
	struct config_version *e = d->config_version;

	if (!e)
		return false;
	switch (h->kind) {
	case HANDOVER_LISTENER:
		return take_listener(e, h);
	case HANDOVER_KEPT:
		ASSERT(e->kept_n < e->config->listen_n);
		e->kept[e->kept_n++] = h->value;
		config_version_add_address(e, h->value);
		break;
	case HANDOVER_ADMIN:
		d->admin_fd = h->fd;
		break;
	case HANDOVER_ADMIN_KEPT:
		d->admin_kept = true;
		break;
	case HANDOVER_LOG:
		ASSERT(h->worker < e->worker_n);
		e->worker_configs[h->worker].log_fd = h->fd;
		e->worker_configs[h->worker].log_is_file = h->value;
		break;
	case HANDOVER_LOG_KEPT:
		for (unsigned w = 0; w < e->worker_n; w++)
			e->worker_configs[w].log_kept = true;
		break;
	case HANDOVER_CONFIG:
	case HANDOVER_END:
		break;
	}
	return true;
}

static void drop(struct setup *d)
{
	if (d->config_version)
		config_version_free(d->config_version);
	if (d->admin_fd >= 0)
		close(d->admin_fd);
	d->config_version = NULL;
	d->admin_fd = -1;
}

/* *lacking: what came without its descriptor. *left: what nobody has taken. */
static int receive_all(struct setup *d, struct config_versions *all, int setup_channel,
		       unsigned *lacking, unsigned *left)
{
	for (;;) {
		struct handover h;
		int error = handover_receive(setup_channel, &h);

		if (error == 0 && h.kind == HANDOVER_CONFIG)
			error = take_config(d, all, setup_channel, h.value);
		if (error < 0 || h.kind == HANDOVER_END)
			return error;
		if (handover_lacks(&h)) {
			++*lacking;
		} else if (!take(d, &h)) {
			++*left;
			if (h.fd >= 0)
				close(h.fd);
		}
	}
}

int setup_receive(struct setup *d, struct config_versions *all, int setup_channel,
		  struct config *config)
{
	unsigned lacking = 0, left = 0;
	int error;

	*d = (struct setup){ .config_version = config ? config_version_new(all, config)
						      : NULL,
			     .admin_fd = -1 };
	error = receive_all(d, all, setup_channel, &lacking, &left);
	if (lacking > 0)
		fprintf(stderr,
			"fairlead: %u descriptors could not be taken over: too many are "
			"open; raise the limit of descriptors (ulimit -n)\n",
			lacking);
	if (error < 0 || lacking > 0 || left > 0)
		drop(d);
	return error;
}

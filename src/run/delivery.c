#include "delivery.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "run/handover.h"

/* Far beyond a configuration and all that its names can stand for. */
#define SNAPSHOT_BYTES_MAX (1u << 30)

static int take_config(struct delivery *d, struct editions *all, int parcels, size_t n)
{
	struct config *config = NULL;
	char *bytes;
	int error;

	if (n > SNAPSHOT_BYTES_MAX || d->edition)
		return -EPROTO;
	bytes = malloc(n + 1);
	if (!bytes)
		return -ENOMEM;
	error = handover_receive_bytes(parcels, bytes, n);
	if (error == 0)
		config = config_read_snapshot((struct slice){ bytes, n }, stderr);
	free(bytes);
	if (config)
		d->edition = edition_new(all, config);
	return error;
}

static bool take_door(struct edition *e, const struct handover *h)
{
	struct door *door = calloc(1, sizeof(*door));

	ASSERT(h->worker < e->worker_n);
	if (!door)
		return false;
	list_init(&door->node);
	door->fd = h->fd;
	door->number = h->value;
	list_append(&e->turns[h->worker].doors, &door->node);
	return true;
}

/* False: nobody has taken the descriptor. */
static bool take(struct delivery *d, const struct handover *h)
{
	struct edition *e = d->edition;

	if (!e)
		return false;
	switch (h->kind) {
	case HANDOVER_LISTENER:
		return take_door(e, h);
	case HANDOVER_KEPT:
		ASSERT(e->kept_n < e->config->listen_n);
		e->kept[e->kept_n++] = h->value;
		break;
	case HANDOVER_ADMIN:
		d->admin_fd = h->fd;
		break;
	case HANDOVER_ADMIN_KEPT:
		d->admin_kept = true;
		break;
	case HANDOVER_LOG:
		ASSERT(h->worker < e->worker_n);
		e->turns[h->worker].log_fd = h->fd;
		e->turns[h->worker].log_is_file = h->value;
		break;
	case HANDOVER_CONFIG:
	case HANDOVER_END:
		break;
	}
	return true;
}

int delivery_receive(struct delivery *d, struct editions *all, int parcels,
		     struct config *config)
{
	bool complete = true;

	*d = (struct delivery){ .edition = config ? edition_new(all, config) : NULL,
				.admin_fd = -1 };
	for (;;) {
		struct handover h;
		int error = handover_receive(parcels, &h);

		if (error == 0 && h.kind == HANDOVER_CONFIG)
			error = take_config(d, all, parcels, h.value);
		if (error < 0)
			return error;
		if (h.kind == HANDOVER_END)
			break;
		if (take(d, &h))
			continue;
		complete = false;
		if (h.fd >= 0)
			close(h.fd);
	}
	if (complete || !d->edition)
		return 0;
	edition_free(d->edition);
	d->edition = NULL;
	return 0;
}

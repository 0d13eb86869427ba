#include "delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "run/handover.h"

/* Far beyond a configuration and all that its names can stand for. */
#define SNAPSHOT_BYTES_MAX (1u << 30)

/* What follows must be found in its place. */
static int pass_over(int parcels, size_t n)
{
	char some[4096];
	int error = 0;

	for (size_t step; n > 0 && error == 0; n -= step) {
		step = n < sizeof(some) ? n : sizeof(some);
		error = handover_receive_bytes(parcels, some, step);
	}
	return error;
}

static int take_config(struct delivery *d, struct editions *all, int parcels, size_t n)
{
	struct config *config = NULL;
	char *bytes = n <= SNAPSHOT_BYTES_MAX ? malloc(n + 1) : NULL;
	int error;

	ASSERT(!d->edition);
	if (!bytes) {
		fprintf(stderr, "fairlead: no memory for a configuration of %zu bytes\n", n);
		return pass_over(parcels, n);
	}
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
	edition_note(e, h->value);
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
		edition_note(e, h->value);
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
	case HANDOVER_LOG_KEPT:
		for (unsigned w = 0; w < e->worker_n; w++)
			e->turns[w].log_kept = true;
		break;
	case HANDOVER_CONFIG:
	case HANDOVER_END:
		break;
	}
	return true;
}

static void drop(struct delivery *d)
{
	if (d->edition)
		edition_free(d->edition);
	if (d->admin_fd >= 0)
		close(d->admin_fd);
	d->edition = NULL;
	d->admin_fd = -1;
}

/* *lacking: what came without its descriptor. *left: what nobody has taken. */
static int receive_all(struct delivery *d, struct editions *all, int parcels, unsigned *lacking,
		       unsigned *left)
{
	for (;;) {
		struct handover h;
		int error = handover_receive(parcels, &h);

		if (error == 0 && h.kind == HANDOVER_CONFIG)
			error = take_config(d, all, parcels, h.value);
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

int delivery_receive(struct delivery *d, struct editions *all, int parcels,
		     struct config *config)
{
	unsigned lacking = 0, left = 0;
	int error;

	*d = (struct delivery){ .edition = config ? edition_new(all, config) : NULL,
				.admin_fd = -1 };
	error = receive_all(d, all, parcels, &lacking, &left);
	if (lacking > 0)
		fprintf(stderr, "fairlead: %u descriptors could not be taken over: too many are "
				"open; raise the limit of descriptors (ulimit -n)\n", lacking);
	if (error < 0 || lacking > 0 || left > 0)
		drop(d);
	return error;
}

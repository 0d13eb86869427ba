#include "run/edition.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "run/notice.h"

void editions_init(struct editions *e, unsigned worker_n, struct mailbox *control)
{
	list_init(&e->all);
	e->accounts = (struct names){ 0 };
	e->current = NULL;
	e->worker_n = worker_n;
	e->control = control;
}

void editions_done(struct editions *e)
{
	struct list *node;

	while ((node = list_pop(&e->all)))
		edition_free(LIST_ITEM(node, struct edition, node));
	ASSERT(e->accounts.n == 0);
	names_done(&e->accounts);
}

static struct account *account_of(struct editions *e, const struct config_upstream *u)
{
	char key[SERVICE_KEY_MAX];
	struct names_entry *entry;
	struct account *a;

	service_key(key, u);
	entry = names_find(&e->accounts, slice_of(key));
	if (entry)
		return CONTAINER(entry, struct account, entry);
	a = calloc(1, sizeof(*a) + e->worker_n * sizeof(a->stats[0]));
	if (!a)
		return NULL;
	memcpy(a->key, key, sizeof(key));
	quota_init(&a->line, u->queue);
	a->roster = roster_new(u->name, e->worker_n, e->control, notice_changed);
	if (!a->roster) {
		free(a);
		return NULL;
	}
	names_put(&e->accounts, &a->entry, slice_of(a->key));
	return a;
}

static bool open_accounts(struct editions *all, struct edition *e)
{
	for (unsigned i = 0; i < e->config->upstream_n; i++) {
		e->accounts[i] = account_of(all, &e->config->upstreams[i]);
		if (!e->accounts[i])
			return false;
		e->accounts[i]->refs++;
		for (unsigned w = 0; w < e->worker_n; w++)
			e->turns[w].shares[i] = (struct share){ &e->accounts[i]->stats[w],
								&e->accounts[i]->line,
								e->accounts[i]->roster };
	}
	return true;
}

static bool init_turns(struct edition *e)
{
	bool complete = true;

	for (unsigned w = 0; w < e->worker_n; w++) {
		struct turn *t = &e->turns[w];

		t->edition = e;
		t->log_fd = -1;
		list_init(&t->doors);
		t->shares = calloc(e->config->upstream_n + 1, sizeof(t->shares[0]));
		complete &= t->shares != NULL;
	}
	return complete;
}

struct edition *edition_new(struct editions *all, struct config *config)
{
	struct edition *e = calloc(1, sizeof(*e) + all->worker_n * sizeof(e->turns[0]));

	if (!e) {
		config_free(config);
		return NULL;
	}
	list_init(&e->node);
	e->config = config;
	e->worker_n = all->worker_n;
	e->accounts_of = &all->accounts;
	e->accounts = calloc(config->upstream_n + 1, sizeof(e->accounts[0]));
	e->kept = calloc(config->listen_n + 1, sizeof(e->kept[0]));
	e->numbers = calloc(config->listen_n + 1, sizeof(e->numbers[0]));
	if (!init_turns(e) || !e->accounts || !e->kept || !e->numbers || !open_accounts(all, e)) {
		edition_free(e);
		return NULL;
	}
	list_append(&all->all, &e->node);
	return e;
}

static void turn_done(struct turn *t)
{
	struct list *node;

	while ((node = list_pop(&t->doors))) {
		struct door *d = LIST_ITEM(node, struct door, node);

		close(d->fd);
		free(d);
	}
	if (t->log_fd >= 0)
		close(t->log_fd);
	free(t->shares);
}

void edition_free(struct edition *e)
{
	ASSERT(!e->lookout);
	list_remove(&e->node);
	for (unsigned w = 0; w < e->worker_n; w++)
		turn_done(&e->turns[w]);
	for (unsigned i = 0; e->accounts && i < e->config->upstream_n && e->accounts[i]; i++) {
		struct account *a = e->accounts[i];

		if (--a->refs > 0)
			continue;
		names_remove(e->accounts_of, &a->entry);
		roster_free(a->roster);
		free(a);
	}
	free(e->accounts);
	free(e->kept);
	free(e->numbers);
	config_free(e->config);
	free(e);
}

/* Who waits keeps its place, however short the line is now. */
void edition_current(struct editions *all, struct edition *e)
{
	for (unsigned i = 0; i < e->config->upstream_n; i++)
		quota_limit(&e->accounts[i]->line, e->config->upstreams[i].queue);
	all->current = e;
}

void edition_note(struct edition *e, unsigned number)
{
	for (unsigned i = 0; i < e->number_n; i++)
		if (e->numbers[i] == number)
			return;
	ASSERT(e->number_n < e->config->listen_n);
	e->numbers[e->number_n++] = number;
}

bool edition_paths_strict(const struct edition *e, unsigned number)
{
	bool known = e->number_n == e->config->listen_n, strict = false;

	for (unsigned i = 0; i < e->config->listen_n; i++)
		if (!known || e->numbers[i] == number)
			strict |= e->config->listens[i].paths_strict;
	return strict;
}

bool edition_keeps(const struct edition *e, unsigned number)
{
	for (unsigned i = 0; i < e->kept_n; i++)
		if (e->kept[i] == number)
			return true;
	return false;
}

/* Families of upstreams and their servers. */
#include "scrapeparts.h"

static const char *upstream_name(const struct scrape *s)
{
	return s->config_version->config->upstreams[s->upstream].name;
}

static bool has_upstream(const struct scrape *s)
{
	return s->upstream < s->config_version->config->upstream_n;
}

static const struct upstream_shared *upstream_shared_at(const struct scrape *s)
{
	return s->config_version->upstreams_shared[s->upstream];
}

static bool next_upstream(struct scrape *s)
{
	if (scrape_next_worker(s))
		return true;
	s->upstream++;
	return has_upstream(s);
}

static void put_upstream(struct scrape *s)
{
	exposition_label(&s->e, "upstream", upstream_name(s));
}

static void begin_upstream(struct scrape *s)
{
	scrape_begin(s, "");
	put_upstream(s);
}

bool scrape_step_upstream(struct scrape *s, const struct metric_family *f)
{
	uint64_t sum = 0;

	if (!has_upstream(s))
		return false;
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		sum += scrape_counter_at(&upstream_shared_at(s)->stats[w], f->offset);
	begin_upstream(s);
	exposition_count(&s->e, sum);
	return next_upstream(s);
}

bool scrape_step_latency(struct scrape *s, const struct metric_family *f)
{
	struct histogram h = { 0 };

	(void)f;
	if (!has_upstream(s))
		return false;
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		scrape_add_histogram(&h, &upstream_shared_at(s)->stats[w].latency);
	scrape_put_histogram(s, &h, put_upstream);
	return next_upstream(s);
}

/* ---- servers -------------------------------------------------------------- */

/* NULL: the upstream has no more servers. */
static const struct registry_entry *entry_at(const struct scrape *s)
{
	const struct registry *r = upstream_shared_at(s)->registry;

	return s->position == 0 ? atomic_load(&r->first) : s->entry;
}

static const struct registry_record *record_of(const struct scrape *s,
					       const struct registry_entry *entry,
					       unsigned worker)
{
	const struct registry_record *record =
		registry_record(upstream_shared_at(s)->registry, entry, worker);

	return atomic_load(&record->entered) ? record : NULL;
}

/* Whether one of the workers of the sample uses this server. */
static bool is_in_use(const struct scrape *s, const struct registry_entry *entry)
{
	if (!atomic_load(&entry->published))
		return false;
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++)
		if (record_of(s, entry, w))
			return true;
	return false;
}

static bool next_entry(struct scrape *s)
{
	if (scrape_next_worker(s))
		return true;
	s->entry = atomic_load(&entry_at(s)->next);
	s->position++;
	return true;
}

static bool next_registry(struct scrape *s)
{
	s->position = s->worker = 0;
	s->upstream++;
	return has_upstream(s);
}

const struct registry_entry *scrape_entry(const struct scrape *s)
{
	return has_upstream(s) ? entry_at(s) : NULL;
}

bool scrape_next_entry(struct scrape *s)
{
	if (!entry_at(s))
		return next_registry(s);
	s->entry = atomic_load(&entry_at(s)->next);
	s->position++;
	return true;
}

static void begin_server(struct scrape *s, const struct registry_entry *entry)
{
	begin_upstream(s);
	exposition_label(&s->e, "server", entry->name);
	exposition_label(&s->e, "address", entry->address);
}

bool scrape_step_server(struct scrape *s, const struct metric_family *f)
{
	const struct registry_entry *entry = has_upstream(s) ? entry_at(s) : NULL;
	uint64_t sum = 0;

	if (!entry)
		return next_registry(s);
	if (!is_in_use(s, entry))
		return next_entry(s);
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++) {
		const struct registry_record *record = record_of(s, entry, w);

		sum += record ? scrape_counter_at(record, f->offset) : 0;
	}
	begin_server(s, entry);
	exposition_count(&s->e, sum);
	return next_entry(s);
}

bool scrape_step_server_drained(struct scrape *s, const struct metric_family *f)
{
	const struct registry_entry *entry = has_upstream(s) ? entry_at(s) : NULL;

	(void)f;
	if (!entry)
		return next_registry(s);
	if (!is_in_use(s, entry))
		return next_entry(s);
	begin_server(s, entry);
	exposition_count(&s->e, atomic_load(&entry->order) != SERVER_ORDER_UP);
	return next_entry(s);
}

/* Workers give a server the same weight, but for a moment after it was changed. */
bool scrape_step_server_weight(struct scrape *s, const struct metric_family *f)
{
	const struct registry_entry *entry = has_upstream(s) ? entry_at(s) : NULL;
	uint64_t weight = 0;

	(void)f;
	if (!entry)
		return next_registry(s);
	if (!is_in_use(s, entry))
		return next_entry(s);
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s) && weight == 0; w++) {
		const struct registry_record *record = record_of(s, entry, w);

		weight = record ? stat_read(&record->weight) : 0;
	}
	begin_server(s, entry);
	exposition_count(&s->e, weight);
	return next_entry(s);
}

bool scrape_step_server_state(struct scrape *s, const struct metric_family *f)
{
	const struct registry_entry *entry = has_upstream(s) ? entry_at(s) : NULL;
	uint64_t n[SERVER_STATUS_DOWN + 1] = { 0 };

	(void)f;
	if (!entry)
		return next_registry(s);
	if (!is_in_use(s, entry))
		return next_entry(s);
	for (unsigned w = scrape_first_worker(s); w < scrape_end_worker(s); w++) {
		const struct registry_record *record = record_of(s, entry, w);
		uint64_t server_status = record ? stat_read(&record->status) : COUNT(n);

		if (server_status < COUNT(n))
			n[server_status]++;
	}
	for (unsigned i = SERVER_STATUS_UP; i <= SERVER_STATUS_DOWN; i++) {
		begin_server(s, entry);
		exposition_label(&s->e, "state",
				 server_status_text((enum server_status)i));
		exposition_count(&s->e, n[i]);
	}
	return next_entry(s);
}

#include "expiry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/errorlog.h"

static const unsigned thresholds_days[] = { 0, 1, 3, 7, 14 };
#define THRESHOLDS COUNT(thresholds_days)

/* A certificate that a line was written of, by the digest of its contents. */
struct told_certificate {
	struct names_entry entry;
	struct list node; /* in expiry->all */
	uint8_t digest[CONFIG_DIGEST_BYTES];
	size_t threshold; /* index of the last line's */
	bool current;     /* of the version that is being looked at */
};

/* The smallest threshold that was passed; THRESHOLDS: none. */
static size_t threshold_of(const struct tls_certificate *c, int64_t now_s)
{
	size_t i = 0;

	while (i < THRESHOLDS && !config_expires_within(c->not_before, c->not_after,
							now_s, thresholds_days[i]))
		i++;
	return i;
}

static struct slice key_of(const uint8_t *digest)
{
	return (struct slice){ (const char *)digest, CONFIG_DIGEST_BYTES };
}

static struct told_certificate *told_find(const struct expiry *e,
					  const struct config_pair *pair)
{
	struct names_entry *found = names_find(&e->told, key_of(pair->digest));

	return found ? CONTAINER(found, struct told_certificate, entry) : NULL;
}

/* Whether a line is due. Without memory it is written each time. */
static bool tell(struct expiry *e, const struct config_pair *pair, size_t threshold)
{
	struct told_certificate *told = told_find(e, pair);
	bool due = !told || threshold < told->threshold;

	if (!told) {
		told = calloc(1, sizeof(*told));
		if (!told)
			return true;
		memcpy(told->digest, pair->digest, sizeof(told->digest));
		names_put(&e->told, &told->entry, key_of(told->digest));
		list_init(&told->node);
		list_append(&e->all, &told->node);
	}
	told->threshold = threshold;
	told->current = true;
	return due;
}

static void write_line(const struct config_pair *pair, const struct tls_certificate *c,
		       int64_t now_s)
{
	const char *name = c->names_n > 0 ? c->names[0] : c->subject;
	int64_t days = (c->not_after - now_s + 86399) / 86400;
	char date[CONFIG_DATE_BYTES];

	config_date(c->not_after, date);
	if (c->not_after <= now_s)
		errorlog_put(EVENT_CERTIFICATE_EXPIRED,
			     "the certificate %s (%s) has expired on %s; replace it",
			     pair->chain_path, name, date);
	else
		errorlog_put(
			EVENT_CERTIFICATE_EXPIRES,
			"the certificate %s (%s) expires in %lld day%s, on %s; replace "
			"it",
			pair->chain_path, name, (long long)days, days == 1 ? "" : "s",
			date);
}

static void check_all(struct expiry *e, const struct config_version *version,
		      int64_t now_s)
{
	unsigned lines = 0;

	for (const struct config_pair *p = version->config->pairs; p; p = p->next) {
		const struct tls_certificate *c = version->certificates[p->index];
		size_t threshold = c ? threshold_of(c, now_s) : THRESHOLDS;

		if (threshold == THRESHOLDS || !tell(e, p, threshold))
			continue;
		if (lines++ < EXPIRY_LINES_MAX)
			write_line(p, c, now_s);
	}
	if (lines > EXPIRY_LINES_MAX)
		errorlog_put(
			EVENT_CERTIFICATE_EXPIRES,
			"%u more certificates expire soon; replace them (fairlead -t "
			"names them)",
			lines - EXPIRY_LINES_MAX);
}

/* Forgets certificates that are not in use any more, or all. */
static void forget(struct expiry *e, bool all)
{
	LIST_EACH(&e->all, node) {
		struct told_certificate *t = LIST_ITEM(node, struct told_certificate,
						       node);

		if (!all && t->current) {
			t->current = false;
			continue;
		}
		names_remove(&e->told, &t->entry);
		list_remove(&t->node);
		free(t);
	}
}

void expiry_init(struct expiry *e)
{
	*e = (struct expiry){ .seen = NULL };
	list_init(&e->all);
}

void expiry_check(struct expiry *e, const struct config_version *current, uint64_t now_ms,
		  uint64_t wall_ms)
{
	if (e->seen == current && now_ms < e->next_ms)
		return;
	e->seen = current;
	e->next_ms = now_ms + EXPIRY_INTERVAL_MS;
	check_all(e, current, (int64_t)(wall_ms / 1000));
	forget(e, false);
}

void expiry_done(struct expiry *e)
{
	forget(e, true);
	names_done(&e->told);
}

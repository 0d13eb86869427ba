/* TLS towards the servers of one upstream on one worker: the context and the names to be verified.
 *
 * A connection has an *identity*: the settings that it was opened under and the name that was
 * verified. A connection whose identity is not that of its server any more is not reused, and a
 * session is not resumed under another identity, because neither would be verified again.
 *
 * Owner: its server table. Limits: CONFIG_TLS_NAME_MAX. Errors: no memory, in
 * server_tls_prepare(). */
#ifndef BACK_SERVERTLS_H
#define BACK_SERVERTLS_H

#include "base/stats.h"
#include "config/upstreamtls.h"
#include "net/dial.h"

struct server_tls {
	struct tls_context *context; /* a reference; NULL: the servers speak no TLS */
	uint32_t epoch;              /* counts the changes of the context */
	unsigned names_max;
	/* The name of each configured server; behind them the SNI. */
	char (*names)[CONFIG_TLS_NAME_MAX];
	unsigned name_n; /* of configured servers */
};

/* Allocates what server_tls_configure() needs. False: no memory, and nothing has changed. */
bool server_tls_prepare(struct server_tls *t, const struct config_upstream *config);

/* Takes over the settings. They are copied. */
void server_tls_configure(struct server_tls *t, const struct config_upstream *config);
void server_tls_done(struct server_tls *t);

/* The identity of connections to that configured server; 0: they speak no TLS. */
uint64_t server_tls_identity(const struct server_tls *t, unsigned index);

/* Sets the options of TLS of a dial to that configured server. `saved`: of the server. */
void server_tls_dial(const struct server_tls *t, unsigned index, struct tls_saved *saved,
		     struct dial_options *options);

/* Counts the result of a dial. */
void server_tls_count(struct upstream_stats *stats, const struct dial *d);

#endif

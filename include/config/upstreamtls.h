/* `tls` of an upstream as the configuration describes it, and the context made of it.
 *
 * Upstreams with the same settings share one context, and so do two configurations: making one from
 * the system's bundle of issuers takes 25 ms, and sessions and connections go on as long as the
 * context stays.
 *
 * Owner: struct config; config_free() gives back the references. Limits: CONFIG_PINS_MAX. */
#ifndef CONFIG_UPSTREAMTLS_H
#define CONFIG_UPSTREAMTLS_H

#include "base/names.h"
#include "config/tls.h"

#define CONFIG_PINS_MAX 16

struct config_upstream_tls {
	bool verify;
	const struct config_file *ca; /* NULL: verify is off */
	bool ca_system;               /* `ca` is the system's */
	struct slice name;            /* to be verified; empty: of each server its host */
	bool sni_off;
	struct slice sni;                      /* empty: the name */
	const struct config_pair *pair;        /* our certificate; NULL: none */
	struct config_certificate certificate; /* of `pair`, as written */
	unsigned pin_n;
	const uint8_t (*pins)[CONFIG_DIGEST_BYTES];
	const struct slice *pin_texts; /* as written */
	enum tls_version min_version;
	bool resume;
	enum tls_records records;
	/* Of all settings but `name`, and of the contents of the files. */
	uint8_t digest[CONFIG_DIGEST_BYTES];
	/* A reference, from config_upstream_contexts() on. One digest has one context. */
	struct tls_context *context;
	struct names_entry by_digest; /* while contexts are made */
};

/* The context of an upstream that has `tls`: slow, not on a worker. NULL: `error` has the
 * reason. */
struct tls_context *config_upstream_context(const struct config_upstream *u, char *error,
					    size_t error_size);

/* Makes the contexts of all upstreams, or takes over those of `previous` (NULL: none). False:
 * `error` has the reason, and some upstreams have no context. */
bool config_upstream_contexts(struct config *c, struct config *previous, char *error,
			      size_t error_size);

/* Gives the references back. */
void config_upstream_contexts_drop(struct config *c);

#endif

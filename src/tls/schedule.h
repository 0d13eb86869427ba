/* The key schedule of TLS 1.3 (RFC 8446 7.1) as the library's handshakes use it: the algorithm
 * TLS13-KDF of the provider "fairlead" (provider.h).
 *
 * Two reasons. The library's own takes 2.5 µs for each of the twenty-odd keys of a handshake, this
 * one 0.5 µs (hmac.h). And the traffic secrets of the open connection, which tls/record needs,
 * pass by here; elsewhere the library gives them away only as lines for a key log, which cost
 * 14 µs a handshake to print. If the library uses its own, no secret is reported, and its object
 * does the records of the connection.
 *
 * Owner: the process. Private to tls. */
#ifndef TLS_SCHEDULE_H
#define TLS_SCHEDULE_H

#include <openssl/core.h>
#include <stdint.h>

#include "hmac.h"

enum { SCHEDULE_CLIENT = 1, SCHEDULE_SERVER = 2 };

/* client_ and server_application_traffic_secret_0. */
struct schedule_secrets {
	uint8_t known; /* which of them are there */
	uint8_t client[HMAC_BYTES_MAX], server[HMAC_BYTES_MAX];
};

/* What the provider has to offer. */
extern const OSSL_ALGORITHM schedule_kdfs[];

/* Until the next call, secrets that this thread derives are written to `s`; NULL: nowhere. */
void schedule_report_to(struct schedule_secrets *s);

#endif

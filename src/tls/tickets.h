/* Session tickets: sessions that clients keep, sealed with keys of ours (RFC 5077 4, RFC 8446
 * 4.6.1). Nothing is stored here, so all workers, all processes and all hosts with the same keys
 * can resume them.
 *
 * From a secret: the key of an hour is HKDF-Expand(secret, hour) (RFC 5869 2.3), so that those who
 * have the secret agree without a word. Tickets are sealed with the key of the present hour, and
 * opened with that of each hour of their lifetime. From key files: the first one seals, all open;
 * 80 bytes as nginx has them: name (16), HMAC-SHA256 key (32), AES-256 key (32).
 *
 * Owner: the context. Thread-safe: a lock around the keys that were derived, twice per handshake.
 * Secrets are cleansed by tickets_free(). Errors: false, and a handshake without a ticket. */
#ifndef TLS_TICKETS_H
#define TLS_TICKETS_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "tls/context.h"

#define TICKET_LIFETIME_S 43200U      /* if the options have none */
#define TICKET_LIFETIME_S_MAX 604800U /* RFC 8446 4.6.1 */

struct tickets;

/* NULL: no memory. */
struct tickets *tickets_new(const struct tls_server_options *options);
void tickets_free(struct tickets *t); /* NULL: nothing */

uint32_t tickets_lifetime_s(const struct tickets *t);

enum ticket_result { TICKET_OK, TICKET_OLD, TICKET_UNKNOWN, TICKET_FAILED };

/* Sets up cipher and MAC with the key that seals now, and writes its name and a random iv. OK or
 * FAILED. */
enum ticket_result tickets_seal(struct tickets *t, uint64_t now_ms,
				unsigned char name[16], unsigned char *iv,
				EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac);

/* Sets up cipher and MAC with the key of this name. OLD: it is not the one that seals now. */
enum ticket_result tickets_open(struct tickets *t, uint64_t now_ms,
				const unsigned char name[16], const unsigned char *iv,
				EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac);

#endif

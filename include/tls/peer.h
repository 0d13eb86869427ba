/* The certificate that a client presented and that was verified: rendered once, at the handshake,
 * so that nothing of the library is kept.
 *
 * Owner: struct tls (one block of memory). All texts are valid as long as that. Texts of
 * certificates are the peer's: they hold no control character (those are escaped). */
#ifndef TLS_PEER_H
#define TLS_PEER_H

#include "base/slice.h"

struct tls_peer {
	struct slice subject;     /* RFC 2253 */
	struct slice issuer;      /* RFC 2253 */
	struct slice san;         /* DNS:a, URI:b … */
	struct slice serial;      /* hexadecimal, upper case */
	struct slice fingerprint; /* SHA-256, hexadecimal, lower case */
	struct slice certificate; /* for Client-Cert (RFC 9440 2.2): :base64 of the DER: */
	struct slice chain;       /* for Client-Cert-Chain (RFC 9440 2.3), without the certificate
				     itself; may be empty */
};

#endif

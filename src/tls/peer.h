/* Renders the certificate of a client. Private to tls. */
#ifndef TLS_PEERTEXTS_H
#define TLS_PEERTEXTS_H

#include <openssl/types.h>

#include "tls/peer.h"

/* What the client of this handshake has presented, or, if it was resumed, at its first handshake,
 * in one block for free(). *peer is NULL if there was no certificate. False: no memory. */
bool peer_render(const SSL *ssl, struct tls_peer **peer);

#endif

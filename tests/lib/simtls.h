/* TLS of a peer of the simulation (lib/simrig.h): what its script sends is sealed, what it receives
 * is opened, and the script sees plaintext only. The records are made by the seed: sizes, and how
 * many of them go into one piece.
 *
 * Owner: the peer. Limits: none. Errors: a fault makes peer->error -EPROTO; a FIN without
 * close_notify -ECONNRESET. */
#ifndef LIB_SIMTLS_H
#define LIB_SIMTLS_H

#include "lib/simrig.h"
#include "tls/session.h"

/* Contexts without cryptography, for both sides. Owner: the caller. */
struct tls_context *simtls_server_context(void);
struct tls_context *simtls_client_context(void);

/* Before anything was sent or received. `thread`: that of the tick, or one of the test. A peer that
 * has connected is the client, one that a server has accepted the server. */
void simtls_secure(struct sim_peer *p, struct tls_thread *thread,
		   struct tls_context *context, struct slice name,
		   struct tls_saved *saved);

/* ---- for lib/simrig.c ---------------------------------------------------------- */

void simtls_send(struct sim_peer *p, struct slice bytes);

/* Received; takes over the reference. */
void simtls_receive(struct sim_peer *p, struct buf *b);
void simtls_receive_end(struct sim_peer *p);

/* Goes on: after something was received or is to be sent, or the end was asked for. */
void simtls_step(struct sim_peer *p);

/* All that the script has sent is sealed, and so is the end if it asked for that. */
bool simtls_done(const struct sim_peer *p);

void simtls_free(struct sim_peer *p);

#endif

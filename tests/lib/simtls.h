/* TLS of a peer of the simulation (lib/simrig.h): what its script sends is sealed, what it receives
 * is opened, and the script sees plaintext only. The records are made by the seed: sizes, how many
 * of them go into one piece, and key updates in between. A script may break the session in the ways
 * of enum simtls_end.
 *
 * The peer checks what it receives: each record has the sequence number that follows, or it cannot
 * be opened; and nothing comes behind close_notify.
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

/* TLS 1.3, open: a key update, which is sent with the next bytes. `requested`: the other side answers
 * with one of its own. */
void simtls_update_keys(struct sim_peer *p, bool requested);

/* How a session ends, if not as it should. All but the first are faults of a peer that no secured
 * connection may take for the end of what was sent. */
enum simtls_end {
	SIMTLS_CLOSES,   /* close_notify, then FIN */
	SIMTLS_CUTS_OFF, /* FIN without close_notify */
	SIMTLS_ALERTS,   /* a fatal alert */
	SIMTLS_CORRUPTS, /* a bit of a record is another one on the wire */
	SIMTLS_GOES_ON,  /* data behind close_notify */
	SIMTLS_ENDS,
};

/* The peer ends in this way. SIMTLS_CORRUPTS: the record with the byte that is sent next is the one,
 * and no earlier byte is in it. SIMTLS_ALERTS: behind what was sent so far; then the socket is
 * closed; there is no alert if the library makes the records. */
void simtls_end(struct sim_peer *p, enum simtls_end how);

/* SIMTLS_GOES_ON: these bytes. They are lost where the library makes the records. */
void simtls_send_behind(struct sim_peer *p, struct slice bytes);

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

/* The stream of a client: what a request's user can ask for beyond reading and writing
 * (message/stream.h).
 *
 * Owner: the client. Always holds: an operation leaves the client in a state in which
 * client_check() passes. Errors: those of the stream. */
#ifndef FRONT_CLIENTSTREAM_H
#define FRONT_CLIENTSTREAM_H

#include "front/client.h"

extern const struct stream_ops client_stream_ops;

#endif

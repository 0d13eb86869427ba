/* Cryptography in a simulated run: the library's randomness is the seed's and its time the loop's,
 * so that the same seed makes the same certificates, keys and records, to the byte.
 *
 * Between simcrypto_begin() and simcrypto_end() the whole process draws from the seed; one run at a
 * time. time() is that of the simulated wall clock meanwhile: this file defines it for the program.
 * Contexts speak TLS 1.2 or 1.3, with records of our own or of the library, as the seed draws.
 *
 * Errors: what fails ends the program (ASSERT). */
#ifndef LIB_SIMCRYPTO_H
#define LIB_SIMCRYPTO_H

#include <stdint.h>

#include "tls/context.h"

struct io_loop;

void simcrypto_begin(uint64_t seed, const struct io_loop *loop);
void simcrypto_end(void);

/* With a certificate for example.org, a.test and b.test; clients verify it. Owner: the caller. */
struct tls_context *simcrypto_server_context(void);
struct tls_context *simcrypto_client_context(void);

#endif

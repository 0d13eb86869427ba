/* Does once what the library would do later by system calls that the sandbox forbids: opens
 * /etc/localtime, loads providers, error texts and its random generator, fetches algorithms.
 *
 * Errors: false; a program cannot do TLS then. */
#ifndef TLS_WARM_H
#define TLS_WARM_H

#include <stdbool.h>
#include <stddef.h>

/* Before any other call of the library (libcrypto as well), once per process; again: nothing.
 * Counts what the library allocates from now on, and reads its configuration (openssl.cnf). */
bool tls_library_init(void);

/* Before the sandbox, once per process, on any thread: handshakes of each kind (P-256, RSA, TLS 1.2
 * and 1.3, resumed, client certificate, failed verification, no common protocol) of the thread with
 * itself, with certificates whose keys are public. Takes some 20 ms. False: `error` has the
 * reason. */
bool tls_warm(char *error, size_t error_size);

#endif

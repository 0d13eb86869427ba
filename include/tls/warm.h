/* Does once what the library would do later by system calls that the sandbox forbids: opens
 * /etc/localtime, loads providers, error texts and its random generator, fetches algorithms. */
#ifndef TLS_WARM_H
#define TLS_WARM_H

#include <stdbool.h>

/* On each thread that makes handshakes, before the sandbox: full handshakes of each kind (P-256,
 * RSA, TLS 1.2 and 1.3, resumed, client certificate, failed verification) with a certificate made
 * for it. False: the library cannot do TLS; its reason is in the error log. */
bool tls_warm(void);

/* Before any other call of the library, once per process: reads its configuration. */
bool tls_library_init(void);

#endif

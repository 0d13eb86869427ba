/* What the library says about a failure, as a fault of ours. Private to tls. */
#ifndef TLS_LIBRARYFAULT_H
#define TLS_LIBRARYFAULT_H

#include <openssl/types.h>

#include "tls/session.h"

struct library_fault {
	enum tls_fault fault;
	uint8_t alert;      /* received, with TLS_FAULT_ALERT */
	const char *reason; /* the library's words, for the log; static; NULL: none */
};

/* Why the last call with this object failed. Empties the queue of errors. */
void library_fault(const SSL *ssl, struct library_fault *f);

#endif

/* struct tls_context, for the files of this folder. */
#ifndef TLS_CONTEXTPARTS_H
#define TLS_CONTEXTPARTS_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "certificate.h"
#include "tls/context.h"

struct tls_context {
	_Atomic unsigned refs;
	uint64_t serial; /* never 0; no two contexts of a process have the same */
	bool server;
	enum tls_records records;
	uint32_t record_bytes; /* as in the options */
	int keylog_fd;         /* -1: no */
	SSL_CTX *library;
	/* For ALPN: each with its length before it (RFC 7301 3.1), in order of preference. */
	unsigned char protocols[16];
	unsigned protocols_len;

	/* Server. */
	struct certificate **certificates;
	size_t certificates_n;

	/* Client. */
	bool verify;
};

#endif

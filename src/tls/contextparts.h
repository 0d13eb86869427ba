/* struct tls_context, for the files of this folder. */
#ifndef TLS_CONTEXTPARTS_H
#define TLS_CONTEXTPARTS_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "certtable.h"
#include "policy.h"
#include "tickets.h"
#include "tls/context.h"

struct text {
	struct text *next;
	char bytes[];
};

struct tls_context {
	_Atomic unsigned refs;
	uint64_t serial; /* never 0; no two contexts of a process have the same */
	bool server;
	enum tls_records records;
	uint32_t record_bytes; /* as in the options */
	int keylog_fd;         /* -1: no */
	struct text *texts;    /* copies of what the options had, for the slices below */
	/* For ALPN: each with its length before it (RFC 7301 3.1), in order of preference. */
	unsigned char protocols[16];
	unsigned protocols_len;

	/* Server. */
	struct slice name; /* of the listener */
	bool default_first;
	bool ja4;
	struct certificate **certificates;
	size_t certificates_n;
	struct certtable table;
	struct policy
		*policies; /* the first one is that of all names that no other one has */
	size_t policies_n;
	struct nametable policy_names;
	struct tickets *tickets; /* NULL: none */
	struct slice *missing_groups;
	size_t missing_groups_n;

	/* Client. */
	SSL_CTX *library;
	struct certificate *certificate; /* NULL: none */
	struct trust *trust;             /* NULL: peers are not verified */
	uint8_t (*pins)[32];
	size_t pins_n;
	bool no_sni;
};

#endif

/* Test fixture: a nameserver on 127.0.0.1, over UDP, that answers from a table. Owner: one test.
 * tests/real/names.py tests with a real nameserver. */
#ifndef LIB_NAMESERVER_H
#define LIB_NAMESERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "dns/answer.h"

/* One record. `data`: an address; "PRIORITY WEIGHT PORT TARGET" for SRV; or a fault: "!silent"
 * (no answer), "!fail" (SERVFAIL). A name without a row does not exist (NXDOMAIN). */
struct nameserver_row {
	const char *name;
	enum dns_type type;
	uint32_t ttl_s;
	const char *data;
};

struct nameserver {
	int fd;
	char address[32];  /* "127.0.0.1:PORT" */
	const struct nameserver_row *rows;
	unsigned row_n;
	unsigned queries; /* received so far */
};

void nameserver_open(struct nameserver *n, const struct nameserver_row *rows, unsigned row_n);
void nameserver_close(struct nameserver *n);

/* Answers the queries that have arrived; does not wait. */
void nameserver_serve(struct nameserver *n);

#endif

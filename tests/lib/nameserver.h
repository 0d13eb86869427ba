/* A nameserver on 127.0.0.1, over UDP, that answers from a table: for unit tests. What a real
 * one does is for tests/real/names.py to show. */
#ifndef LIB_NAMESERVER_H
#define LIB_NAMESERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "dns/answer.h"

/* What a name has of one type. `data`: an address, or "PRIORITY WEIGHT PORT TARGET" for SRV, or how
 * it fails: "!silent", "!fail" (SERVFAIL). A name that is not in the table does not exist. */
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
	unsigned asked;    /* questions that came */
};

void nameserver_open(struct nameserver *n, const struct nameserver_row *rows, unsigned row_n);
void nameserver_close(struct nameserver *n);

/* Answers what has come; does not wait. */
void nameserver_serve(struct nameserver *n);

#endif

/* Single TLS records, for tests of tls/record.h. */
#ifndef LIB_RECORDS_H
#define LIB_RECORDS_H

#include "../../src/tls/record.h"

/* Seals `n` bytes as one record at `out`, which has the space; returns its length, 0: the sealing
 * failed. `plain` may lie at its place in the record. */
static inline size_t records_seal(struct record_keys *k, struct crypt *crypt,
				  enum record_type type, const void *plain, size_t n,
				  uint8_t *out)
{
	unsigned head = record_head_bytes(k);
	struct record_part part = { plain, out + head, (uint32_t)n };

	if (!record_seal(k, crypt, type, &part, 1, out, out + head + n))
		return 0;
	return head + n + record_tail_bytes(k);
}

/* Opens a record of n bytes that lies in one piece. */
static inline enum tls_fault records_open(struct record_keys *k, struct crypt *crypt,
					  uint8_t *bytes, size_t n,
					  struct record_plain *r)
{
	struct iovec iov = { bytes, n };

	return record_open(k, crypt, &iov, 1, r);
}

#endif

/* The library as a whole: what is fetched once, and the texts of its errors.
 *
 * Rule for every caller: the library's queue of errors is per thread, and one error left in it
 * makes the next call of another connection look failed. So ERR_clear_error() comes before a
 * call, and the queue is empty after it.
 *
 * Owner: the process; made by tls_library_init(), never freed. */
#ifndef TLS_LIBRARY_H
#define TLS_LIBRARY_H

#include <openssl/types.h>
#include <stddef.h>

/* Algorithms that are looked up once: a lookup by name takes locks and 1 to 2 µs. */
struct library {
	EVP_MD *sha256;
	EVP_CIPHER *aes_256_cbc;
	EVP_KDF *hkdf;
};

/* Initialises the library if that has not happened. */
const struct library *library(void);

/* Writes the reason of the oldest error of this thread ("no start line"), and empties the queue.
 * Without an error: "no reason given". Returns `text`. */
char *library_error(char *text, size_t size);

/* For tests: of the library's allocations on this thread from now on, only the n-th fails (1 is the
 * next); 0 switches this off. Returns
 * how many were left until then. */
unsigned library_fail_at(unsigned n);

#endif

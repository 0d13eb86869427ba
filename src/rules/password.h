/* Hashes of passwords as crypt(3) makes them: which can be used, and whether a password matches.
 *
 *   $2y$ $2b$ $2a$  bcrypt (htpasswd -B)      $5$ $6$  SHA-256 and SHA-512, with rounds
 *   $y$ $gy$        yescrypt (mkpasswd)       $7$      scrypt
 *
 * Others are refused: plain text, and hashes that are tried by the billion (DES, MD5, {SHA}).
 *
 * Owner: none. Limits: PASSWORD_HASH_MAX; the cost that a hash asks for, as a single request makes
 * a thread spend it. Errors: a text with a remedy. */
#ifndef RULES_PASSWORD_H
#define RULES_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

#define PASSWORD_HASH_MAX 191

/* NULL: passwords can be compared with the hash. Else what it is instead, for a sentence that
 * begins with "the hash of USER". */
const char *password_hash_fault(struct slice hash);

/* Memory of password_matches(), which clears it. */
struct password_memory;
struct password_memory *password_memory_new(void);
void password_memory_free(struct password_memory *m);

/* Both end with NUL; password_hash_fault() has found nothing. Takes as long as the hash asks for:
 * milliseconds, or a second. The comparison takes equally long for each result. */
bool password_matches(struct password_memory *m, const char *password, const char *hash);

#endif

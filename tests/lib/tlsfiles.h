/* Certificates and keys in a directory of their own, which becomes the working directory: for
 * configurations whose paths are relative.
 *
 *   site.pem       site.test, *.site.test: chain and key
 *   chain.pem, key.pem      other.test
 *   old.pem        site.test, expired yesterday
 *   ca.pem, crl.pem
 *   ticket.key, short.key   80 and 48 bytes
 *   locked.pem     the private key is encrypted
 *   addresses.txt  a list of addresses
 *   users, weak-users       of basic_auth; the hash of the second one is refused
 *   noise.pem      no PEM
 *   empty/, pems/  folders; pems has a.pem (a.test) and b.pem (b.test)
 *
 * Private keys are readable by their owner only. Errors: end the program (ASSERT). */
#ifndef TESTS_LIB_TLSFILES_H
#define TESTS_LIB_TLSFILES_H

#include "base/slice.h"

/* Makes the files. Once per program. */
void tls_files_make(void);

/* Removes them. */
void tls_files_remove(void);

/* Writes a file with mode 0600, or another content of one. */
void tls_file_write(const char *name, struct slice content);

/* A chain and a key in one text, for these names, with a new key. To be freed. */
struct slice tls_file_pair(const char *san, int from_days, int to_days);

#endif

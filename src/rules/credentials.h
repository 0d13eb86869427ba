/* The credentials of Basic authentication: the value of Authorization, decoded (RFC 7617 2, RFC
 * 9110 11.4). Pure.
 *
 *   Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==   ─▶   Aladdin, "open sesame"
 *
 * Nothing is guessed: base64 that is not the one encoding of its bytes (RFC 4648 3.5), a control
 * character (RFC 7617 2) or a second field is the same as no credentials.
 *
 * Owner: the caller, who clears the memory. Limits: CREDENTIALS_BYTES_MAX. */
#ifndef RULES_CREDENTIALS_H
#define RULES_CREDENTIALS_H

#include "http/head.h"

#define CREDENTIALS_USER_MAX 255
#define CREDENTIALS_PASSWORD_MAX 511 /* that of libcrypt, and a NUL */
#define CREDENTIALS_BYTES_MAX (CREDENTIALS_USER_MAX + 1 + CREDENTIALS_PASSWORD_MAX)

struct credentials {
	struct slice user, password; /* in `bytes`; a NUL follows the password */
	char bytes[CREDENTIALS_BYTES_MAX + 1];
};

/* Those of a request. False: it has none that could be valid. */
bool credentials_read(const struct head *h, struct credentials *c) MUST_USE;

#endif

/* What the TLS connections of a listener, or of an upstream, share: certificates, policies, keys
 * of tickets. Made from bytes, not from files; immutable afterwards; used by all workers.
 *
 * Server: one context per listener and configuration. Certificates are found by the name that
 * the client requests (SNI, RFC 6066 3): the exact name, else `*.rest` for one label. Of several
 * with that name: ECDSA if the client can, else RSA; then the later expiry. A *policy* says
 * whether clients must present a certificate; policies are chosen by SNI as well. A session is
 * never resumed for another name, under another policy, with other certificates or by another
 * listener (session id context); and not at all where clients present certificates, so that a
 * verification is never older than its connection.
 *
 * Client: one context per upstream and configuration.
 *
 * Owner: counted references, atomic; workers hold one for each struct tls. Limits: none of its
 * own; a server context is 22 KB, 14 KB more for each policy, and 8 KB per certificate, which
 * contexts with the same ones share. Errors: NULL with a message for the
 * operator, which names the file and a remedy.
 *
 * Rests on RFC 8446, RFC 5246, RFC 5077, RFC 7301, RFC 9525. */
#ifndef TLS_CONTEXT_H
#define TLS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum tls_version { TLS_1_2, TLS_1_3 };

/* How records are sealed and opened after the handshake. */
enum tls_records {
	TLS_RECORDS_OWN,     /* by tls/record.h; the library's object is freed */
	TLS_RECORDS_OPENSSL, /* by the library: to compare, and where OWN cannot */
	/* For the simulation: the same framing and lengths, a checksum for a tag, and a
	 * handshake of the same shape without cryptography. Never from a configuration. */
	TLS_RECORDS_NULL,
};

enum tls_client_auth { TLS_AUTH_OFF, TLS_AUTH_OPTIONAL, TLS_AUTH_REQUIRE };

/* An application protocol, for ALPN. The order of a list is the order of preference. */
enum tls_protocol { TLS_NO_PROTOCOL, TLS_HTTP_1_1, TLS_HTTP_2 };

struct tls_pair {
	struct slice name;  /* for messages: the path of the file */
	struct slice chain; /* PEM: the certificate, then its issuers */
	struct slice key;   /* PEM; may be the same bytes as `chain` */
};

struct tls_policy {
	const struct slice *names; /* host names, exact or *.rest, lower case */
	size_t names_n; /* 0: the policy of every name not in another one, and of none */
	enum tls_client_auth client_auth;
	struct slice ca;  /* PEM; required unless TLS_AUTH_OFF */
	struct slice crl; /* PEM: of each issuer of `ca`; empty: no check for revocation */
	struct slice ca_name, crl_name; /* of the files, for messages */
	unsigned depth; /* how many issuers between a client's certificate and one of `ca`;
			   0: 3 */
	unsigned tag;   /* of the caller: see tls_context_tag() */
};

struct tls_server_options {
	struct slice name; /* of the listener: part of the session id context */
	const struct tls_pair *pairs;
	size_t pairs_n;     /* 1 at least */
	bool default_first; /* no SNI, or an unknown one: the first pair; else the alert
			       unrecognized_name */
	const struct tls_policy *policies; /* at most one without names, which is the first */
	size_t policies_n;                 /* 0: clients need no certificate */
	enum tls_version min_version;
	const struct slice *groups; /* in order; 0: those of Mozilla's intermediate list which
				       the library has */
	size_t groups_n;
	enum tls_protocol protocols[2]; /* TLS_NO_PROTOCOL: end of the list */
	bool tickets;
	uint8_t ticket_secret[32];         /* made once; the keys of each hour derive from it */
	const uint8_t (*ticket_keys)[80];  /* instead of the secret: the first seals, all open */
	size_t ticket_keys_n;
	uint32_t ticket_lifetime_s; /* at most 604,800; 0: 12 h */
	enum tls_records records;
	uint32_t record_bytes; /* of plaintext, 1,024 to 16,384; 0: 4 KiB after a second of
				  silence, then full ones */
	bool ja4;      /* compute the fingerprint of each ClientHello: tls_ja4() */
	int keylog_fd; /* secrets are appended in the format of SSLKEYLOGFILE; -1: no */
};

struct tls_client_options {
	struct slice name; /* of the upstream, for messages */
	bool verify;
	struct slice ca; /* PEM: issuers to trust, with `verify`; see tls_system_ca_file() */
	struct slice ca_name;    /* of the file, for messages */
	const struct tls_pair *pair; /* our certificate; NULL: none */
	const uint8_t (*pins)[32];   /* SHA-256 of SubjectPublicKeyInfo; one must be in the
				        verified chain or, without `verify`, be that of the
				        server's own certificate */
	size_t pins_n;
	enum tls_version min_version;
	bool resume; /* keep one session per server */
	bool no_sni; /* send no server name (RFC 6066 3) */
	enum tls_protocol protocols[2];
	enum tls_records records;
	int keylog_fd;
};

/* The path of the system's bundle of CA certificates: SSL_CERT_FILE of the environment, or where
 * distributions have it. NULL: there is none. For whoever reads files: a context is made from
 * bytes, also after the sandbox forbids to open files. */
const char *tls_system_ca_file(void);

struct tls_context;

/* Makes a context. NULL: `error` has the reason, for the operator, with the name of the pair or
 * file. Slow (a private key in PEM: 1 ms): not on a worker. */
struct tls_context *tls_server_context(const struct tls_server_options *options, char *error,
				       size_t error_size);
struct tls_context *tls_client_context(const struct tls_client_options *options, char *error,
				       size_t error_size);

struct tls_context *tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c); /* NULL: nothing */

/* ---- certificates ----------------------------------------------------------- */

struct tls_certificate {
	struct slice file;
	const char *const *names; /* DNS names and addresses of the subject, lower case */
	size_t names_n;
	const char *subject;
	int64_t not_before, not_after; /* seconds since 1970 */
	bool ecdsa;
};

/* Of a server's context: its certificates in the order of the options; of a client's: its own, if
 * it has one. NULL: i is too large. */
const struct tls_certificate *tls_context_certificate(const struct tls_context *c, size_t i);

/* Reads a pair and says what it serves, without a context: for `fairlead -t`, and to refuse a new
 * pair before it replaces another one. False: `error` has the reason (cannot be parsed, the key
 * does not belong to the certificate). Its memory is freed by tls_certificate_free(). */
bool tls_certificate_read(const struct tls_pair *pair, struct tls_certificate **certificate,
			  char *error, size_t error_size);
void tls_certificate_free(struct tls_certificate *certificate);

/* The tag of a policy, by its index (tls.policy); 0 of one that the options do not have. */
unsigned tls_context_tag(const struct tls_context *c, unsigned policy);

/* The index of the policy for a host (of Host or :authority, lower case, without port). 0 is the
 * policy of all names that no other one has, whether the options have such a policy or not. A
 * request whose host has another policy than its connection (tls.policy) gets a 421 (RFC 9110
 * 15.5.20). */
unsigned tls_context_policy(const struct tls_context *c, struct slice host);

/* A name of the group list that the library does not have; for a warning. False: i is too
 * large. */
bool tls_context_missing_group(const struct tls_context *c, size_t i, struct slice *name);

#endif

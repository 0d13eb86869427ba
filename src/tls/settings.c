#include "settings.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#define SECURITY_LEVEL 2 /* 112 bits: RSA of 2,048 bits at least, no SHA-1 */

/* AES-128 before AES-256: it spares SHA-384 in the key schedule, and nobody breaks either. */
static const char suites_1_3[] = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:"
				 "TLS_CHACHA20_POLY1305_SHA256";
static const char suites_1_2[] =
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char signatures[] =
	"ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:ecdsa_secp521r1_sha512:ed25519:ed448:"
	"rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512:"
	"rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"
	"RSA+SHA256:RSA+SHA384:RSA+SHA512";
static const struct slice default_groups[] = {
	SLICE("X25519MLKEM768"), /* OpenSSL 3.5 */
	SLICE("X25519"),
	SLICE("P-256"),
	SLICE("P-384"),
};
#define DEFAULT_GROUPS_N (sizeof(default_groups) / sizeof(default_groups[0]))

/* What openssl.cnf may have set, and we do not do. */
#define OPTIONS_OFF                                                                \
	(SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION | SSL_OP_LEGACY_SERVER_CONNECT | \
	 SSL_OP_ALLOW_CLIENT_RENEGOTIATION | SSL_OP_ALLOW_NO_DHE_KEX |             \
	 SSL_OP_NO_EXTENDED_MASTER_SECRET | SSL_OP_IGNORE_UNEXPECTED_EOF |         \
	 SSL_OP_NO_TICKET | SSL_OP_NO_TLSv1_3 | SSL_OP_CRYPTOPRO_TLSEXT_BUG |      \
	 SSL_OP_TLSEXT_PADDING | SSL_OP_SAFARI_ECDHE_ECDSA_BUG |                   \
	 SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS | SSL_OP_TLS_ROLLBACK_BUG)
#define OPTIONS_ON                                                                      \
	(SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_ANTI_REPLAY |      \
	 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_NO_SSLv3 | \
	 SSL_OP_NO_TLSv1 | SSL_OP_NO_TLSv1_1)

static bool versions_set(SSL_CTX *library, enum tls_version min_version)
{
	long min = min_version == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;

	if (SSL_CTX_get_min_proto_version(library) > min)
		min = SSL_CTX_get_min_proto_version(library);
	return SSL_CTX_set_min_proto_version(library, min) == 1 &&
	       SSL_CTX_set_max_proto_version(library, TLS1_3_VERSION) == 1;
}

bool settings_apply(SSL_CTX *library, enum tls_version min_version)
{
	if (SSL_CTX_get_security_level(library) < SECURITY_LEVEL)
		SSL_CTX_set_security_level(library, SECURITY_LEVEL);
	SSL_CTX_clear_options(library, OPTIONS_OFF);
	SSL_CTX_set_options(library, OPTIONS_ON);
	/* Without RELEASE_BUFFERS an idle connection holds 33 KB of buffers. */
	SSL_CTX_set_mode(library, SSL_MODE_RELEASE_BUFFERS |
					  SSL_MODE_ENABLE_PARTIAL_WRITE |
					  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_read_ahead(library, 0);
	SSL_CTX_set_max_early_data(library, 0);
	SSL_CTX_set_session_cache_mode(library, SSL_SESS_CACHE_OFF);
	return versions_set(library, min_version) &&
	       SSL_CTX_set_ciphersuites(library, suites_1_3) == 1 &&
	       SSL_CTX_set_cipher_list(library, suites_1_2) == 1 &&
	       SSL_CTX_set1_sigalgs_list(library, signatures) == 1 &&
	       SSL_CTX_set1_client_sigalgs_list(library, signatures) == 1;
}

/* The library refuses a whole list for one name that it does not know: ask for each. */
static bool group_known(SSL_CTX *library, const char *name)
{
	bool known = SSL_CTX_set1_groups_list(library, name) == 1;

	ERR_clear_error();
	return known;
}

bool settings_groups(SSL_CTX *library, const struct slice *groups, size_t n,
		     struct slice *missing, size_t *missing_n)
{
	bool named = n > 0;
	char name[64], *list, *at;
	size_t size = 1;
	bool good;

	*missing_n = 0;
	if (!named) {
		groups = default_groups;
		n = DEFAULT_GROUPS_N;
	}
	for (size_t i = 0; i < n; i++)
		size += groups[i].len + 1;
	at = list = malloc(size);
	if (!list)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (groups[i].len < sizeof(name)) {
			*slice_append(name, groups[i]) = '\0';
			if (group_known(library, name)) {
				if (at > list)
					*at++ = ':';
				at = slice_append(at, groups[i]);
				continue;
			}
		}
		if (named)
			missing[(*missing_n)++] = groups[i];
	}
	*at = '\0';
	good = at > list && SSL_CTX_set1_groups_list(library, list) == 1;
	free(list);
	return good;
}

#include "library.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>

#include "base/check.h"
#include "heap.h"
#include "provider.h"
#include "tls/session.h"
#include "tls/warm.h"

static struct library fetched;
static bool ready;

static void fetch_all(void)
{
	heap_init();
	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS |
				     OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
				     OPENSSL_INIT_LOAD_CONFIG,
			     NULL) != 1)
		return;
	if (!provider_init())
		return;
	fetched = (struct library){
		.sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL),
		.aes_256_cbc = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL),
		.hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL),
	};
	ready = fetched.sha256 && fetched.aes_256_cbc && fetched.hkdf;
	ERR_clear_error();
}

bool tls_library_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fetch_all);
	return ready;
}

const struct library *library(void)
{
	ASSERT(tls_library_init());
	return &fetched;
}

char *library_error(char *text, size_t size)
{
	const char *reason = ERR_reason_error_string(ERR_get_error());

	snprintf(text, size, "%s", reason ? reason : "no reason given");
	ERR_clear_error();
	return text;
}

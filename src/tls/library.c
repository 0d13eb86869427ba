#include "library.h"

#include <malloc.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "schedule.h"
#include "tls/session.h"
#include "tls/warm.h"

static struct library fetched;
static bool ready;

/* Bytes that the library has allocated. Each thread adds up its own changes and passes them on in
 * portions: a handshake allocates 750 times, and on one shared counter the threads would wait for
 * each other's cache line. */
#define PORTION 16384
static atomic_llong bytes_passed_on;
static __thread int64_t bytes_here;

static void account(int64_t change)
{
	bytes_here += change;
	if (bytes_here > PORTION || bytes_here < -PORTION) {
		atomic_fetch_add_explicit(&bytes_passed_on, bytes_here,
					  memory_order_relaxed);
		bytes_here = 0;
	}
}

static __thread unsigned fail_countdown;

unsigned library_fail_at(unsigned n)
{
	unsigned left = fail_countdown;

	fail_countdown = n;
	return left;
}

static bool fails_now(void)
{
	return fail_countdown > 0 && --fail_countdown == 0;
}

static void *counted_malloc(size_t n, const char *file, int line)
{
	void *p = fails_now() ? NULL : malloc(n);

	(void)file;
	(void)line;
	if (p)
		account((int64_t)malloc_usable_size(p));
	return p;
}

static void *counted_realloc(void *p, size_t n, const char *file, int line)
{
	size_t before = p ? malloc_usable_size(p) : 0;
	void *q = fails_now() ? NULL : realloc(p, n);

	(void)file;
	(void)line;
	if (q || n == 0)
		account((int64_t)(q ? malloc_usable_size(q) : 0) - (int64_t)before);
	return q;
}

static void counted_free(void *p, const char *file, int line)
{
	(void)file;
	(void)line;
	if (p)
		account(-(int64_t)malloc_usable_size(p));
	free(p);
}

size_t tls_library_bytes(void)
{
	long long n;

	atomic_fetch_add_explicit(&bytes_passed_on, bytes_here, memory_order_relaxed);
	bytes_here = 0;
	n = atomic_load_explicit(&bytes_passed_on, memory_order_relaxed);
	/* Another thread may have freed what this one has allocated, and not passed it on yet. */
	return n > 0 ? (size_t)n : 0;
}

static void fetch_all(void)
{
	/* Refused after the library's first allocation: then nothing is counted. */
	CRYPTO_set_mem_functions(counted_malloc, counted_realloc, counted_free);
	if (OPENSSL_init_ssl(OPENSSL_INIT_LOAD_SSL_STRINGS |
				     OPENSSL_INIT_LOAD_CRYPTO_STRINGS |
				     OPENSSL_INIT_LOAD_CONFIG,
			     NULL) != 1)
		return;
	if (!schedule_init())
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

/* Each case is a process of its own, since the library reads its configuration once. */
#include "../../src/tls/provider.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/core_dispatch.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include "base/check.h"
#include "tls/warm.h"

/* The provider that an SSL_CTX like those of tls/context.c gets this algorithm from. */
static bool key_pairs_are_ours(void)
{
	EVP_KEYMGMT *k = EVP_KEYMGMT_fetch(NULL, "X25519", provider_wanted());
	bool ours = k && strcmp(OSSL_PROVIDER_get0_name(EVP_KEYMGMT_get0_provider(k)),
				"fairlead") == 0;

	EVP_KEYMGMT_free(k);
	return ours;
}

/* ---- in the child: the exit status --------------------------------------------------- */

/* Handshakes of each kind succeed; whether with code of ours. */
static int try_handshakes(bool ours)
{
	char error[256];

	if (!tls_library_init() || !tls_warm(error, sizeof(error)))
		return 2;
	return (provider_wanted() != NULL) == ours && key_pairs_are_ours() == ours ? 0
										   : 1;
}

static int fips_begin(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
		      const OSSL_DISPATCH **out, void **provider)
{
	static const OSSL_DISPATCH none[] = { { 0, NULL } };
	static char anything;

	(void)core;
	(void)in;
	*out = none;
	*provider = &anything;
	return 1;
}

/* As a configuration would have loaded the provider for FIPS; this one has nothing. */
static int try_with_fips(void)
{
	if (OSSL_PROVIDER_add_builtin(NULL, "fips", fips_begin) != 1 ||
	    !OSSL_PROVIDER_try_load(NULL, "fips", 1))
		return 2;
	return try_handshakes(false);
}

/* Nothing can be fetched then, but from a provider for FIPS. */
static int try_without_algorithms(void)
{
	return tls_library_init() || provider_wanted();
}

static int status_of(const char *case_name)
{
	if (strcmp(case_name, "system") == 0)
		return try_handshakes(true);
	return strcmp(case_name, "fips") == 0 ? try_with_fips()
					      : try_without_algorithms();
}

/* ---- tests ----------------------------------------------------------------------------- */

/* The text is that of an openssl.cnf; NULL: that of the system. */
static int status_with(const char *text, const char *case_name)
{
	char path[] = "/tmp/fairlead-test-provider-XXXXXX";
	int fd = text ? mkstemp(path) : -1, status;
	pid_t child;

	if (text)
		assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	child = fork();
	if (child == 0) {
		if (text)
			setenv("OPENSSL_CONF", path, 1);
		execl("/proc/self/exe", "test_provider", case_name, NULL);
		_exit(3);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (text) {
		close(fd);
		unlink(path);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_system(void **state)
{
	(void)state;
	assert_int_equal(status_with(NULL, "system"), 0);
}

static void test_fips(void **state)
{
	static const char text[] = "openssl_conf = init\n[init]\nalg_section = evp\n"
				   "[evp]\ndefault_properties = fips=yes\n";

	(void)state;
	assert_int_equal(status_with(NULL, "fips"), 0);
	assert_int_equal(status_with(text, "properties"), 0);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_system),
		cmocka_unit_test(test_fips),
	};

	if (argc > 1)
		_exit(status_of(argv[1])); /* the provider stays, which would be a leak */
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "provider.h"

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <strings.h>

#include "curve25519.h"
#include "schedule.h"
#include "x25519.h"

#define NAME "fairlead"

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_store)
{
	(void)provider;
	*no_store = 0;
	switch (operation) {
	case OSSL_OP_KDF:
		return schedule_kdfs;
	case OSSL_OP_KEYMGMT:
		return x25519_managers;
	}
	return NULL;
}

static int provider_capabilities(void *provider, const char *capability,
				 OSSL_CALLBACK *to, void *argument)
{
	(void)provider;
	return strcasecmp(capability, "TLS-GROUP") != 0 || to(x25519_group, argument);
}

typedef void (*function)(void);

static const OSSL_DISPATCH functions[] = {
	{ OSSL_FUNC_PROVIDER_QUERY_OPERATION, (function)provider_query },
	{ OSSL_FUNC_PROVIDER_GET_CAPABILITIES, (function)provider_capabilities },
	{ 0, NULL },
};

static int provider_begin(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
			  const OSSL_DISPATCH **out, void **provider)
{
	static char anything;

	(void)core;
	(void)in;
	*out = functions;
	*provider = &anything;
	return 1;
}

static OSSL_PROVIDER *loaded; /* as long as the process */

static bool fips_is_wanted(void)
{
	return EVP_default_properties_is_fips_enabled(NULL) ||
	       OSSL_PROVIDER_available(NULL, "fips");
}

bool provider_init(void)
{
	if (fips_is_wanted())
		return true;
	/* The library's own providers stay: it loads them by itself only as long as nobody has
	 * loaded one. */
	curve25519_init();
	if (OSSL_PROVIDER_add_builtin(NULL, NAME, provider_begin) == 1)
		loaded = OSSL_PROVIDER_try_load(NULL, NAME, 1);
	return loaded;
}

const char *provider_wanted(void)
{
	return loaded ? "?" PROVIDER_PROPERTIES : NULL;
}

#include "run/version.h"

#include <ares.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <sys/utsname.h>
#include <yaml.h>

#include "base/pattern.h"
#include "io/io.h"
#include "llhttp.h"
#include "run/worker/sandbox.h"

static void print_engine(FILE *out, enum io_engine_kind kind)
{
	char text[2048];

	io_describe(kind, text, sizeof(text));
	fprintf(out, "%s:\n%s", io_engine_name(kind), text);
}

void version_print(FILE *out)
{
	struct utsname u;
	char why[512], pcre2[64];

	pattern_library(pcre2);
	uname(&u);
	fprintf(out, "fairlead %s\n", FAIRLEAD_VERSION);
	fprintf(out,
		"libraries: liburing %s, llhttp %d.%d.%d, libyaml %s, "
		"c-ares %s, PCRE2 %s, nghttp2 %s, %s\n",
		LIBURING_VERSION, LLHTTP_VERSION_MAJOR, LLHTTP_VERSION_MINOR,
		LLHTTP_VERSION_PATCH, yaml_get_version_string(), ares_version(NULL),
		pcre2, nghttp2_version(0)->version_str, OpenSSL_version(OPENSSL_VERSION));
	fprintf(out, "kernel: %s %s %s\n", u.sysname, u.release, u.machine);
	print_engine(out, IO_ENGINE_RING);
	if (io_choose(why, sizeof(why)) != IO_ENGINE_RING)
		fprintf(out, "  refused: %s\n", why);
	print_engine(out, IO_ENGINE_EPOLL);
	fprintf(out, "sandbox:\n%s\n", sandbox_describe());
}

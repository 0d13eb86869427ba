/* Lines about certificates that expire: at each threshold once, also after a reload. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/run/worker/expiry.h"
#include "base/check.h"

#define DAY_S 86400ll
#define BEGIN_S (1800000000ll) /* 2027-01-15 */
#define PAIRS_MAX 30

static struct config_pair pairs[PAIRS_MAX];
static struct tls_certificate certificates[PAIRS_MAX];
static const struct tls_certificate *pointers[PAIRS_MAX];
static struct config config;
static struct config_version versions[2];
static struct expiry expiry;
static uint64_t now_ms;

/* Certificates of this lifetime that begin at BEGIN_S. */
static void make(unsigned n, int64_t days)
{
	static const char *const names[] = { "site.test", "*.site.test" };

	config.pairs = NULL;
	for (unsigned i = 0; i < n; i++) {
		pairs[i] = (struct config_pair){ .chain_path = "site.pem",
						 .index = i,
						 .digest = { (uint8_t)i, (uint8_t)days },
						 .next = config.pairs };
		config.pairs = &pairs[i];
		certificates[i] = (struct tls_certificate){
			.names = names,
			.names_n = 2,
			.not_before = BEGIN_S,
			.not_after = BEGIN_S + days * DAY_S,
		};
		pointers[i] = &certificates[i];
	}
	config.pair_n = n;
	for (unsigned i = 0; i < 2; i++) {
		versions[i].config = &config;
		versions[i].certificates = pointers;
	}
}

/* What is written when so many days have passed. */
static const char *said(unsigned version, double days)
{
	static char text[8192];
	FILE *file = tmpfile();
	int before = dup(STDERR_FILENO);
	size_t n;

	fflush(stderr);
	dup2(fileno(file), STDERR_FILENO);
	now_ms += EXPIRY_INTERVAL_MS;
	expiry_check(&expiry, &versions[version], now_ms,
		     (uint64_t)((double)BEGIN_S + days * DAY_S) * 1000);
	fflush(stderr);
	dup2(before, STDERR_FILENO);
	close(before);
	rewind(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = '\0';
	fclose(file);
	return text;
}

static int open_expiry(void **state)
{
	(void)state;
	expiry_init(&expiry);
	return 0;
}

static int close_expiry(void **state)
{
	(void)state;
	expiry_done(&expiry);
	return 0;
}

static void test_thresholds(void **state)
{
	static const struct {
		double days;
		const char *line;
	} rows[] = {
		{ 75.9, "" },
		{ 76, "expires in 14 days, on 2027-04-15; replace it" },
		{ 76.5, "" },
		{ 82.9, "" },
		{ 83.5, "expires in 7 days, on 2027-04-15" },
		{ 87, "expires in 3 days" },
		{ 88.9, "" },
		{ 89, "expires in 1 day, on" },
		{ 89.9, "" },
		{ 90, "has expired on 2027-04-15; replace it" },
		{ 95, "" },
	};

	(void)state;
	make(1, 90);
	for (size_t i = 0; i < COUNT(rows); i++) {
		const char *text = said(0, rows[i].days);

		if (rows[i].line[0] ? !strstr(text, rows[i].line) : text[0])
			fail_msg("day %g: %s", rows[i].days, text);
		if (text[0])
			assert_non_null(strstr(
				text, "fairlead: the certificate site.pem (site.test) "));
	}
}

/* Of a certificate for six days only the last one counts. */
static void test_short_lived(void **state)
{
	(void)state;
	make(1, 6);
	for (unsigned day = 0; day < 5; day++)
		assert_string_equal(said(0, day), "");
	assert_non_null(strstr(said(0, 5.1), "expires in 1 day"));
}

static void test_versions(void **state)
{
	(void)state;
	make(1, 90);
	assert_non_null(strstr(said(0, 80), "expires in 10 days"));
	assert_string_equal(said(1, 80), "");
	assert_string_equal(said(0, 80), "");
	pairs[0].digest[5]++; /* another certificate, which is no better */
	assert_non_null(strstr(said(1, 80), "expires in 10 days"));
	assert_int_equal(expiry.told.n, 1); /* the first one is forgotten */
	pointers[0] = NULL;                 /* an upstream's */
	assert_string_equal(said(0, 89), "");
}

static void test_many(void **state)
{
	const char *text;
	unsigned lines = 0;

	(void)state;
	make(PAIRS_MAX, 90);
	text = said(0, 80);
	for (const char *at = text; (at = strchr(at, '\n')); at++)
		lines++;
	assert_int_equal(lines, EXPIRY_LINES_MAX + 1);
	assert_non_null(strstr(text, "fairlead: 10 more certificates expire soon"));
	assert_string_equal(said(0, 80), "");
}

/* Not each second. */
static void test_interval(void **state)
{
	(void)state;
	make(1, 90);
	assert_string_equal(said(0, 1), "");
	now_ms -= EXPIRY_INTERVAL_MS / 2; /* so the next look is too early */
	assert_string_equal(said(0, 80), "");
	assert_non_null(strstr(said(0, 80), "expires in 10 days"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_expiry, close_expiry)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_thresholds), TEST(test_short_lived), TEST(test_versions),
		TEST(test_many),       TEST(test_interval),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "../../src/tls/ja4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "lib/hellos.h"

static void assert_ja4(const struct hellos *b, const char *expected)
{
	char out[JA4_BYTES + 1] = { 0 };
	struct hello h;

	assert_int_equal(hello_parse(hellos_message(b), &h), TLS_FAULT_NONE);
	assert_true(ja4_write(&h, out));
	assert_string_equal(out, expected);
}

/* The example of the specification: Chrome, with GREASE in each list. */
static void test_example(void **state)
{
	static struct hellos b;

	(void)state;
	hellos_begin(&b, 0x0303,
		     "2a2a130113021303c02bc02fc02cc030cca9cca8c013c014009c009d002f0035");
	hellos_extension(&b, 0x5a5a, "");
	hellos_extension(&b, 0x001b, "020002");
	hellos_name(&b, SLICE("example.com"));
	hellos_extension(&b, 0x0033, "0000");
	hellos_extension(&b, 0x0010, "000c 02 6832 08 687474702f312e31");
	hellos_extension(&b, 0x4469, "");
	hellos_extension(&b, 0x0017, "");
	hellos_extension(&b, 0x002d, "0101");
	hellos_extension(&b, 0x000d, "0010 0403 0804 0401 0503 0805 0501 0806 0601");
	hellos_extension(&b, 0x0005, "0100000000");
	hellos_extension(&b, 0x0023, "");
	hellos_extension(&b, 0x0012, "");
	hellos_extension(&b, 0x002b, "06 4a4a 0304 0303");
	hellos_extension(&b, 0xff01, "00");
	hellos_extension(&b, 0x000b, "0100");
	hellos_extension(&b, 0x000a, "0008 dada 001d 0017 0018");
	hellos_extension(&b, 0x0015, "00");
	hellos_extension(&b, 0xaaaa, "00");
	assert_ja4(&b, "t13d1516h2_8daaf6152771_e5627efa2ab1");
}

static void test_little(void **state)
{
	static struct hellos b;

	(void)state;
	hellos_begin(&b, 0x0302, "0a0a");
	assert_ja4(&b, "t11i000000_000000000000_000000000000");
	/* Not letters: hexadecimal. */
	hellos_begin(&b, 0x0303, "0a0a");
	hellos_extension(&b, 16, "0003 02 ab6d");
	assert_ja4(&b, "t12i0001ad_000000000000_000000000000");
	/* A version without a name; one letter. */
	hellos_begin(&b, 0x0303, "0a0a");
	hellos_extension(&b, 16, "0002 01 61");
	hellos_extension(&b, 43, "02 7f1c");
	assert_ja4(&b, "t00i0002aa_000000000000_b9a491fefe05");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_example),
		cmocka_unit_test(test_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

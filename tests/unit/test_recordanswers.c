#include "../../src/tls/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/hex.h"
#include "lib/records.h"

static struct crypt *thread;

static int setup(void **state)
{
	(void)state;
	thread = crypt_new();
	return thread ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	crypt_free(thread);
	return 0;
}

/* Seals and opens a record whose bytes are known. `keys`: before it. */
static void check_answer(const struct record_keys *keys, enum record_type type,
			 const char *plain_hex, const char *record_hex)
{
	uint8_t plain[256], record[300], out[300];
	size_t n = hex_read(plain_hex, plain, sizeof(plain));
	size_t bytes = hex_read(record_hex, record, sizeof(record));
	struct record_keys k = *keys;
	struct record_plain r;

	assert_int_equal(records_seal(&k, thread, type, plain, n, out), bytes);
	assert_memory_equal(out, record, bytes);
	assert_int_equal(k.sequence, keys->sequence + 1);
	k = *keys;
	assert_int_equal(records_open(&k, thread, record, bytes, &r), TLS_FAULT_NONE);
	assert_int_equal(r.type, type);
	assert_int_equal(r.length, n);
	assert_int_equal(r.bytes, bytes);
	assert_memory_equal(record + r.begin, plain, n);
	assert_int_equal(k.sequence, keys->sequence + 1);
}

/* ---- RFC 8448 3: Simple 1-RTT Handshake -------------------------------------------- */

static const struct trace {
	const char *secret, *key, *iv;
	struct {
		enum record_type type;
		const char *plain, *record;
	} records[4];
} traces[] = {
	{ "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
	  "dbfaa693d1762c5b666af5d950258d01",
	  "5bd3c71b836e0b76bb73265f",
	  { { RECORD_HANDSHAKE,
	      "14000020a8ec436d677634ae525ac1fcebe11a039ec17694fac6e98527b642f2edd5ce61",
	      "170303003575ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f38f80338"
	      "ac98fc46deb384bd1caeacab6867d726c40546" } } },
	{ "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
	  "17422dda596ed5d9acd890e3c63f5051",
	  "5b78923dee08579033e523d9",
	  { { RECORD_DATA,
	      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627"
	      "28292a2b2c2d2e2f3031",
	      "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b39"
	      "5bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4" },
	    { RECORD_ALERT, "0100",
	      "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3" } } },
	{ "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
	  "9f02283b6c9c07efc26bb9f2ac92e356",
	  "cf782b88dd83549aadf1e984",
	  { { RECORD_HANDSHAKE,
	      "040000c90000001efad6aac502000000b22c035d829359ee5ff7af4ec900000000262a6494dc486d"
	      "2c8a34cb33fa90bf1b0070ad3c498883c9367c09a2be785abc55cd226097a3a982117283f82a03a1"
	      "43efd3ff5dd36d64e861be7fd61d2827db279cce145077d454a3664d4e6da4d29ee03725a6a4dafc"
	      "d0fc67d2aea70529513e3da2677fa5906c5b3f7d8f92f228bda40dda721470f9fbf297b5aea61764"
	      "6fac5c03272e970727c621a79141ef5f7de6505e5bfbc388e93343694093934ae4d3570008002a00"
	      "0400000400",
	      "17030300de3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3"
	      "d11d63c758db289a015940252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9d"
	      "a773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75f7b981be63439b2999ce13064615"
	      "139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c8651"
	      "9d86cbeeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746"
	      "d6df353005f3bce18696129c8153556b3b6c6779b37bf15985684f" },
	    { RECORD_DATA,
	      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f2021222324252627"
	      "28292a2b2c2d2e2f3031",
	      "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6df"
	      "fc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d" },
	    { RECORD_ALERT, "0100",
	      "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9" } } },
};

static void test_rfc8448(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(traces); i++) {
		const struct trace *t = &traces[i];
		uint8_t secret[32], key[16], iv[12];
		struct record_keys k;

		hex_read(t->secret, secret, sizeof(secret));
		hex_read(t->key, key, sizeof(key));
		hex_read(t->iv, iv, sizeof(iv));
		assert_true(record_keys_from_secret(&k, thread, suite_find(0x1301),
						    secret, 0));
		assert_memory_equal(k.key, key, sizeof(key));
		assert_memory_equal(k.iv, iv, sizeof(iv));
		for (; t->records[k.sequence].record; k.sequence++)
			check_answer(&k, t->records[k.sequence].type,
				     t->records[k.sequence].plain,
				     t->records[k.sequence].record);
	}
}

/* ---- answers of another implementation ---------------------------------------------- */

/* "what a secret", then close_notify. Made with Python's hmac and cryptography. Secrets: 0, 1, 2,
 * …; the client's random begins with 100, the server's with 200. */
static const char data_hex[] = "77686174206120736563726574";
static const struct answer {
	uint16_t suite;
	bool client;
	unsigned updates;
	uint64_t finished; /* explicit nonce of the record 0 */
	const char *records[2];
} answers[] = {
	{ 0xc02f,
	  true,
	  0,
	  0xfffffffe,
	  { "170303002500000000ffffffff607094f23b78ae7b80fe2b91c71eb8963af41ba148394ab4e4a8178656",
	    "150303001a00000001000000002e685ea4e11c38bbd013457df1bb754d419a" } },
	{ 0xc02f,
	  false,
	  0,
	  UINT64_MAX,
	  { "17030300250000000000000000d44038a190f523dae1b5fda7436f53c9642de0c513d53e587335d0f0fd",
	    "150303001a0000000000000001410f554872e3d532c6664a4343b180952ad0" } },
	{ 0xc030,
	  true,
	  0,
	  0xfffffffe,
	  { "170303002500000000ffffffff990ca6eb2970b3e4803f9f448f8e73aed16a84cd838c3b05da7eb3c02c",
	    "150303001a000000010000000013a5b38ce6adb0d071dd477b4a71e6b7e946" } },
	{ 0xc030,
	  false,
	  0,
	  UINT64_MAX,
	  { "1703030025000000000000000007d30108bf0ace6b3dec4f5f4df050e3f8494d43a53d42c46dfe3e4d94",
	    "150303001a0000000000000001d9f939a0d3f655b2fd346fd2904746a54b05" } },
	{ 0xcca8,
	  true,
	  0,
	  5,
	  { "170303001d7839c74cb563be44f6c1f5847c9622a7e179721a915720c86ccf7fc06c",
	    "1503030012ba0ff2b4eef77c6ea8c08c0c909981d2b544" } },
	{ 0xcca8,
	  false,
	  0,
	  5,
	  { "170303001d9acd9d1508c1d8dfe6cd960d4eef385ea0ce289be2bed7996e9e1739a7",
	    "1503030012d358ddd6406bc7343a89b4c5e393d4d15775" } },
	{ 0x1302,
	  true,
	  0,
	  0,
	  { "170303001e3f5f1e48356c96f6f4a727838b4d88da50d5e1f9136825f8910149f99e9c",
	    "170303001eea791884e42f2d5a313fa8bedc5aa490042e85dbf815bb98108def894c5d" } },
	{ 0x1302,
	  true,
	  1,
	  0,
	  { "170303001e5bfdc2f3a767bf05cfac4db53dc7238de8e816e36ecfd9afd5cb8c1ebc0c",
	    "170303001eb9e0773a8d61116456dc22574ef9aeda61e30eab59371ddfbd425e2f3576" } },
	{ 0x1303,
	  true,
	  0,
	  0,
	  { "170303001ec5c60a8a27149a928a0eeaa1cfe28f7a4bb663a500298ff8974acfcdd139",
	    "170303001e7cdd54aea74de3a0eb684d7d0ea3ac4da8210e618c76cd87fa1273d11659" } },
	{ 0x1303,
	  true,
	  1,
	  0,
	  { "170303001e6563508f12c0e6e22dae86870e8e1fb5e548fa155e2931f3e1566c75b0d0",
	    "170303001e1fd22030f4957a223f544325a37778b9b8f68eb5520cde9dab0c06e62c92" } },
};

/* The keys before the first record of an answer. */
static struct record_keys answer_keys(const struct answer *a)
{
	const struct suite *suite = suite_find(a->suite);
	uint8_t secret[48], random[2][32], finished[8];
	struct record_keys client, server, *k = a->client ? &client : &server;

	for (unsigned i = 0; i < 48; i++) {
		secret[i] = (uint8_t)i;
		random[0][i % 32] = (uint8_t)(100 + i % 32);
		random[1][i % 32] = (uint8_t)(200 + i % 32);
	}
	if (suite->version == TLS_1_3) {
		assert_true(record_keys_from_secret(&client, thread, suite, secret, 0));
		for (unsigned i = 0; i < a->updates; i++) {
			client.sequence = 1000;
			assert_true(record_keys_update(&client, thread));
		}
		return client;
	}
	assert_true(record_keys_from_master(&client, &server, thread, suite, secret,
					    random[0], random[1]));
	for (unsigned i = 0; i < 8; i++)
		finished[i] = (uint8_t)(a->finished >> (56 - 8 * i));
	record_keys_continue(k, finished);
	return *k;
}

static void test_known_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++) {
		const struct answer *a = &answers[i];
		struct record_keys k = answer_keys(a);
		bool tls_1_3 = k.suite->version == TLS_1_3;

		assert_int_equal(k.sequence, tls_1_3 ? 0 : 1);
		check_answer(&k, RECORD_DATA, data_hex, a->records[0]);
		k.sequence++;
		check_answer(&k, tls_1_3 ? RECORD_DATA : RECORD_ALERT,
			     tls_1_3 ? data_hex : "0100", a->records[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc8448),
		cmocka_unit_test(test_known_answers),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

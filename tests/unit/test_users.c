/* Files of users, and the hashes of passwords in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../src/rules/password.h"
#include "../../src/rules/users.h"
#include "base/check.h"

/* Of "secret": htpasswd -B, mkpasswd, openssl passwd -5 and -6. */
#define BCRYPT "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define YESCRYPT \
	"$y$j75$F5Jx5fExrKuPp53xLKQ..1$l5YiXCKNY/N9ezall4xjJAFS/wg.kWVcFXfOzyxVn1."
#define SHA256 "$5$rounds=1000$abc$Mz4DiYKTnNKbZLo/mIp3d8Y4aQBhv3uhSwxLDy55/Y8"
#define SHA512                                                                                \
	"$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/" \
	"1GM/O6IND4WQhG."

static const char *const usable[] = {
	BCRYPT,
	"$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	"$2a$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	YESCRYPT,
	"$gy$j75$F5Jx5fExrKuPp53xLKQ..1$bgmrgn26CneQR5xZzYw0CauRM62c6nuTmzWYctqxBg7",
	SHA256,
	"$5$abcdefgh$gruCpC7VkOTspMQTTSAR8mtlO9Upms.fwqE5y16JVM.",
	SHA512,
};

static void test_methods(void **state)
{
	struct password_memory *m = password_memory_new();

	(void)state;
	assert_non_null(m);
	for (size_t i = 0; i < COUNT(usable); i++) {
		assert_null(password_hash_fault(slice_of(usable[i])));
		assert_true(password_matches(m, "secret", usable[i]));
		assert_false(password_matches(m, "secreT", usable[i]));
		assert_false(password_matches(m, "secret ", usable[i]));
		assert_false(password_matches(m, "", usable[i]));
	}
	password_memory_free(m);
}

static const struct {
	const char *hash, *fault;
} refused[] = {
	{ "$apr1$abcdefgh$LCTzVpGvvYyGoGRVvVVnM0",
	  "is MD5, which is too weak; use htpasswd -B to make another" },
	{ "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
	  "is MD5, which is too weak; use htpasswd -B to make another" },
	{ "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
	  "is SHA-1, which is too weak; use htpasswd -B to make another" },
	{ "{SSHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
	  "is SHA-1, which is too weak; use htpasswd -B to make another" },
	{ "abJnggxhB/yWI",
	  "is DES, plain text or not known; use htpasswd -B or mkpasswd to make one" },
	{ "secret",
	  "is DES, plain text or not known; use htpasswd -B or mkpasswd to make one" },
	{ "",
	  "is DES, plain text or not known; use htpasswd -B or mkpasswd to make one" },
	{ "{PLAIN}secret",
	  "is DES, plain text or not known; use htpasswd -B or mkpasswd to make one" },
	{ "*", "is that of a locked account; remove the line" },
	{ "!" BCRYPT, "is that of a locked account; remove the line" },
	/* Cut off, or more than that. */
	{ "$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIr",
	  "is not complete; use htpasswd -B to make another" },
	{ BCRYPT "W", "is not complete; use htpasswd -B to make another" },
	{ "$2y$04$", "is not complete; use htpasswd -B to make another" },
	{ "$2y$", "is not complete; use htpasswd -B to make another" },
	{ "$2y$0", "is not complete; use htpasswd -B to make another" },
	{ "$y$j75$F5Jx5fExrKuPp53xLKQ..1$l5YiXCKNY",
	  "is not complete; use htpasswd -B to make another" },
	{ "$5$rounds=1000$abc$Mz4DiYKTnNKbZLo",
	  "is not complete; use htpasswd -B to make another" },
	{ "$6$abcdefgh$", "is not complete; use htpasswd -B to make another" },
	{ "$6$", "is not complete; use htpasswd -B to make another" },
	/* More work than a request may cause. */
	{ "$2y$16$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	  "asks for more work than a request may cause; use a lower cost to make another" },
	{ "$2y$31$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW",
	  "asks for more work than a request may cause; use a lower cost to make another" },
	{ "$5$rounds=2000001$abc$Mz4DiYKTnNKbZLo/mIp3d8Y4aQBhv3uhSwxLDy55/Y8",
	  "asks for more work than a request may cause; use a lower cost to make another" },
	{ "$6$rounds=99999999999999999999$a$",
	  "asks for more work than a request may cause; use a lower cost to make another" },
	{ "$y$jET$F5Jx5fExrKuPp53xLKQ..1$l5YiXCKNY/N9ezall4xjJAFS/wg.kWVcFXfOzyxVn1.",
	  "asks for more work than a request may cause; use a lower cost to make another" },
	{ "$6$" SHA512 SHA512, "is too long; use htpasswd -B to make another" },
	{ "$y$j", "is not complete; use htpasswd -B to make another" },
};

static void test_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(refused); i++) {
		const char *fault = password_hash_fault(slice_of(refused[i].hash));

		if (!fault || strcmp(fault, refused[i].fault) != 0)
			fail_msg("%s: %s", refused[i].hash, fault ? fault : "no fault");
	}
}

/* The text ends at memory that cannot be read past by accident: asan. */
static bool read_text(struct users *u, struct arena *memory, const char *text,
		      struct users_fault *fault)
{
	size_t n = strlen(text);
	char *copy = arena_copy(memory, text, n);

	return users_read(u, (struct slice){ copy, n }, memory, fault);
}

static void test_file(void **state)
{
	struct arena memory = { 0 };
	struct users u;
	struct users_fault fault;

	(void)state;
	assert_true(read_text(&u, &memory,
			      "# staff\n\nzoe:" BCRYPT ":a comment\r\nbob:" SHA512 "\n"
			      "Bob:" SHA256 "\nbo:" YESCRYPT,
			      &fault));
	assert_int_equal(u.n, 4);
	assert_true(slice_equal(users_find(&u, SLICE("zoe"))->hash, SLICE(BCRYPT)));
	assert_true(slice_equal(users_find(&u, SLICE("bob"))->hash, SLICE(SHA512)));
	assert_true(slice_equal(users_find(&u, SLICE("Bob"))->hash, SLICE(SHA256)));
	assert_true(slice_equal(users_find(&u, SLICE("bo"))->hash, SLICE(YESCRYPT)));
	assert_null(users_find(&u, SLICE("")));
	assert_null(users_find(&u, SLICE("b")));
	assert_null(users_find(&u, SLICE("zoeX")));
	assert_null(users_find(&u, SLICE("# staff")));
	for (uint64_t i = 0; i < 100; i++)
		assert_ptr_equal(users_any(&u, i), &u.all[i % 4]);
	arena_free(&memory);
}

#define NAME_FAULT \
	"the name is empty, longer than 255 bytes or has control characters; write NAME:HASH"

static const struct {
	const char *text;
	unsigned line;
	const char *fault;
} faulty[] = {
	{ "", 1, "the file has no users; run htpasswd -B to add one" },
	{ "# nobody\n", 1, "the file has no users; run htpasswd -B to add one" },
	{ "a:" BCRYPT "\nsecret\n", 2, "there is no ':' in it; write NAME:HASH" },
	{ "\n\n:" BCRYPT "\n", 3, NAME_FAULT },
	{ "a\tb:" BCRYPT "\n", 1, NAME_FAULT },
	{ "a:" BCRYPT "\nb:$apr1$x$y\n", 2,
	  "the hash of 'b' is MD5, which is too weak; use htpasswd -B to make another" },
	{ "a:" BCRYPT "\nb:" BCRYPT "\n#\na:" SHA256 "\n", 4,
	  "'a' is there already; remove one of the two" },
};

static void test_faulty(void **state)
{
	struct arena memory = { 0 };
	struct users u;
	struct users_fault fault;

	(void)state;
	for (size_t i = 0; i < COUNT(faulty); i++) {
		assert_false(read_text(&u, &memory, faulty[i].text, &fault));
		if (fault.line != faulty[i].line ||
		    strcmp(fault.text, faulty[i].fault) != 0)
			fail_msg("%zu: line %u: %s", i, fault.line, fault.text);
	}
	arena_free(&memory);
}

static void test_many(void **state)
{
	struct arena memory = { 0 };
	char *text = arena_alloc(&memory, 8000000), *at = text, name[32];
	struct users u;
	struct users_fault fault;

	(void)state;
	for (unsigned i = 0; i < USERS_MAX - 1; i++)
		at += sprintf(at, "user%u:" SHA256 "\n", i * 7919 % (USERS_MAX - 1));
	assert_true(users_read(&u, (struct slice){ text, (size_t)(at - text) }, &memory,
			       &fault));
	for (unsigned i = 0; i < USERS_MAX - 1; i += 997) {
		snprintf(name, sizeof(name), "user%u", i);
		assert_non_null(users_find(&u, slice_of(name)));
	}
	assert_null(users_find(&u, SLICE("user")));
	at += sprintf(at, "x:" SHA256 "\n");
	assert_false(users_read(&u, (struct slice){ text, (size_t)(at - text) }, &memory,
				&fault));
	assert_string_equal(
		fault.text,
		"the file has more than 100000 lines; move some to another one");
	arena_free(&memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_methods), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_file),    cmocka_unit_test(test_faulty),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

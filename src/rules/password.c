#include "password.h"

#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* Each step doubles the time: with 10 a password takes about 50 ms, with 14 about a second. */
#define BCRYPT_COST_MAX 15
#define SHA_ROUNDS_MAX 2000000u
/* The second character of yescrypt's and scrypt's parameters: with 'D' 128 to 256 MiB. */
#define YESCRYPT_COST_MAX 'D'

struct password_memory {
	struct crypt_data data;
};

struct hash_method {
	struct slice prefix;
	size_t result_bytes; /* behind the last "$" */
	const char *(*cost_fault)(struct slice parameters);
};

static const char too_costly[] =
	"asks for more work than a request may cause; use a lower cost to make another";

/* "10$…" */
static const char *bcrypt_fault(struct slice s)
{
	unsigned cost;

	if (s.len < 3 || s.ptr[0] < '0' || s.ptr[0] > '3' || s.ptr[1] < '0' ||
	    s.ptr[1] > '9')
		return "is not complete; use htpasswd -B to make another";
	cost = (unsigned)(s.ptr[0] - '0') * 10 + (unsigned)(s.ptr[1] - '0');
	return cost > BCRYPT_COST_MAX ? too_costly : NULL;
}

/* "rounds=5000$…" or a salt */
static const char *sha_fault(struct slice s)
{
	const struct slice key = SLICE("rounds=");
	uint64_t rounds = 0;

	if (!slice_starts(s, key))
		return NULL;
	s = slice_after(s, key.len);
	for (size_t i = 0; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9' && i < 12; i++)
		rounds = rounds * 10 + (uint64_t)(s.ptr[i] - '0');
	return rounds > SHA_ROUNDS_MAX ? too_costly : NULL;
}

/* "j9T$…": the second character is the memory, in the order of "./0…9A…Z". */
static const char *yescrypt_fault(struct slice s)
{
	return s.len > 2 && s.ptr[1] > YESCRYPT_COST_MAX ? too_costly : NULL;
}

/* "CU..../....SALT$": the first character. */
static const char *scrypt_fault(struct slice s)
{
	return s.len > 1 && s.ptr[0] > YESCRYPT_COST_MAX ? too_costly : NULL;
}

static const struct hash_method methods[] = {
	{ { "$2y$", 4 }, 53, bcrypt_fault },   { { "$2b$", 4 }, 53, bcrypt_fault },
	{ { "$2a$", 4 }, 53, bcrypt_fault },   { { "$5$", 3 }, 43, sha_fault },
	{ { "$6$", 3 }, 86, sha_fault },       { { "$y$", 3 }, 43, yescrypt_fault },
	{ { "$gy$", 4 }, 43, yescrypt_fault }, { { "$7$", 3 }, 43, scrypt_fault },
};

static const struct hash_method *hash_method_of(struct slice hash)
{
	for (size_t i = 0; i < COUNT(methods); i++)
		if (slice_starts(hash, methods[i].prefix))
			return &methods[i];
	return NULL;
}

/* What a hash is whose method is not among these. */
static const char *other_fault(struct slice hash)
{
	if (slice_starts(hash, SLICE("$apr1$")) || slice_starts(hash, SLICE("$1$")))
		return "is MD5, which is too weak; use htpasswd -B to make another";
	if (slice_starts(hash, SLICE("{SHA}")) || slice_starts(hash, SLICE("{SSHA}")))
		return "is SHA-1, which is too weak; use htpasswd -B to make another";
	if (slice_starts(hash, SLICE("!")) || slice_starts(hash, SLICE("*")))
		return "is that of a locked account; remove the line";
	return "is DES, plain text or not known; use htpasswd -B or mkpasswd to make one";
}

const char *password_hash_fault(struct slice hash)
{
	const struct hash_method *m = hash_method_of(hash);
	const char *last = hash.len > 0 ? memrchr(hash.ptr, '$', hash.len) : NULL, *fault;
	char text[PASSWORD_HASH_MAX + 1];

	if (!m)
		return other_fault(hash);
	if (hash.len > PASSWORD_HASH_MAX)
		return "is too long; use htpasswd -B to make another";
	fault = m->cost_fault(slice_after(hash, m->prefix.len));
	if (fault)
		return fault;
	memcpy(text, hash.ptr, hash.len);
	text[hash.len] = '\0';
	if ((size_t)(hash.ptr + hash.len - last - 1) != m->result_bytes ||
	    strlen(text) != hash.len || crypt_checksalt(text) == CRYPT_SALT_INVALID)
		return "is not complete; use htpasswd -B to make another";
	return NULL;
}

struct password_memory *password_memory_new(void)
{
	return calloc(1, sizeof(struct password_memory));
}

void password_memory_free(struct password_memory *m)
{
	free(m);
}

bool password_matches(struct password_memory *m, const char *password, const char *hash)
{
	const char *result = crypt_rn(password, hash, &m->data, sizeof(m->data));
	size_t n = strlen(hash);
	bool same = result && strlen(result) == n;
	unsigned char differing = 0;

	for (size_t i = 0; same && i < n; i++)
		differing |= (unsigned char)(result[i] ^ hash[i]);
	explicit_bzero(&m->data, sizeof(m->data));
	return same && differing == 0;
}

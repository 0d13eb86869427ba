#include "record.h"

#include <string.h>

#include <openssl/crypto.h>

#define VERSION 0x0303 /* of every record after the handshake */
#define SALT_BYTES 4
#define AAD_MAX 13

static void put64(uint8_t *at, uint64_t n)
{
	for (unsigned i = 0; i < 8; i++)
		at[i] = (uint8_t)(n >> (56 - 8 * i));
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < 8; i++)
		n = n << 8 | at[i];
	return n;
}

static bool has_explicit_nonce(const struct record_keys *k)
{
	return record_head_bytes(k) == RECORD_HEAD_MAX;
}

/* ---- keys ----------------------------------------------------------------------- */

bool record_keys_from_secret(struct record_keys *k, struct crypt *c,
			     const struct suite *suite, const uint8_t *secret,
			     uint64_t sequence)
{
	ASSERT(suite->version == TLS_1_3);
	*k = (struct record_keys){ .sequence = sequence, .suite = suite };
	memcpy(k->secret, secret, suite->secret_bytes);
	if (crypt_expand_label(c, suite, secret, "key", k->key, suite->key_bytes) &&
	    crypt_expand_label(c, suite, secret, "iv", k->iv, sizeof(k->iv)))
		return true;
	record_keys_done(k, c);
	return false;
}

/* RFC 5246 6.3. AEAD ciphers have no keys for a MAC; GCM takes 4 bytes of IV (RFC 5288 3),
 * ChaCha20 all 12 (RFC 7905 2). */
bool record_keys_from_master(struct record_keys *client, struct record_keys *server,
			     struct crypt *c, const struct suite *suite,
			     const uint8_t master[48], const uint8_t client_random[32],
			     const uint8_t server_random[32])
{
	size_t key = suite->key_bytes;
	size_t iv = suite->cipher == CRYPT_CHACHA20_POLY1305 ? CRYPT_NONCE_BYTES
							     : SALT_BYTES;
	uint8_t seed[64], block[2 * (CRYPT_KEY_MAX + CRYPT_NONCE_BYTES)];
	bool ok;

	ASSERT(suite->version == TLS_1_2);
	memcpy(seed, server_random, 32);
	memcpy(seed + 32, client_random, 32);
	*client = *server = (struct record_keys){ .sequence = 1, .suite = suite };
	ok = crypt_prf(c, suite, master, "key expansion", seed, sizeof(seed), block,
		       2 * (key + iv));
	if (ok) {
		memcpy(client->key, block, key);
		memcpy(server->key, block + key, key);
		memcpy(client->iv, block + 2 * key, iv);
		memcpy(server->iv, block + 2 * key + iv, iv);
	}
	OPENSSL_cleanse(block, sizeof(block));
	return ok;
}

void record_keys_continue(struct record_keys *k, const uint8_t finished[8])
{
	if (has_explicit_nonce(k))
		memcpy(k->iv + SALT_BYTES, finished, 8);
}

bool record_keys_update(struct record_keys *k, struct crypt *c)
{
	uint8_t next[CRYPT_SECRET_MAX];
	bool ok = crypt_expand_label(c, k->suite, k->secret, "traffic upd", next,
				     k->suite->secret_bytes) &&
		  record_keys_from_secret(k, c, k->suite, next, 0);

	OPENSSL_cleanse(next, sizeof(next));
	return ok;
}

void record_keys_done(struct record_keys *k, struct crypt *c)
{
	if (k->suite)
		crypt_forget(c, k->suite->cipher);
	OPENSSL_cleanse(k, sizeof(*k));
}

/* ---- nonces --------------------------------------------------------------------- */

/* The number of the next record. It is used up, whatever comes of the record: a nonce is never
 * used twice. False: there is no other (RFC 8446 5.3). */
static bool sequence_next(struct record_keys *k, uint64_t *sequence)
{
	if (k->sequence == UINT64_MAX)
		return false;
	*sequence = k->sequence++;
	return true;
}

/* RFC 8446 5.3, RFC 7905 2: the IV and the sequence number, by exclusive or. */
static void nonce_implicit(const struct record_keys *k, uint64_t sequence,
			   uint8_t nonce[CRYPT_NONCE_BYTES])
{
	memcpy(nonce, k->iv, SALT_BYTES);
	put64(nonce + SALT_BYTES, get64(k->iv + SALT_BYTES) ^ sequence);
}

/* RFC 5288 3: the salt and an explicit part, which need only be unique. */
static void nonce_explicit(const struct record_keys *k, const uint8_t explicit_part[8],
			   uint8_t nonce[CRYPT_NONCE_BYTES])
{
	memcpy(nonce, k->iv, SALT_BYTES);
	memcpy(nonce + SALT_BYTES, explicit_part, 8);
}

/* RFC 8446 5.2: the header. RFC 5246 6.2.3.3: sequence number, and a header that has the length
 * of the plaintext. */
static size_t additional_data(const struct record_keys *k, uint64_t sequence,
			      const uint8_t header[RECORD_HEADER_BYTES], uint32_t plain,
			      uint8_t aad[AAD_MAX])
{
	if (k->suite->version == TLS_1_3) {
		memcpy(aad, header, RECORD_HEADER_BYTES);
		return RECORD_HEADER_BYTES;
	}
	put64(aad, sequence);
	memcpy(aad + 8, header, 3);
	aad[11] = (uint8_t)(plain >> 8);
	aad[12] = (uint8_t)plain;
	return AAD_MAX;
}

/* ---- in ------------------------------------------------------------------------- */

/* What a record has besides its header and its plaintext; TLS 1.3: with the inner type, without
 * padding. */
static uint32_t expansion(const struct record_keys *k)
{
	return record_head_bytes(k) - RECORD_HEADER_BYTES + record_tail_bytes(k);
}

enum tls_fault record_header(const struct record_keys *k,
			     const uint8_t header[RECORD_HEADER_BYTES], uint32_t *bytes)
{
	uint32_t length = (uint32_t)header[3] << 8 | header[4];

	if (k->suite->version == TLS_1_3) {
		/* legacy_record_version is ignored (RFC 8446 5.1); it is authenticated. */
		if (header[0] != RECORD_DATA)
			return TLS_FAULT_MESSAGE;
	} else {
		if (header[1] != VERSION >> 8 || header[2] != (VERSION & 0xff))
			return TLS_FAULT_NOT_TLS;
		if (header[0] < RECORD_ALERT || header[0] > RECORD_DATA)
			return TLS_FAULT_MESSAGE;
	}
	/* Padding does not raise the limit (RFC 8446 5.4), so this is below the 2^14 + 256
	 * of RFC 8446 5.2 and the 2^14 + 2048 of RFC 5246 6.2.3. */
	if (length > RECORD_PLAIN_MAX + expansion(k))
		return TLS_FAULT_RECORD_LARGE;
	if (length < expansion(k))
		return TLS_FAULT_RECORD_AUTHENTICATION;
	*bytes = RECORD_HEADER_BYTES + length;
	return TLS_FAULT_NONE;
}

/* A place in a vector. */
struct record_cursor {
	const struct iovec *iov;
	const struct iovec *end;
	size_t offset; /* in *iov */
};

/* The next contiguous bytes, n at most, 1 at least; moves behind them. */
static struct iovec cursor_next(struct record_cursor *at, size_t n)
{
	struct iovec part;

	for (;; at->iov++, at->offset = 0) {
		ASSERT(at->iov < at->end);
		if (at->iov->iov_len > at->offset)
			break;
	}
	part = (struct iovec){ (char *)at->iov->iov_base + at->offset,
			       at->iov->iov_len - at->offset };
	if (part.iov_len > n)
		part.iov_len = n;
	at->offset += part.iov_len;
	return part;
}

static void cursor_copy(struct record_cursor *at, uint8_t *to, size_t n)
{
	while (n > 0) {
		struct iovec part = cursor_next(at, n);

		memcpy(to, part.iov_base, part.iov_len);
		to += part.iov_len;
		n -= part.iov_len;
	}
}

static bool cursor_open(struct record_cursor *at, struct crypt *c, size_t n)
{
	while (n > 0) {
		struct iovec part = cursor_next(at, n);

		if (!crypt_update(c, part.iov_base, part.iov_base, part.iov_len))
			return false;
		n -= part.iov_len;
	}
	return true;
}

static void cursor_wipe(struct record_cursor at, size_t n)
{
	while (n > 0) {
		struct iovec part = cursor_next(&at, n);

		memset(part.iov_base, 0, part.iov_len);
		n -= part.iov_len;
	}
}

/* The last byte of [begin, end) that is not 0: the inner type, behind which there is padding
 * (RFC 8446 5.4). Returns where it is; *type = 0: there is none. */
static size_t find_type(const struct iovec *iov, size_t begin, size_t end, uint8_t *type)
{
	size_t base = 0; /* of *iov */

	for (; base + iov->iov_len < end; iov++)
		base += iov->iov_len;
	*type = 0;
	for (; end > begin; end--) {
		while (end <= base)
			base -= (--iov)->iov_len;
		*type = ((const uint8_t *)iov->iov_base)[end - 1 - base];
		if (*type != 0)
			return end - 1;
	}
	return begin;
}

/* Decrypts `plain` bytes in place and verifies the tag behind them. */
static enum tls_fault open_in_place(struct record_keys *k, struct crypt *c,
				    const uint8_t header[RECORD_HEADER_BYTES],
				    struct record_cursor *at, uint32_t plain)
{
	uint8_t nonce[CRYPT_NONCE_BYTES], aad[AAD_MAX], tag[CRYPT_TAG_BYTES];
	struct record_cursor begin;
	uint64_t sequence;
	size_t aad_bytes;

	if (!sequence_next(k, &sequence))
		return TLS_FAULT_LIBRARY;
	if (has_explicit_nonce(k)) {
		uint8_t explicit_part[8];

		cursor_copy(at, explicit_part, sizeof(explicit_part));
		nonce_explicit(k, explicit_part, nonce);
	} else {
		nonce_implicit(k, sequence, nonce);
	}
	aad_bytes = additional_data(k, sequence, header, plain, aad);
	begin = *at;
	if (crypt_begin(c, k->suite->cipher, CRYPT_OPEN, k->key, nonce, aad, aad_bytes) &&
	    cursor_open(at, c, plain)) {
		cursor_copy(at, tag, sizeof(tag));
		if (crypt_end_open(c, tag))
			return TLS_FAULT_NONE;
	}
	cursor_wipe(begin, plain);
	return TLS_FAULT_RECORD_AUTHENTICATION;
}

enum tls_fault record_open(struct record_keys *k, struct crypt *c,
			   const struct iovec *iov, unsigned n, struct record_plain *r)
{
	struct record_cursor at = { iov, iov + n, 0 };
	uint8_t header[RECORD_HEADER_BYTES], type;
	size_t begin = record_head_bytes(k), end;
	enum tls_fault fault;
	uint32_t bytes;

	cursor_copy(&at, header, sizeof(header));
	fault = record_header(k, header, &bytes);
	if (fault)
		return fault;
	end = bytes - CRYPT_TAG_BYTES;
	fault = open_in_place(k, c, header, &at, (uint32_t)(end - begin));
	if (fault)
		return fault;
	type = header[0];
	if (k->suite->version == TLS_1_3)
		end = find_type(iov, begin, end, &type);
	ASSERT(end - begin <= RECORD_PLAIN_MAX);
	if (type < RECORD_ALERT || type > RECORD_DATA ||
	    (end == begin && type != RECORD_DATA))
		return TLS_FAULT_MESSAGE;
	*r = (struct record_plain){
		.type = type,
		.begin = (uint16_t)begin,
		.length = (uint16_t)(end - begin),
		.bytes = bytes,
	};
	return TLS_FAULT_NONE;
}

/* ---- out ------------------------------------------------------------------------ */

static uint32_t parts_bytes(const struct record_part *parts, unsigned n)
{
	uint32_t bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		ASSERT(parts[i].len <= RECORD_PLAIN_MAX - bytes);
		bytes += parts[i].len;
	}
	return bytes;
}

static void header_write(const struct record_keys *k, enum record_type type,
			 uint32_t plain, uint8_t *head)
{
	uint32_t length = plain + expansion(k);

	head[0] = (uint8_t)(k->suite->version == TLS_1_3 ? RECORD_DATA : type);
	head[1] = VERSION >> 8;
	head[2] = VERSION & 0xff;
	head[3] = (uint8_t)(length >> 8);
	head[4] = (uint8_t)length;
}

static bool seal_parts(struct record_keys *k, struct crypt *c, enum record_type type,
		       const struct record_part *parts, unsigned n, uint8_t *tail)
{
	for (unsigned i = 0; i < n; i++)
		if (parts[i].len > 0 &&
		    !crypt_update(c, parts[i].from, parts[i].to, parts[i].len))
			return false;
	if (k->suite->version == TLS_1_3) {
		tail[0] = (uint8_t)type;
		if (!crypt_update(c, tail, tail, 1))
			return false;
		tail++;
	}
	return crypt_end_seal(c, tail);
}

bool record_seal(struct record_keys *k, struct crypt *c, enum record_type type,
		 const struct record_part *parts, unsigned n, uint8_t *head,
		 uint8_t *tail)
{
	uint8_t nonce[CRYPT_NONCE_BYTES], aad[AAD_MAX];
	uint32_t plain = parts_bytes(parts, n);
	uint64_t sequence;
	size_t aad_bytes;

	ASSERT(plain > 0 || type == RECORD_DATA);
	if (!sequence_next(k, &sequence))
		goto fail;
	header_write(k, type, plain, head);
	if (has_explicit_nonce(k)) {
		put64(head + RECORD_HEADER_BYTES, get64(k->iv + SALT_BYTES) + sequence);
		nonce_explicit(k, head + RECORD_HEADER_BYTES, nonce);
	} else {
		nonce_implicit(k, sequence, nonce);
	}
	aad_bytes = additional_data(k, sequence, head, plain, aad);
	if (crypt_begin(c, k->suite->cipher, CRYPT_SEAL, k->key, nonce, aad, aad_bytes) &&
	    seal_parts(k, c, type, parts, n, tail))
		return true;
fail:
	for (unsigned i = 0; i < n; i++)
		if (parts[i].len > 0)
			memset(parts[i].to, 0, parts[i].len);
	return false;
}

/* TLS records, beside the library's. An input is a suite, which end is ours, and operations. A
 * client and a server of the library make a handshake. Then our records take the place of one of
 * them, in step with it: what both seal is the same bytes, and what both open is the same
 * plaintext, over key updates, until a record is changed: then both refuse it. */
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "lib/fuzz.h"
#include "lib/records.h"
#include "lib/tlspair.h"

static const uint16_t suites[] = { 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02c, 0xcca9 };

#define SPARE 64

struct both {
	struct tlspair pair;
	struct crypt *crypt;
	struct record_keys out, in; /* ours */
	struct record_keys check;   /* what the other end has to open our records */
	SSL *twin, *other;          /* the end that ours stands beside; the other one */
	enum tlspair_end end;       /* of the twin */
};

static uint8_t plain[RECORD_PLAIN_MAX], record[RECORD_BYTES_MAX + SPARE];
static uint8_t theirs[RECORD_BYTES_MAX + SPARE], opened[RECORD_BYTES_MAX];

/* A length: mostly short, and each limit. */
static size_t draw_length(struct fuzz *f)
{
	static const size_t special[] = {
		1, 2, 15, 16, 17, 255, 256, 16382, 16383, 16384
	};
	unsigned octet = fuzz_octet(f);

	if (octet < COUNT(special))
		return special[octet];
	return octet < 200 ? octet : 1 + fuzz_octet(f) * 64;
}

/* Fills the plaintext from the input and a pattern. */
static void draw_plain(struct fuzz *f, size_t n)
{
	unsigned octet = fuzz_octet(f);

	for (size_t i = 0; i < n; i++)
		plain[i] = (uint8_t)(octet + i * 7);
}

/* Seals as records in parts, some in place and some out of place, and puts them together. */
static size_t seal_in_parts(struct both *b, struct fuzz *f, enum record_type type,
			    size_t n)
{
	static uint8_t in_place[RECORD_PLAIN_MAX];
	unsigned head = record_head_bytes(&b->out), parts_n = 0;
	struct record_part parts[8];
	size_t at = 0;

	memcpy(in_place, plain, n);
	while (at < n) {
		size_t part = parts_n == 7 ? n - at : 1 + fuzz_octet(f) * n / 256;

		if (part > n - at)
			part = n - at;
		if (fuzz_octet(f) % 2)
			parts[parts_n++] = (struct record_part){ in_place + at,
								 in_place + at,
								 (uint32_t)part };
		else
			parts[parts_n++] = (struct record_part){ plain + at,
								 record + head + at,
								 (uint32_t)part };
		at += part;
	}
	ASSERT(record_seal(&b->out, b->crypt, type, parts, parts_n, record,
			   record + head + n));
	at = 0;
	for (unsigned i = 0; i < parts_n; at += parts[i++].len)
		if (parts[i].to == in_place + at)
			memcpy(record + head + at, in_place + at, parts[i].len);
	return head + n + record_tail_bytes(&b->out);
}

/* Opens a record that is cut in places of the input. */
static enum tls_fault open_in_parts(struct record_keys *k, struct crypt *crypt,
				    struct fuzz *f, const uint8_t *bytes, size_t n,
				    struct record_plain *r)
{
	char *parts[8];
	struct iovec iov[8] = { { NULL, 0 } };
	enum tls_fault fault;
	unsigned parts_n = 0;
	size_t at = 0;

	while (at < n) {
		size_t part = parts_n == 7 ? n - at
					   : 1 + fuzz_octet(f) * (n < 64 ? 1 : n / 64);

		if (part > n - at)
			part = n - at;
		parts[parts_n] = malloc(part);
		memcpy(parts[parts_n], bytes + at, part);
		iov[parts_n] = (struct iovec){ parts[parts_n], part };
		parts_n++;
		at += part;
	}
	fault = record_open(k, crypt, iov, parts_n, r);
	at = 0;
	for (unsigned i = 0; i < parts_n; i++) {
		memcpy(opened + at, parts[i], iov[i].iov_len);
		at += iov[i].iov_len;
		free(parts[i]);
	}
	return fault;
}

static void expect_read(SSL *ssl, size_t n)
{
	static uint8_t out[RECORD_PLAIN_MAX];

	ASSERT(SSL_read(ssl, out, sizeof(out)) == (int)n && memcmp(out, plain, n) == 0);
	ASSERT(ERR_peek_error() == 0);
}

/* Both seal the same; the other end reads it. */
static void both_send(struct both *b, struct fuzz *f)
{
	size_t n = draw_length(f), bytes;

	draw_plain(f, n);
	bytes = seal_in_parts(b, f, RECORD_DATA, n);
	ASSERT(SSL_write(b->twin, plain, (int)n) == (int)n);
	ASSERT(tlspair_take(&b->pair, b->end, theirs, sizeof(theirs)) == bytes);
	ASSERT(memcmp(record, theirs, bytes) == 0);
	tlspair_give(&b->pair, !b->end, record, bytes);
	expect_read(b->other, n);
	b->check = b->out;
}

/* Takes one record that the other end has sent, and opens it twice. */
static struct record_plain take_record(struct both *b, struct fuzz *f)
{
	size_t n = tlspair_take(&b->pair, !b->end, theirs, RECORD_HEADER_BYTES);
	struct record_plain r;
	uint32_t bytes;

	ASSERT(n == RECORD_HEADER_BYTES);
	ASSERT(record_header(&b->in, theirs, &bytes) == TLS_FAULT_NONE);
	ASSERT(tlspair_take(&b->pair, !b->end, theirs + n, bytes - n) == bytes - n);
	tlspair_give(&b->pair, b->end, theirs, bytes);
	ASSERT(open_in_parts(&b->in, b->crypt, f, theirs, bytes, &r) == TLS_FAULT_NONE);
	ASSERT(r.bytes == bytes);
	return r;
}

/* The other end sends; both read the same. Key updates that it was asked for come first. */
static void both_receive(struct both *b, struct fuzz *f)
{
	static const uint8_t key_update[] = { 24, 0, 0, 1 };
	size_t n = draw_length(f);
	struct record_plain r;

	draw_plain(f, n);
	ASSERT(SSL_write(b->other, plain, (int)n) == (int)n);
	r = take_record(b, f);
	while (r.type == RECORD_HANDSHAKE) {
		ASSERT(r.length == 5 && memcmp(opened + r.begin, key_update, 4) == 0);
		ASSERT(record_keys_update(&b->in, b->crypt));
		r = take_record(b, f);
	}
	ASSERT(r.type == RECORD_DATA && r.length == n);
	ASSERT(memcmp(opened + r.begin, plain, n) == 0);
	expect_read(b->twin, n);
}

/* TLS 1.3: both change their keys, and may ask the other end to do so, which it does at once. */
static void both_update(struct both *b, bool requested)
{
	uint8_t message[] = { 24, 0, 0, 1, requested }, nothing;
	size_t bytes;

	if (b->out.suite->version != TLS_1_3)
		return;
	bytes = records_seal(&b->out, b->crypt, RECORD_HANDSHAKE, message,
			     sizeof(message), record);
	ASSERT(SSL_key_update(b->twin, requested ? SSL_KEY_UPDATE_REQUESTED
						 : SSL_KEY_UPDATE_NOT_REQUESTED));
	ASSERT(SSL_do_handshake(b->twin) == 1);
	ASSERT(tlspair_take(&b->pair, b->end, theirs, sizeof(theirs)) == bytes);
	ASSERT(memcmp(record, theirs, bytes) == 0);
	ASSERT(record_keys_update(&b->out, b->crypt));
	tlspair_give(&b->pair, !b->end, record, bytes);
	ASSERT(SSL_read(b->other, &nothing, 1) < 0);
	ERR_clear_error();
	b->check = b->out;
}

/* TLS 1.3: plaintext with padding, which the library does not make. */
static size_t seal_padded(struct both *b, size_t n, size_t padding)
{
	uint8_t nonce[CRYPT_NONCE_BYTES];
	size_t inner = n + 1 + padding, length = inner + CRYPT_TAG_BYTES;

	memcpy(nonce, b->out.iv, sizeof(nonce));
	for (unsigned i = 0; i < 8; i++)
		nonce[11 - i] ^= (uint8_t)(b->out.sequence >> 8 * i);
	b->out.sequence++;
	memcpy(record, (uint8_t[]){ 23, 3, 3, (uint8_t)(length >> 8), (uint8_t)length },
	       5);
	memcpy(record + 5, plain, n);
	record[5 + n] = RECORD_DATA;
	memset(record + 6 + n, 0, padding);
	ASSERT(crypt_begin(b->crypt, b->out.suite->cipher, CRYPT_SEAL, b->out.key, nonce,
			   record, 5));
	ASSERT(crypt_update(b->crypt, record + 5, record + 5, inner));
	ASSERT(crypt_end_seal(b->crypt, record + 5 + inner));
	return 5 + length;
}

/* The last operation: padding, as much as fits. */
static void send_padded(struct both *b, struct fuzz *f)
{
	size_t n = draw_length(f), padding = draw_length(f), bytes;
	struct record_plain r;

	if (padding > RECORD_PLAIN_MAX - n)
		padding = RECORD_PLAIN_MAX - n;
	draw_plain(f, n);
	bytes = seal_padded(b, n, padding);
	tlspair_give(&b->pair, !b->end, record, bytes);
	expect_read(b->other, n);
	ASSERT(open_in_parts(&b->check, b->crypt, f, record, bytes, &r) ==
	       TLS_FAULT_NONE);
	ASSERT(r.type == RECORD_DATA && r.length == n &&
	       memcmp(opened + r.begin, plain, n) == 0);
}

/* The last operation: bytes of a record are changed. Neither accepts it, if the length still lets
 * it be whole; nothing of the plaintext is left. */
static void send_changed(struct both *b, struct fuzz *f)
{
	size_t n = draw_length(f), bytes;
	unsigned head = record_head_bytes(&b->out);
	struct record_plain r = { .type = 0 };
	enum tls_fault fault;
	uint32_t whole = 0;
	uint8_t nothing;
	bool refused;

	draw_plain(f, n);
	bytes = records_seal(&b->out, b->crypt, RECORD_DATA, plain, n, record);
	memcpy(theirs, record, bytes);
	do {
		size_t at = (fuzz_octet(f) << 8 | fuzz_octet(f)) % bytes;

		record[at] ^= (uint8_t)(fuzz_octet(f) | 1);
	} while (fuzz_octet(f) % 4 == 3);
	if (memcmp(theirs, record, bytes) == 0)
		return;
	tlspair_give(&b->pair, !b->end, record, bytes);
	ASSERT(SSL_read(b->other, &nothing, 1) <= 0);
	refused = SSL_get_error(b->other, -1) == SSL_ERROR_SSL;
	fault = record_header(&b->check, record, &whole);
	if (!fault && whole <= bytes) {
		fault = open_in_parts(&b->check, b->crypt, f, record, bytes, &r);
		ASSERT(fault == TLS_FAULT_RECORD_AUTHENTICATION && r.type == 0);
		for (size_t i = head; i < whole - CRYPT_TAG_BYTES; i++)
			ASSERT(opened[i] == 0 || i >= whole);
	}
	/* A record that is not whole yet may be refused or waited for: the two look at version,
	 * type and padding at different times. */
	if (RECORD_HEADER_BYTES + (size_t)(record[3] << 8 | record[4]) <= bytes)
		ASSERT(refused && fault != TLS_FAULT_NONE);
	ERR_clear_error();
}

/* The last operation: close_notify. */
static void both_shut(struct both *b)
{
	uint8_t nothing;
	size_t bytes = records_seal(&b->out, b->crypt, RECORD_ALERT, "\1", 2, record);

	ASSERT(SSL_shutdown(b->twin) == 0);
	ASSERT(tlspair_take(&b->pair, b->end, theirs, sizeof(theirs)) == bytes);
	ASSERT(memcmp(record, theirs, bytes) == 0);
	tlspair_give(&b->pair, !b->end, record, bytes);
	ASSERT(SSL_read(b->other, &nothing, 1) <= 0);
	ASSERT(SSL_get_shutdown(b->other) & SSL_RECEIVED_SHUTDOWN);
}

/* False: it was the last one. */
static bool operate(struct both *b, struct fuzz *f)
{
	switch (fuzz_octet(f) % 8) {
	case 0:
	case 1:
		both_send(b, f);
		return true;
	case 2:
	case 3:
		both_receive(b, f);
		return true;
	case 4:
		both_update(b, fuzz_octet(f) % 2);
		return true;
	case 5:
		if (b->out.suite->version == TLS_1_3)
			send_padded(b, f);
		return false;
	case 6:
		send_changed(b, f);
		return false;
	default:
		both_shut(b);
		return false;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	static struct crypt *crypt;
	struct fuzz f = fuzz_begin(bytes, n);
	struct both b = { .crypt = crypt };

	if (!crypt)
		b.crypt = crypt = crypt_new();
	ASSERT(crypt);
	tlspair_open(&b.pair, crypt, suite_find(suites[fuzz_octet(&f) % COUNT(suites)]));
	b.end = fuzz_octet(&f) % 2;
	b.twin = b.pair.ends[b.end];
	b.other = b.pair.ends[!b.end];
	b.out = b.check = b.pair.keys[b.end];
	b.in = b.pair.keys[!b.end];
	for (unsigned operations = 0; operations < 12 && f.left > 0; operations++)
		if (!operate(&b, &f))
			break;
	tlspair_close(&b.pair);
	return 0;
}

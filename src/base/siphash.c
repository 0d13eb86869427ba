#include "base/siphash.h"

#include <endian.h>

struct sip_state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t word_at(const void *at)
{
	uint64_t word;

	memcpy(&word, at, sizeof(word));
	return le64toh(word);
}

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return x << bits | x >> (64 - bits);
}

static void mix_round(struct sip_state *s)
{
	s->v0 += s->v1;
	s->v1 = rotate(s->v1, 13) ^ s->v0;
	s->v0 = rotate(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotate(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotate(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotate(s->v1, 17) ^ s->v2;
	s->v2 = rotate(s->v2, 32);
}

static void word_add(struct sip_state *s, uint64_t word)
{
	s->v3 ^= word;
	mix_round(s);
	mix_round(s);
	s->v0 ^= word;
}

uint64_t siphash(const uint8_t key[SIPHASH_KEY_BYTES], struct slice text)
{
	const uint64_t k0 = word_at(key), k1 = word_at(key + 8);
	struct sip_state s = { k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du,
			       k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u };
	uint64_t last = (uint64_t)text.len << 56;
	size_t n = 0;

	for (; n + 8 <= text.len; n += 8)
		word_add(&s, word_at(text.ptr + n));
	for (unsigned shift = 0; n < text.len; n++, shift += 8)
		last |= (uint64_t)(unsigned char)text.ptr[n] << shift;
	word_add(&s, last);
	s.v2 ^= 0xff;
	for (unsigned i = 0; i < 4; i++)
		mix_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

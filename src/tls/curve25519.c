#include "curve25519.h"

#include <openssl/crypto.h>
#include <string.h>

#include "base/check.h"

/* ---- the field of 2^255 - 19 -------------------------------------------------------- */

/* Five limbs of 51 bits, of which the result of fe_mul() and fe_carry() has a little more: below
 * 2^51 + 2^13. Sums and differences of two such have 53 bits at most; fe_mul() takes 54. */
struct fe {
	uint64_t v[5];
};

typedef unsigned __int128 uint128;

#define LIMB_BITS 51
#define LIMB_MASK (((uint64_t)1 << LIMB_BITS) - 1)

static const struct fe one = { { 1 } };

static struct fe fe_add(const struct fe *a, const struct fe *b)
{
	struct fe r;

	for (unsigned i = 0; i < 5; i++)
		r.v[i] = a->v[i] + b->v[i];
	return r;
}

/* Adds twice the modulus, so that no limb gets negative; `b` has not been added to. */
static struct fe fe_sub(const struct fe *a, const struct fe *b)
{
	struct fe r;

	r.v[0] = a->v[0] + 0xfffffffffffda - b->v[0];
	for (unsigned i = 1; i < 5; i++)
		r.v[i] = a->v[i] + 0xffffffffffffe - b->v[i];
	return r;
}

static struct fe fe_carry(const struct fe *a)
{
	struct fe r = *a;

	for (unsigned i = 0; i < 4; i++) {
		r.v[i + 1] += r.v[i] >> LIMB_BITS;
		r.v[i] &= LIMB_MASK;
	}
	r.v[0] += 19 * (r.v[4] >> LIMB_BITS);
	r.v[4] &= LIMB_MASK;
	return r;
}

static struct fe wide_carry(uint128 t0, uint128 t1, uint128 t2, uint128 t3, uint128 t4)
{
	struct fe r;
	uint64_t c;

	r.v[0] = (uint64_t)t0 & LIMB_MASK;
	t1 += (uint64_t)(t0 >> LIMB_BITS);
	r.v[1] = (uint64_t)t1 & LIMB_MASK;
	t2 += (uint64_t)(t1 >> LIMB_BITS);
	r.v[2] = (uint64_t)t2 & LIMB_MASK;
	t3 += (uint64_t)(t2 >> LIMB_BITS);
	r.v[3] = (uint64_t)t3 & LIMB_MASK;
	t4 += (uint64_t)(t3 >> LIMB_BITS);
	r.v[4] = (uint64_t)t4 & LIMB_MASK;
	r.v[0] += 19 * (uint64_t)(t4 >> LIMB_BITS);
	c = r.v[0] >> LIMB_BITS;
	r.v[0] &= LIMB_MASK;
	r.v[1] += c;
	return r;
}

static struct fe fe_mul(const struct fe *a, const struct fe *b)
{
	uint64_t a0 = a->v[0], a1 = a->v[1], a2 = a->v[2], a3 = a->v[3], a4 = a->v[4];
	uint64_t b0 = b->v[0], b1 = b->v[1], b2 = b->v[2], b3 = b->v[3], b4 = b->v[4];
	uint64_t c1 = 19 * b1, c2 = 19 * b2, c3 = 19 * b3, c4 = 19 * b4;

	return wide_carry((uint128)a0 * b0 + (uint128)a1 * c4 + (uint128)a2 * c3 +
				  (uint128)a3 * c2 + (uint128)a4 * c1,
			  (uint128)a0 * b1 + (uint128)a1 * b0 + (uint128)a2 * c4 +
				  (uint128)a3 * c3 + (uint128)a4 * c2,
			  (uint128)a0 * b2 + (uint128)a1 * b1 + (uint128)a2 * b0 +
				  (uint128)a3 * c4 + (uint128)a4 * c3,
			  (uint128)a0 * b3 + (uint128)a1 * b2 + (uint128)a2 * b1 +
				  (uint128)a3 * b0 + (uint128)a4 * c4,
			  (uint128)a0 * b4 + (uint128)a1 * b3 + (uint128)a2 * b2 +
				  (uint128)a3 * b1 + (uint128)a4 * b0);
}

static struct fe fe_square(const struct fe *a)
{
	uint64_t a0 = a->v[0], a1 = a->v[1], a2 = a->v[2], a3 = a->v[3], a4 = a->v[4];
	uint64_t d0 = 2 * a0, d1 = 2 * a1, c3 = 19 * a3, c4 = 19 * a4;

	return wide_carry((uint128)a0 * a0 + (uint128)d1 * c4 + (uint128)(2 * a2) * c3,
			  (uint128)d0 * a1 + (uint128)(2 * a2) * c4 + (uint128)a3 * c3,
			  (uint128)d0 * a2 + (uint128)a1 * a1 + (uint128)(2 * a3) * c4,
			  (uint128)d0 * a3 + (uint128)d1 * a2 + (uint128)a4 * c4,
			  (uint128)d0 * a4 + (uint128)d1 * a3 + (uint128)a2 * a2);
}

static struct fe fe_squares(const struct fe *a, unsigned n)
{
	struct fe r = *a;

	while (n-- > 0)
		r = fe_square(&r);
	return r;
}

/* 1 / a: a to the power of 2^255 - 21 (Fermat). */
static struct fe fe_invert(const struct fe *a)
{
	struct fe a2 = fe_square(a), t = fe_squares(&a2, 2), a9 = fe_mul(&t, a);
	struct fe a11 = fe_mul(&a9, &a2), p5, p10, p20, p40, p50, p100, p200;

	/* pN: a to the power of 2^N - 1. */
	t = fe_square(&a11);
	p5 = fe_mul(&t, &a9);
	t = fe_squares(&p5, 5);
	p10 = fe_mul(&t, &p5);
	t = fe_squares(&p10, 10);
	p20 = fe_mul(&t, &p10);
	t = fe_squares(&p20, 20);
	p40 = fe_mul(&t, &p20);
	t = fe_squares(&p40, 10);
	p50 = fe_mul(&t, &p10);
	t = fe_squares(&p50, 50);
	p100 = fe_mul(&t, &p50);
	t = fe_squares(&p100, 100);
	p200 = fe_mul(&t, &p100);
	t = fe_squares(&p200, 50);
	t = fe_mul(&t, &p50);
	t = fe_squares(&t, 5);
	return fe_mul(&t, &a11);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < 8; i++)
		n |= (uint64_t)at[i] << 8 * i;
	return n;
}

static void put64(uint8_t *at, uint64_t n)
{
	for (unsigned i = 0; i < 8; i++)
		at[i] = (uint8_t)(n >> 8 * i);
}

static struct fe fe_read(const uint8_t at[32])
{
	return (struct fe){ {
		get64(at) & LIMB_MASK,
		get64(at + 6) >> 3 & LIMB_MASK,
		get64(at + 12) >> 6 & LIMB_MASK,
		get64(at + 19) >> 1 & LIMB_MASK,
		get64(at + 24) >> 12 & LIMB_MASK,
	} };
}

/* The number below the modulus. */
static void fe_write(uint8_t at[32], const struct fe *a)
{
	struct fe r = fe_carry(a);
	uint64_t over = 19;

	r = fe_carry(&r);
	/* 1 if r is the modulus or more: then r + 19 has bit 255. */
	for (unsigned i = 0; i < 5; i++)
		over = (r.v[i] + over) >> LIMB_BITS;
	r.v[0] += 19 * over;
	for (unsigned i = 0; i < 4; i++) {
		r.v[i + 1] += r.v[i] >> LIMB_BITS;
		r.v[i] &= LIMB_MASK;
	}
	r.v[4] &= LIMB_MASK;
	put64(at, r.v[0] | r.v[1] << 51);
	put64(at + 8, r.v[1] >> 13 | r.v[2] << 38);
	put64(at + 16, r.v[2] >> 26 | r.v[3] << 25);
	put64(at + 24, r.v[3] >> 39 | r.v[4] << 12);
}

/* ---- points of the Edwards curve ------------------------------------------------------ */

/* x = X/Z, y = Y/Z, xy = T/Z. */
struct curve_point {
	struct fe x, y, z, t;
};

/* A point with Z = 1, as it is added. */
struct base_multiple {
	struct fe sum, difference, product; /* y + x, y - x, 2dxy */
};

#define ROWS 32 /* of the table: powers of 256 */
#define MULTIPLES 8

static struct base_multiple table[ROWS][MULTIPLES];

/* The four factors of the sum of two points, or of a double (Hisil, Wong, Carter, Dawson: Twisted
 * Edwards Curves Revisited). */
static struct curve_point point_of(const struct fe *e, const struct fe *f,
				   const struct fe *g, const struct fe *h)
{
	return (struct curve_point){ fe_mul(e, f), fe_mul(g, h), fe_mul(f, g),
				     fe_mul(e, h) };
}

static struct curve_point point_add(const struct curve_point *p,
				    const struct base_multiple *q)
{
	struct fe minus = fe_sub(&p->y, &p->x), plus = fe_add(&p->y, &p->x);
	struct fe a = fe_mul(&minus, &q->difference), b = fe_mul(&plus, &q->sum);
	struct fe c = fe_mul(&p->t, &q->product), d = fe_add(&p->z, &p->z);
	struct fe e = fe_sub(&b, &a), f = fe_sub(&d, &c), g = fe_add(&d, &c);
	struct fe h = fe_add(&b, &a);

	return point_of(&e, &f, &g, &h);
}

static struct curve_point point_double(const struct curve_point *p)
{
	struct fe sum = fe_add(&p->x, &p->y);
	struct fe a = fe_square(&p->x), b = fe_square(&p->y), c = fe_square(&p->z);
	struct fe s = fe_square(&sum), h = fe_add(&a, &b), g = fe_sub(&a, &b), e, f;

	h = fe_carry(&h);
	g = fe_carry(&g);
	e = fe_sub(&h, &s);
	f = fe_add(&c, &c);
	f = fe_add(&f, &g);
	return point_of(&e, &f, &g, &h);
}

/* ---- the table ------------------------------------------------------------------------- */

static struct base_multiple entry_of(const struct curve_point *p, const struct fe *d2)
{
	struct fe inverse = fe_invert(&p->z), x = fe_mul(&p->x, &inverse);
	struct fe y = fe_mul(&p->y, &inverse), xy = fe_mul(&x, &y);
	struct fe sum = fe_add(&y, &x), difference = fe_sub(&y, &x);

	return (struct base_multiple){ fe_carry(&sum), fe_carry(&difference),
				       fe_mul(&xy, d2) };
}

/* 2d, where d is -121665 / 121666. */
static struct fe curve_constant(void)
{
	const struct fe a = { { 2 * 121665 } }, b = { { 121666 } }, zero = { { 0 } };
	struct fe inverse = fe_invert(&b), quotient = fe_mul(&a, &inverse);
	struct fe negative = fe_sub(&zero, &quotient);

	return fe_carry(&negative);
}

void curve25519_init(void)
{
	/* RFC 7748 4.1: the base point of Edwards25519. */
	static const uint8_t x[32] = {
		0x1a, 0xd5, 0x25, 0x8f, 0x60, 0x2d, 0x56, 0xc9, 0xb2, 0xa7, 0x25,
		0x95, 0x60, 0xc7, 0x2c, 0x69, 0x5c, 0xdc, 0xd6, 0xfd, 0x31, 0xe2,
		0xa4, 0xc0, 0xfe, 0x53, 0x6e, 0xcd, 0xd3, 0x36, 0x69, 0x21,
	};
	const struct fe d2 = curve_constant(), four = { { 4 } }, five = { { 5 } };
	struct fe fifth = fe_invert(&five);
	struct curve_point base = { .x = fe_read(x),
				    .y = fe_mul(&four, &fifth),
				    .z = one };

	base.t = fe_mul(&base.x, &base.y);
	for (unsigned row = 0; row < ROWS; row++) {
		struct curve_point p = base;

		table[row][0] = entry_of(&base, &d2);
		for (unsigned i = 1; i < MULTIPLES; i++) {
			p = point_add(&p, &table[row][0]);
			table[row][i] = entry_of(&p, &d2);
		}
		for (unsigned i = 0; i < 8; i++)
			base = point_double(&base);
	}
}

/* ---- a multiple of the base point --------------------------------------------------------- */

/* All ones if the two are equal, else 0. */
static uint64_t mask_equal(uint32_t a, uint32_t b)
{
	return (uint64_t)0 - (((uint64_t)(a ^ b) - 1) >> 63);
}

static void fe_choose(struct fe *to, const struct fe *from, uint64_t mask)
{
	for (unsigned i = 0; i < 5; i++)
		to->v[i] ^= mask & (to->v[i] ^ from->v[i]);
}

/* The entry of a digit, -8 to 8, by looking at all of them. */
static struct base_multiple entry_choose(const struct base_multiple row[MULTIPLES],
					 int8_t digit)
{
	uint64_t negative = (uint64_t)(int64_t)(digit >> 7);
	uint32_t size = (uint32_t)((digit ^ (int8_t)negative) - (int8_t)negative);
	const struct fe zero = { { 0 } };
	struct base_multiple e = { one, one, zero }, minus;

	for (unsigned i = 0; i < MULTIPLES; i++) {
		uint64_t mask = mask_equal(size, i + 1);

		fe_choose(&e.sum, &row[i].sum, mask);
		fe_choose(&e.difference, &row[i].difference, mask);
		fe_choose(&e.product, &row[i].product, mask);
	}
	minus = (struct base_multiple){ e.difference, e.sum, fe_sub(&zero, &e.product) };
	fe_choose(&e.sum, &minus.sum, negative);
	fe_choose(&e.difference, &minus.difference, negative);
	fe_choose(&e.product, &minus.product, negative);
	return e;
}

/* The scalar as 64 digits of 16, -8 to 8. */
static void digits_of(int8_t digits[64], const uint8_t private[CURVE25519_BYTES])
{
	uint8_t scalar[CURVE25519_BYTES];
	int8_t carry = 0;

	memcpy(scalar, private, sizeof(scalar));
	/* RFC 7748 5. */
	scalar[0] &= 248;
	scalar[31] = (uint8_t)((scalar[31] & 127) | 64);
	for (unsigned i = 0; i < 64; i++)
		digits[i] = (int8_t)(scalar[i / 2] >> (i % 2 * 4) & 15);
	for (unsigned i = 0; i < 63; i++) {
		digits[i] = (int8_t)(digits[i] + carry);
		carry = (int8_t)((digits[i] + 8) >> 4);
		digits[i] = (int8_t)(digits[i] - carry * 16);
	}
	digits[63] = (int8_t)(digits[63] + carry);
	OPENSSL_cleanse(scalar, sizeof(scalar));
}

void curve25519_public(uint8_t public[CURVE25519_BYTES],
		       const uint8_t private[CURVE25519_BYTES])
{
	struct curve_point p = { .y = one, .z = one };
	struct fe above, below, inverse, u;
	int8_t digits[64];
	struct base_multiple e;

	digits_of(digits, private);
	for (unsigned odd = 1; odd < 2; odd--) {
		for (unsigned i = odd; i < 64; i += 2) {
			e = entry_choose(table[i / 2], digits[i]);
			p = point_add(&p, &e);
		}
		for (unsigned i = 0; odd && i < 4; i++)
			p = point_double(&p);
	}
	above = fe_add(&p.z, &p.y);
	below = fe_sub(&p.z, &p.y);
	inverse = fe_invert(&below);
	u = fe_mul(&above, &inverse);
	fe_write(public, &u);
	OPENSSL_cleanse(digits, sizeof(digits));
	OPENSSL_cleanse(&p, sizeof(p));
	OPENSSL_cleanse(&e, sizeof(e));
}

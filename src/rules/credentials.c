#include "credentials.h"

/* The value of a character of base64 (RFC 4648 4); -1: it is none. */
static int digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes base64 without its padding. The bits that are left over must be zero. */
static bool decode(struct slice text, char *out, size_t *out_n)
{
	uint32_t bits = 0;
	unsigned bit_n = 0;

	*out_n = 0;
	for (size_t i = 0; i < text.len; i++) {
		int value = digit(text.ptr[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		bit_n += 6;
		if (bit_n < 8)
			continue;
		bit_n -= 8;
		out[(*out_n)++] = (char)(bits >> bit_n);
		bits &= (1u << bit_n) - 1;
	}
	return bit_n < 6 && bits == 0;
}

static bool base64_read(struct slice text, char *out, size_t size, size_t *out_n)
{
	size_t padding = 0;

	if (text.len % 4 != 0 || text.len / 4 * 3 > size + 2)
		return false;
	while (padding < 2 && text.len > 0 && text.ptr[text.len - 1] == '=') {
		text.len--;
		padding++;
	}
	return text.len * 6 / 8 <= size && decode(text, out, out_n);
}

static bool has_control(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 0x7f)
			return true;
	return false;
}

/* What follows the scheme; ptr NULL: another scheme. */
static struct slice after_scheme(struct slice value)
{
	const struct slice scheme = SLICE("Basic");
	struct slice rest;

	if (value.len <= scheme.len || value.ptr[scheme.len] != ' ' ||
	    !slice_equal_nocase((struct slice){ value.ptr, scheme.len }, scheme))
		return (struct slice){ NULL, 0 };
	rest = slice_after(value, scheme.len);
	while (rest.len > 0 && rest.ptr[0] == ' ')
		rest = slice_after(rest, 1);
	return rest;
}

/* The only Authorization field; NULL: there is none, or several. */
static const struct field *authorization(const struct head *h)
{
	const struct field *found = NULL;

	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++) {
		if (!slice_equal_nocase(f->name, SLICE("Authorization")))
			continue;
		if (found)
			return NULL;
		found = f;
	}
	return found;
}

bool credentials_read(const struct head *h, struct credentials *c)
{
	const struct field *f = authorization(h);
	struct slice text = f ? after_scheme(f->value) : (struct slice){ NULL, 0 };
	const char *colon;
	size_t n;

	if (text.len == 0 || !base64_read(text, c->bytes, CREDENTIALS_BYTES_MAX, &n) ||
	    n == 0)
		return false;
	c->bytes[n] = '\0';
	colon = memchr(c->bytes, ':', n);
	if (!colon || has_control((struct slice){ c->bytes, n }))
		return false;
	c->user = (struct slice){ c->bytes, (size_t)(colon - c->bytes) };
	c->password = (struct slice){ colon + 1, n - c->user.len - 1 };
	return c->user.len > 0 && c->user.len <= CREDENTIALS_USER_MAX &&
	       c->password.len <= CREDENTIALS_PASSWORD_MAX;
}

#include "pieces.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int decoded_byte(struct slice text, bool plus, size_t *used)
{
	int high, low;

	*used = 1;
	if (text.ptr[0] == '+' && plus)
		return ' ';
	if (text.ptr[0] != '%')
		return (unsigned char)text.ptr[0];
	if (text.len < 3)
		return -1;
	*used = 3;
	high = hex_digit(text.ptr[1]);
	low = hex_digit(text.ptr[2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool decoded_equal(struct slice encoded, struct slice name)
{
	size_t i = 0, n = 0, used;

	for (; i < encoded.len && n < name.len; i += used, n++)
		if (decoded_byte(slice_after(encoded, i), true, &used) !=
		    (unsigned char)name.ptr[n])
			return false;
	return i == encoded.len && n == name.len;
}

/* Cuts text up to `separator` off the front of *rest. */
static struct slice take_piece(struct slice *rest, char separator)
{
	const char *end = rest->len > 0 ? memchr(rest->ptr, separator, rest->len) : NULL;
	struct slice piece = *rest;

	if (end) {
		piece.len = (size_t)(end - rest->ptr);
		*rest = slice_after(*rest, piece.len + 1);
	} else {
		rest->len = 0;
	}
	return piece;
}

bool query_next(struct slice *rest, struct slice name, struct slice *value)
{
	if (rest->len > 0 && rest->ptr[0] == '?')
		*rest = slice_after(*rest, 1);
	while (rest->len > 0) {
		struct slice text = take_piece(rest, '&');
		struct slice key = take_piece(&text, '=');

		/* Without a "=", what is left of the text is empty. */
		if (decoded_equal(key, name)) {
			*value = text;
			return true;
		}
	}
	return false;
}

bool cookie_next(struct slice *rest, struct slice name, struct slice *value)
{
	while (rest->len > 0) {
		struct slice text = take_piece(rest, ';');
		bool has_value = text.len > 0 && memchr(text.ptr, '=', text.len);
		struct slice key = slice_trim(take_piece(&text, '='));

		if (!has_value || !slice_equal(key, name))
			continue;
		*value = slice_trim(text);
		return true;
	}
	return false;
}

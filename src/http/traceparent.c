#include "http/traceparent.h"

#include <string.h>

/* -1: not a lower-case hexadecimal digit. */
static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (digit(text[i]) < 0)
			return false;
	return true;
}

static bool is_zero(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (text[i] != '0')
			return false;
	return true;
}

bool traceparent_parse(struct traceparent *t, struct slice v)
{
	const char *p = v.ptr;

	if (v.len < TRACEPARENT_TEXT || !is_hex(p, 2) || p[2] != '-' || !is_hex(p + 3, 32) ||
	    p[35] != '-' || !is_hex(p + 36, 16) || p[52] != '-' || !is_hex(p + 53, 2))
		return false;
	if (memcmp(p, "ff", 2) == 0 || is_zero(p + 3, 32) || is_zero(p + 36, 16))
		return false;
	if (v.len > TRACEPARENT_TEXT && (memcmp(p, "00", 2) == 0 || p[55] != '-'))
		return false;
	memcpy(t->trace_id, p + 3, sizeof(t->trace_id));
	memcpy(t->span_id, p + 36, sizeof(t->span_id));
	t->flags = (uint8_t)(digit(p[53]) << 4 | digit(p[54]));
	return true;
}

void traceparent_text(const struct traceparent *t, char text[TRACEPARENT_TEXT])
{
	static const char digits[] = "0123456789abcdef";

	memcpy(text, "00-", 3);
	memcpy(text + 3, t->trace_id, sizeof(t->trace_id));
	text[35] = '-';
	memcpy(text + 36, t->span_id, sizeof(t->span_id));
	text[52] = '-';
	text[53] = digits[t->flags >> 4];
	text[54] = digits[t->flags & 15];
}

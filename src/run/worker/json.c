#include "json.h"

void json_string(struct emit *e, struct slice text)
{
	static const char digits[] = "0123456789abcdef";

	emit_slice(e, SLICE("\""));
	for (size_t i = 0; i < text.len; i++) {
		unsigned char b = (unsigned char)text.ptr[i];
		char escape[6] = { '\\', 'u', '0', '0', digits[b >> 4], digits[b & 15] };

		if (b >= 0x20 && b < 0x7f && b != '"' && b != '\\')
			emit_slice(e, (struct slice){ text.ptr + i, 1 });
		else
			emit_slice(e, (struct slice){ escape, sizeof(escape) });
	}
	emit_slice(e, SLICE("\""));
}

void json_member(struct emit *e, const char *before, struct slice text)
{
	emit_slice(e, slice_of(before));
	json_string(e, text);
}

void json_number(struct emit *e, const char *before, uint64_t n)
{
	emit_slice(e, slice_of(before));
	emit_number(e, n);
}

void json_flag(struct emit *e, const char *before, bool value)
{
	emit_slice(e, slice_of(before));
	emit_slice(e, value ? SLICE("true") : SLICE("false"));
}

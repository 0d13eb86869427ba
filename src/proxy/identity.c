#include "proxy/identity.h"

/* True: the text begins with a scheme's name, as a whole word. */
static bool begins_with_scheme(struct slice text)
{
	static const struct slice schemes[] = { SLICE("NTLM"), SLICE("Negotiate") };

	for (size_t i = 0; i < COUNT(schemes); i++) {
		size_t n = schemes[i].len;

		if (text.len >= n &&
		    slice_equal_nocase((struct slice){ text.ptr, n }, schemes[i]) &&
		    (text.len == n || text.ptr[n] == ' ' || text.ptr[n] == ','))
			return true;
	}
	return false;
}

/* One field may offer several schemes. A parameter that looks like one is taken for it;
 * then a connection is not shared although it could be. */
static bool has_scheme(struct slice value)
{
	for (size_t i = 0; i < value.len; i++)
		if ((i == 0 || value.ptr[i - 1] == ' ' || value.ptr[i - 1] == ',' ||
		     value.ptr[i - 1] == '\t') &&
		    begins_with_scheme(slice_after(value, i)))
			return true;
	return false;
}

bool identity_presented(const struct head *h)
{
	static const struct slice names[] = { SLICE("Authorization"),
					      SLICE("Proxy-Authorization") };

	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		for (size_t i = 0; i < COUNT(names); i++)
			if (f->name.len == names[i].len &&
			    slice_equal_nocase(f->name, names[i]) && begins_with_scheme(f->value))
				return true;
	return false;
}

bool identity_challenged(const struct head *h)
{
	if (h->status != 401 && h->status != 407)
		return false;
	for (const struct field *f = h->fields; f < h->fields + h->field_n; f++)
		if ((f->header == HEADER_PROXY_AUTHENTICATE ||
		     slice_equal_nocase(f->name, SLICE("WWW-Authenticate"))) &&
		    has_scheme(f->value))
			return true;
	return false;
}

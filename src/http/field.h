/* Field sections (RFC 9112 5). Private to http. */
#ifndef SRC_HTTP_FIELD_H
#define SRC_HTTP_FIELD_H

#include "http/head.h"

/* `section` is whole lines, each ended by CRLF, without bare CR or LF and without
 * controls other than HTAB; the empty line is its last. Fills fields and field_n. */
enum fault field_parse_section(struct head *h, struct slice section,
			       uint32_t fields_max) MUST_USE;

/* Has llhttp read the section, too: FAULT_FIELD_VALUE unless it reports exactly the
 * fields that field_parse_section() found. */
enum fault field_confirm(const struct head *h, struct slice section) MUST_USE;

enum header field_header(struct slice name);

#endif

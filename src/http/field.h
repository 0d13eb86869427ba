/* Parses field sections (RFC 9112 5). Private to http. */
#ifndef SRC_HTTP_FIELD_H
#define SRC_HTTP_FIELD_H

#include "http/head.h"

/* `section` consists of complete lines ended by CRLF, without bare CR or LF and without
 * controls other than HTAB; the last line is empty. Sets fields and field_n. */
enum fault field_parse_section(struct head *h, struct slice section,
			       uint32_t fields_max) MUST_USE;

/* Parses the section again with llhttp: FAULT_FIELD_VALUE unless it reports exactly the
 * fields that field_parse_section() found. */
enum fault field_confirm(const struct head *h, struct slice section) MUST_USE;

/* The header of header.def with this name, or HEADER_OTHER. */
enum header field_header(struct slice name);

#endif

/* The lines of access logs: combined, json, template; and as datagrams of syslog (RFC 5424) and of
 * journald (its native protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL).
 *
 * What clients and servers have sent is escaped, so that it can neither forge a line nor send
 * control sequences to a terminal. Errors: emit.overflow; the caller drops the line. */
#ifndef PROXY_LOGLINE_H
#define PROXY_LOGLINE_H

#include "http/emit.h"
#include "proxy/access.h"

/* A line with its line feed. */
void log_line_put(struct access *a, struct emit *e, const struct access_entry *x);

/* The length, as a uint32_t, and then the bytes of a datagram. */
void log_datagram_put(struct access *a, struct emit *e, const struct access_entry *x);

#endif

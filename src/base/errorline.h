/* A line of the error log as bytes: text, JSON, or a datagram of syslog (RFC 5424) or of journald
 * (its native protocol: systemd.io/JOURNAL_NATIVE_PROTOCOL).
 *
 * Limits: ERRORLINE_BYTES, enough for a message of which each byte is escaped. Pure. */
#ifndef BASE_ERRORLINE_H
#define BASE_ERRORLINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/errorlog.h"

/* Six bytes in JSON for each of the message, and the head. */
#define ERRORLINE_BYTES (6 * ERRORLOG_TEXT_MAX + 1024)

struct errorline {
	enum errorlog_event event;
	const char *text;
	bool bare;           /* it begins with a name of its own: no "fairlead: " before it */
	uint32_t suppressed; /* of a line that says so; else 0 */
	uint64_t wall_ms;
	int pid;
	const char *host;
	bool journal;        /* standard error is the journal: see sd-daemon(3) */
};

/* Returns the length. */
size_t errorline_write(char line[ERRORLINE_BYTES], const struct errorline *l,
		       const struct errorlog_output *output);

#endif

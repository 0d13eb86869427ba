#include "handshakelog.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/errorlog.h"

#define NAME_MAX_BYTES 255

/* Names are the client's: only what is printable, and no quotes. */
static void name_printable(char text[NAME_MAX_BYTES + 1], struct slice name)
{
	size_t n = name.len < NAME_MAX_BYTES ? name.len : NAME_MAX_BYTES;

	for (size_t i = 0; i < n; i++)
		text[i] = name.ptr[i] > ' ' && name.ptr[i] < 0x7f && name.ptr[i] != '"'
				  ? name.ptr[i]
				  : '?';
	text[n] = '\0';
}

static void write_line(const struct client *c, const struct tls *t, enum tls_fault fault,
		       uint32_t skipped)
{
	char peer[SOCK_TEXT_MAX], name[NAME_MAX_BYTES + 1] = "", alert[32] = "", more[48] = "";

	peer_text(&c->peer, peer, sizeof(peer));
	if (t)
		name_printable(name, t->name);
	if (t && fault == TLS_FAULT_ALERT)
		snprintf(alert, sizeof(alert), " %u", t->alert);
	if (skipped > 0)
		snprintf(more, sizeof(more), " (and %" PRIu32 " times before)", skipped);
	errorlog_put(EVENT_HANDSHAKE_FAILED, "TLS handshake with %s failed: %s%s%s%s%s%s",
		     peer, tls_fault_text(fault), alert, name[0] ? ", server name " : "",
		     name, name[0] ? "" : ", no server name", more);
}

void handshake_log_failed(struct client *c, enum tls_fault fault)
{
	struct proxy *p = c->front->owner;
	struct handshake_lines *l = &p->handshake_lines[fault];
	uint64_t second = p->tick->now_ms / 1000 + 1; /* 0: never */

	if (c->conn.received == 0 || fault == TLS_FAULT_TRUNCATED)
		return;
	if (l->second == second) {
		l->skipped++;
		return;
	}
	write_line(c, conn_tls(&c->conn), fault, l->skipped);
	*l = (struct handshake_lines){ .second = second };
}

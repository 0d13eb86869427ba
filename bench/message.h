/* A minimal HTTP/1.1 reader for the load generators and origins of measurements: finds where
 * messages end and reads the status, in pieces of any size. It trusts its peer, unlike a
 * proxy: syntax is not checked. */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MESSAGE_HEAD_MAX 2048

enum part { IN_HEAD, IN_BODY, IN_CHUNK_SIZE, IN_CHUNK, IN_TRAILERS };

struct message {
	enum part part;
	uint32_t head_n;    /* bytes in head[] of a head that arrives in pieces */
	uint64_t left;      /* remaining bytes of the body or chunk */
	bool line_is_empty; /* the current trailer line, so far */
	int status;         /* 0: a request */
	bool close;         /* the head has `Connection: close` */
	char head[MESSAGE_HEAD_MAX];
};

static void message_too_long(void)
{
	fputs("a head of more than 2 KiB\n", stderr);
	exit(1);
}

static bool is_field(const char *line, const char *end, const char *name)
{
	size_t n = strlen(name);

	return (size_t)(end - line) > n && strncasecmp(line, name, n) == 0;
}

/* Reads the fields that frame the body; without them there is no body. */
static void read_fields(struct message *m, const char *head, const char *end)
{
	const char *line = memchr(head, '\n', (size_t)(end - head));

	m->part = IN_BODY;
	m->left = 0;
	m->close = false;
	for (; line && ++line < end; line = memchr(line, '\n', (size_t)(end - line))) {
		if (is_field(line, end, "content-length:"))
			m->left = strtoull(line + 15, NULL, 10);
		else if (is_field(line, end, "transfer-encoding: chunked"))
			m->part = IN_CHUNK_SIZE;
		else if (is_field(line, end, "connection: close"))
			m->close = true;
	}
}

/* Collects a head that arrives in pieces in m->head. Returns how many of the n bytes were
 * consumed. */
static size_t read_head(struct message *m, const char *p, size_t n)
{
	const char *head = p, *end;
	uint32_t before = m->head_n;
	size_t taken;

	if (before > 0) {
		size_t more = n < MESSAGE_HEAD_MAX - before ? n : MESSAGE_HEAD_MAX - before;

		memcpy(m->head + before, p, more);
		head = m->head;
		n = before + more;
	}
	end = memmem(head, n, "\r\n\r\n", 4);
	if (!end) {
		if (n >= MESSAGE_HEAD_MAX)
			message_too_long();
		memmove(m->head, head, n);
		m->head_n = (uint32_t)n;
		return n - before;
	}
	end += 4;
	m->status = memcmp(head, "HTTP/1.1 ", 9) == 0 ? atoi(head + 9) : 0;
	read_fields(m, head, end);
	taken = (size_t)(end - head) - before;
	m->head_n = 0;
	return taken;
}

static size_t skip(struct message *m, size_t n)
{
	size_t taken = n < m->left ? n : (size_t)m->left;

	m->left -= taken;
	return taken;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t read_chunk_size(struct message *m, char c)
{
	if (hex(c) >= 0) {
		m->left = m->left << 4 | (unsigned)hex(c);
	} else if (c == '\n') {
		m->part = m->left ? IN_CHUNK : IN_TRAILERS;
		m->left += m->left ? 2 : 0; /* the CRLF behind the chunk */
		m->line_is_empty = true;
	}
	return 1;
}

/* Continues reading one message. True: the message is complete. *taken: how many of the n
 * bytes belong to it. */
static bool message_read(struct message *m, const char *p, size_t n, size_t *taken)
{
	size_t at = 0;

	while (at < n) {
		switch (m->part) {
		case IN_HEAD:
			at += read_head(m, p + at, n - at);
			break;
		case IN_BODY:
			at += skip(m, n - at);
			break;
		case IN_CHUNK_SIZE:
			at += read_chunk_size(m, p[at]);
			break;
		case IN_CHUNK:
			at += skip(m, n - at);
			if (m->left == 0)
				m->part = IN_CHUNK_SIZE;
			break;
		case IN_TRAILERS:
			if (p[at] == '\n' && m->line_is_empty)
				m->part = IN_BODY; /* with 0 bytes left: complete */
			else if (p[at] != '\r')
				m->line_is_empty = p[at] == '\n';
			at++;
			break;
		}
		if (m->part == IN_BODY && m->left == 0) {
			m->part = IN_HEAD;
			*taken = at;
			return true;
		}
	}
	*taken = at;
	return false;
}

#endif

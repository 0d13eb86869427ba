#include "lib/nameserver.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define QUESTION_MAX 512
#define ANSWER_MAX 4096
#define SERVFAIL 2
#define NXDOMAIN 3

struct dns_reply {
	unsigned char bytes[ANSWER_MAX];
	size_t n;
};

static void reply_put(struct dns_reply *a, const void *bytes, size_t n)
{
	ASSERT(a->n + n <= sizeof(a->bytes));
	memcpy(a->bytes + a->n, bytes, n);
	a->n += n;
}

static void reply_put_number(struct dns_reply *a, uint32_t number, unsigned bytes)
{
	while (bytes-- > 0)
		reply_put(a, &(unsigned char){ (unsigned char)(number >> 8 * bytes) }, 1);
}

static void reply_put_name(struct dns_reply *a, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		reply_put_number(a, (uint32_t)n, 1);
		reply_put(a, name, n);
		name += n + (name[n] == '.');
	}
	reply_put_number(a, 0, 1);
}

/* Writes the name of the question, with dots; returns its length in the message. */
static size_t read_name(const unsigned char *at, const unsigned char *end, char *name)
{
	const unsigned char *begin = at;

	while (at < end && *at > 0 && at + 1 + *at < end) {
		if (at > begin)
			*name++ = '.';
		memcpy(name, at + 1, *at);
		name += *at;
		at += 1 + *at;
	}
	*name = '\0';
	return (size_t)(at - begin) + 1;
}

static void reply_put_data(struct dns_reply *a, const struct nameserver_row *row)
{
	unsigned char bytes[16];
	unsigned priority, weight, port;
	char target[256];
	struct dns_reply data = { .n = 0 };

	if (row->type == DNS_SRV) {
		ASSERT(sscanf(row->data, "%u %u %u %255s", &priority, &weight, &port,
			      target) == 4);
		reply_put_number(&data, priority, 2);
		reply_put_number(&data, weight, 2);
		reply_put_number(&data, port, 2);
		reply_put_name(&data, target);
	} else {
		ASSERT(inet_pton(row->type == DNS_A ? AF_INET : AF_INET6, row->data, bytes) == 1);
		reply_put(&data, bytes, row->type == DNS_A ? 4 : 16);
	}
	reply_put_number(a, 0xc00c, 2); /* a pointer to the name of the question */
	reply_put_number(a, row->type, 2);
	reply_put_number(a, 1, 2);
	reply_put_number(a, row->ttl_s, 4);
	reply_put_number(a, (uint32_t)data.n, 2);
	reply_put(a, data.bytes, data.n);
}

/* False: the query gets no answer. */
static bool build_reply(struct nameserver *n, const unsigned char *question, size_t len,
			struct dns_reply *a)
{
	char name[QUESTION_MAX];
	size_t name_bytes = read_name(question + 12, question + len, name);
	unsigned type = question[12 + name_bytes] << 8 | question[13 + name_bytes];
	unsigned code = NXDOMAIN;

	reply_put(a, question, 2);
	reply_put_number(a, 0x8180, 2);
	reply_put_number(a, 0x00010000, 4);
	reply_put_number(a, 0, 4);
	reply_put(a, question + 12, name_bytes + 4);
	for (unsigned i = 0; i < n->row_n; i++) {
		const struct nameserver_row *row = &n->rows[i];

		if (strcasecmp(row->name, name) != 0)
			continue;
		code = code == NXDOMAIN ? 0 : code;
		if ((unsigned)row->type != type)
			continue;
		if (strcmp(row->data, "!silent") == 0)
			return false;
		if (strcmp(row->data, "!fail") == 0) {
			code = SERVFAIL;
			continue;
		}
		reply_put_data(a, row);
		a->bytes[7]++;
	}
	a->bytes[3] |= (unsigned char)code;
	return true;
}

void nameserver_serve(struct nameserver *n)
{
	unsigned char question[QUESTION_MAX];
	struct sockaddr_in from;
	socklen_t from_len = sizeof(from);
	ssize_t len;

	while ((len = recvfrom(n->fd, question, sizeof(question), MSG_DONTWAIT,
			       (struct sockaddr *)&from, &from_len)) > 16) {
		struct dns_reply a = { .n = 0 };

		n->queries++;
		if (build_reply(n, question, (size_t)len, &a))
			ASSERT(sendto(n->fd, a.bytes, a.n, 0, (struct sockaddr *)&from,
				      from_len) == (ssize_t)a.n);
	}
}

void nameserver_open(struct nameserver *n, const struct nameserver_row *rows, unsigned row_n)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	n->fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ASSERT(n->fd >= 0 && bind(n->fd, (struct sockaddr *)&in, sizeof(in)) == 0);
	ASSERT(getsockname(n->fd, (struct sockaddr *)&in, &len) == 0);
	snprintf(n->address, sizeof(n->address), "127.0.0.1:%u", ntohs(in.sin_port));
	n->rows = rows;
	n->row_n = row_n;
	n->queries = 0;
}

void nameserver_close(struct nameserver *n)
{
	close(n->fd);
}

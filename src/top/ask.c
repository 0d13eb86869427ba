#include "ask.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- addresses ---------------------------------------------------------------- */

static bool read_unix(struct top_target *t, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)(void *)&t->sa;
	size_t n = strlen(path);

	if (n == 0 || n >= sizeof(un->sun_path))
		return false;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n + 1);
	t->len = sizeof(*un);
	return true;
}

static bool read_host(struct top_target *t, const char *text)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
	const char *colon = strrchr(text, ':');
	struct addrinfo *found;
	char host[256];
	size_t n;

	if (!colon)
		return false;
	n = (size_t)(colon - text);
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (n >= sizeof(host))
		return false;
	memcpy(host, text, n);
	host[n] = '\0';
	if (getaddrinfo(n > 0 ? host : "127.0.0.1", colon + 1, &hints, &found) != 0)
		return false;
	memcpy(&t->sa, found->ai_addr, found->ai_addrlen);
	t->len = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

bool top_target_read(struct top_target *t, const char *text)
{
	*t = (struct top_target){ .len = 0 };
	snprintf(t->name, sizeof(t->name), "%s", text);
	return strncmp(text, "unix:", 5) == 0 ? read_unix(t, text + 5) : read_host(t, text);
}

/* ---- one question ------------------------------------------------------------- */

static int connect_once(const struct top_target *t)
{
	const struct timeval patience = { .tv_sec = ASK_TIMEOUT_S };
	int fd = socket(t->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) == 0 &&
	    connect(fd, (const struct sockaddr *)&t->sa, t->len) == 0)
		return fd;
	error = errno == EINPROGRESS || errno == EAGAIN ? ETIMEDOUT : errno;
	close(fd);
	return -error;
}

/* A signal, such as that of another size of the terminal, interrupts calls on a socket with a
 * timeout, also with SA_RESTART (signal(7)). The state of an interrupted connect() depends on the
 * family, so another socket is taken. */
static int connect_to(const struct top_target *t)
{
	int fd;

	do
		fd = connect_once(t);
	while (fd == -EINTR);
	return fd;
}

/* All that is sent until the end. NULL: *error is a negative errno. */
static char *bytes_read(int fd, size_t *n, int *error)
{
	size_t size = 1 << 16;
	char *text = malloc(size);

	*n = 0;
	*error = text ? 0 : -ENOMEM;
	while (*error == 0) {
		ssize_t got = recv(fd, text + *n, size - *n - 1, 0);

		if (got == 0)
			return text;
		if (got < 0) {
			*error = errno == EINTR	   ? 0
				 : errno == EAGAIN ? -ETIMEDOUT
						   : -errno;
			continue;
		}
		*n += (size_t)got;
		if (size - *n < 2) {
			char *more = size < TOP_BYTES_MAX ? realloc(text, 2 * size) : NULL;

			*error = more ? 0 : -ENOMEM;
			text = more ? more : text;
			size *= 2;
		}
	}
	free(text);
	return NULL;
}

static char *read_response(int fd, size_t *n, const char *path, int *error)
{
	char request[256];
	int length = snprintf(request, sizeof(request),
			      "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
	ssize_t sent;

	do
		sent = send(fd, request, (size_t)length, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	if (sent != length) {
		*error = -errno;
		return NULL;
	}
	return bytes_read(fd, n, error);
}

/* Removes the head. NULL: it is no 200; the text is freed. */
static char *take_body(char *text, size_t n, const char **why)
{
	char *body;

	text[n] = '\0';
	body = strstr(text, "\r\n\r\n");
	if (body && strncmp(text, "HTTP/1.", 7) == 0 && strncmp(text + 8, " 200 ", 5) == 0) {
		memmove(text, body + 4, n - (size_t)(body + 4 - text) + 1);
		return text;
	}
	*why = body && strncmp(text + 8, " 403 ", 5) == 0 ? "only for clients on its machine"
	       : body && strncmp(text + 8, " 503 ", 5) == 0 ? "it is busy or ending"
							     : "it is no admin address of fairlead";
	free(text);
	return NULL;
}

char *ask(const struct top_target *t, const char *path, const char **why)
{
	int fd = connect_to(t), error = fd < 0 ? fd : 0;
	char *text = NULL;
	size_t n = 0;

	if (fd >= 0) {
		text = read_response(fd, &n, path, &error);
		close(fd);
	}
	if (text)
		return take_body(text, n, why);
	*why = strerror(-error);
	return NULL;
}

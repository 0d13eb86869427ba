/* How evenly does SO_REUSEPORT distribute 64 connections to two listeners? */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 64
#define TRIALS 20

static int listeners[2];
static struct sockaddr_in at = { .sin_family = AF_INET };
static int clients[CONNECTIONS];
static in_port_t ports[CONNECTIONS];
static int chosen[CONNECTIONS]; /* the listener that accepted it */

static int failed;

static void claim(bool holds, const char *text)
{
	printf("claim: %s: %s\n", text, holds ? "holds" : "DOES NOT HOLD");
	failed |= !holds;
}

/* A precondition that is not under test. If it is missing the program ends here: with 77,
 * or with 1 if a claim has failed already. */
static void need(bool ok, const char *what)
{
	if (ok)
		return;
	printf("cannot be judged here without %s: %s\n", what, strerror(errno));
	exit(failed ? 1 : 77);
}

static int listen_one(void)
{
	const int on = 1;
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	need(bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 128) == 0 &&
		     getsockname(fd, (struct sockaddr *)&at, &len) == 0,
	     "a listener on 127.0.0.1");
	return fd;
}

/* Closes without TIME_WAIT, so that the port can be used again at once. */
static void reset(int fd)
{
	const struct linger none = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
	close(fd);
}

/* Connects from port `from`, or any if 0, and from a loopback address that is not used
 * otherwise. */
static int connect_from(in_port_t from)
{
	const in_addr_t ours = INADDR_LOOPBACK + 1 +
			       ((in_addr_t)(getpid() & 0xfffff) << 4);
	const int on = 1;
	struct sockaddr_in local = { .sin_family = AF_INET,
				     .sin_addr.s_addr = htonl(ours),
				     .sin_port = from };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&local, sizeof(local)) < 0 ||
	    connect(fd, (struct sockaddr *)&at, sizeof(at)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static in_port_t port_of(int fd)
{
	struct sockaddr_in local = { 0 };
	socklen_t len = sizeof(local);

	getsockname(fd, (struct sockaddr *)&local, &len);
	return local.sin_port;
}

/* Accepts one connection from either listener and returns which. */
static int accept_one(in_port_t *port)
{
	struct pollfd p[2] = { { listeners[0], POLLIN, 0 }, { listeners[1], POLLIN, 0 } };
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	int which, fd;

	need(poll(p, 2, 1000) > 0, "a connection to accept");
	which = p[0].revents & POLLIN ? 0 : 1;
	fd = accept(listeners[which], (struct sockaddr *)&peer, &len);
	need(fd >= 0, "accept");
	*port = peer.sin_port;
	reset(fd);
	return which;
}

/* All connect before any is accepted. Returns how many the first listener got. */
static int spread(void)
{
	int first = 0;
	in_port_t port;

	for (int i = 0; i < CONNECTIONS; i++) {
		clients[i] = connect_from(0);
		need(clients[i] >= 0, "connect");
		ports[i] = port_of(clients[i]);
	}
	for (int n = 0; n < CONNECTIONS; n++) {
		int which = accept_one(&port);

		first += which == 0;
		for (int i = 0; i < CONNECTIONS; i++)
			if (ports[i] == port)
				chosen[i] = which;
	}
	for (int i = 0; i < CONNECTIONS; i++)
		reset(clients[i]);
	return first;
}

/* The same ports once more, one at a time, with both backlogs empty. */
static void same_ports_again(void)
{
	int tried = 0, same = 0;

	for (int i = 0; i < CONNECTIONS; i++) {
		int fd = connect_from(ports[i]);
		in_port_t port;

		if (fd < 0)
			continue;
		tried++;
		same += accept_one(&port) == chosen[i];
		reset(fd);
	}
	printf("note: %d connected again from the same port\n", tried);
	need(tried >= CONNECTIONS / 2, "ports to use again");
	claim(same == tried,
	      "the choice depends on address and port alone: a connection from the "
	      "same address and port goes to the same listener");
}

int main(void)
{
	int even = 0, most = 0, empty = 0;

	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listeners[0] = listen_one();
	listeners[1] = listen_one();
	printf("note: of %d connections the busier listener took", CONNECTIONS);
	for (int i = 0; i < TRIALS; i++) {
		int first = spread();
		int busier = first > CONNECTIONS / 2 ? first : CONNECTIONS - first;

		printf(" %d", busier);
		even += busier == CONNECTIONS / 2;
		empty += busier == CONNECTIONS;
		most = busier > most ? busier : most;
	}
	printf("\n");
	claim(empty == 0, "both listeners get connections");
	claim(even < TRIALS && most > CONNECTIONS / 2,
	      "but not equally many: with half of a limit of 64 each, one would "
	      "refuse connections that the limit allows");
	same_ports_again();
	return failed;
}

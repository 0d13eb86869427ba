/* Whether a list of addresses of the configuration has a client. Binary search. */
#ifndef PROXY_ADDRESSES_H
#define PROXY_ADDRESSES_H

#include <sys/socket.h>

#include "config/config.h"
#include "io/sock.h"

static inline bool addresses_contain(const struct config_addresses *a,
				     const struct peer *peer)
{
	struct ip ip = { .family = peer->family == AF_INET ? 4 : 6 };

	if (peer->family == AF_UNIX)
		return a->unix_sockets;
	memcpy(ip.bytes, peer->addr, ip.family == 4 ? 4 : 16);
	return ip_ranges_contain(a->ranges, a->range_n, &ip);
}

#endif

/* Hashes of bytes and of numbers. Not keyed: a peer that chooses the bytes can make them
 * collide, so a table of what peers send needs a limit.
 *
 * Always holds: the results are the same on each worker, in each process and in each version
 * of the program, because they decide which server gets which key (`balance: hash`).
 *
 * Source: FNV-1a (Fowler, Noll, Vo) of 64 bits; the last step of splitmix64. No errors. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>

#include "base/slice.h"

/* The hash of no bytes. */
#define HASH_BEGIN 0xcbf29ce484222325u

/* Continues a hash, which began as HASH_BEGIN, with these bytes. The low bits depend on
 * every byte; the high bits hardly on the last few. */
static inline uint64_t hash_bytes(uint64_t hash, struct slice bytes)
{
	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ (unsigned char)bytes.ptr[i]) * 0x100000001b3u;
	return hash;
}

/* Each bit of the result depends on all bits of x; no two x have the same result. */
static inline uint64_t hash_mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

#endif

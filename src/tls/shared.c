#include "shared.h"

#include <openssl/evp.h>
#include <pthread.h>

#include "base/check.h"
#include "library.h"

/* Thousands of objects in a few hundred lists: found in some µs, once per context. */
#define LISTS 512

static struct shared *lists[LISTS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct shared **list_of(const uint8_t *digest)
{
	return &lists[(digest[0] | digest[1] << 8) % LISTS];
}

bool shared_digest(uint8_t digest[SHARED_DIGEST], enum shared_kind kind,
		   const struct slice *parts, size_t n)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	unsigned char first = (unsigned char)kind;
	bool good = md && EVP_DigestInit_ex(md, library()->sha256, NULL) == 1 &&
		    EVP_DigestUpdate(md, &first, 1) == 1;

	for (size_t i = 0; good && i < n; i++) {
		uint64_t len = parts[i].len;

		good = EVP_DigestUpdate(md, &len, sizeof(len)) == 1 &&
		       EVP_DigestUpdate(md, parts[i].ptr, parts[i].len) == 1;
	}
	good = good && EVP_DigestFinal_ex(md, digest, NULL) == 1;
	EVP_MD_CTX_free(md);
	return good;
}

/* With the lock. */
static struct shared *find_locked(const uint8_t *digest)
{
	for (struct shared *s = *list_of(digest); s; s = s->next) {
		if (memcmp(s->digest, digest, SHARED_DIGEST) == 0) {
			s->refs++;
			return s;
		}
	}
	return NULL;
}

struct shared *shared_find(const uint8_t digest[SHARED_DIGEST])
{
	struct shared *s;

	pthread_mutex_lock(&lock);
	s = find_locked(digest);
	pthread_mutex_unlock(&lock);
	return s;
}

struct shared *shared_add(struct shared *s, const uint8_t digest[SHARED_DIGEST],
			  void (*free)(struct shared *s))
{
	struct shared *other;

	s->refs = 1;
	s->free = free;
	memcpy(s->digest, digest, SHARED_DIGEST);
	pthread_mutex_lock(&lock);
	other = find_locked(digest);
	if (!other) {
		s->next = *list_of(digest);
		*list_of(digest) = s;
	}
	pthread_mutex_unlock(&lock);
	if (!other)
		return s;
	free(s);
	return other;
}

struct shared *shared_ref(struct shared *s)
{
	pthread_mutex_lock(&lock);
	s->refs++;
	pthread_mutex_unlock(&lock);
	return s;
}

void shared_unref(struct shared *s)
{
	struct shared **at;

	if (!s)
		return;
	pthread_mutex_lock(&lock);
	ASSERT(s->refs > 0);
	if (--s->refs > 0) {
		pthread_mutex_unlock(&lock);
		return;
	}
	for (at = list_of(s->digest); *at != s; at = &(*at)->next)
		;
	*at = s->next;
	pthread_mutex_unlock(&lock);
	s->free(s);
}

/* TLS of a listener as the configuration describes it, with the contents of its files.
 *
 * Only the process that reads the configuration file opens these files: the supervisor's loader,
 * as root. Their contents travel in the snapshot, so the worker process opens none.
 *
 * A file or pair that is used several times is stored once. At a reload a pair that cannot be used
 * is *refused*: if the previous configuration has one of the same paths, its contents are used
 * again, which is reported as a warning and counted. Without a previous one it is an error, except
 * in a folder, where it is left out.
 *
 * Owner: struct config. Private keys are cleansed by config_forget_keys() and config_free().
 * Limits: CONFIG_FILE_PART_BYTES_MAX for a file, CONFIG_CERTIFICATES_MAX for a listener. */
#ifndef CONFIG_TLS_H
#define CONFIG_TLS_H

#include "config/config.h"
#include "tls/context.h"

#define CONFIG_FILE_PART_BYTES_MAX ((size_t)64 << 20)
#define CONFIG_CERTIFICATES_MAX 10000
#define CONFIG_POLICIES_MAX 64
#define CONFIG_POLICY_NAMES_MAX 1000
#define CONFIG_GROUPS_MAX 16
#define CONFIG_TICKET_KEYS_MAX 16

#define CONFIG_DIGEST_BYTES 32

/* A file whose content is part of the configuration: certificates of issuers, revocation lists,
 * keys of tickets. */
struct config_file {
	const char *path; /* as it was opened */
	const char *text; /* as written */
	struct slice bytes;
	uint8_t digest[CONFIG_DIGEST_BYTES]; /* SHA-256 of the content */
	struct config_file *next;            /* in config->files */
};

/* A certificate with its issuers, and its private key. */
struct config_pair {
	const char *chain_path,
		*key_path;       /* as they were opened; equal: one file has both */
	struct slice chain, key; /* PEM; `key` is empty after config_forget_keys() */
	uint8_t digest[CONFIG_DIGEST_BYTES];
	unsigned index;           /* < config->pair_n */
	struct config_pair *next; /* in config->pairs */
};

/* An entry of `certificates`, as written. */
struct config_certificate {
	const char *chain,
		*key; /* `key` NULL: `chain` is a file with both, or a folder */
};

enum config_forward { CONFIG_FORWARD_OFF, CONFIG_FORWARD_LEAF, CONFIG_FORWARD_CHAIN };

struct config_client_auth {
	const struct slice
		*names; /* lower case, exact or *.rest; none: all other names */
	unsigned name_n;
	enum tls_client_auth mode;
	const struct config_file *ca;  /* NULL: mode is off */
	const struct config_file *crl; /* NULL: none */
	uint32_t depth;
	enum config_forward forward;
};

/* `tls` of an entry of `listen`; the two sockets of a port without host share one. */
struct config_tls {
	unsigned index;         /* in config->tls */
	const char *name;       /* of the listener: its address as written */
	unsigned certificate_n; /* entries of `certificates` */
	struct config_certificate *certificates;
	unsigned
		pair_n; /* >= 1: of all entries, in their order; files of a folder by name */
	const struct config_pair **pairs;
	bool default_none; /* no or unknown SNI: refused. Else the first pair */
	enum tls_version min_version;
	unsigned group_n; /* 0: auto */
	struct slice *groups;
	/* The policies for clients' certificates; the first one is that of all names that no other
	 * policy has (mode off unless configured). Their order is that of tls_context_policy(). */
	unsigned policy_n; /* >= 1 */
	struct config_client_auth *policies;
	bool http1, http2; /* versions that are negotiated */
	bool tickets_off;
	unsigned ticket_key_n; /* 0: keys from config->ticket_secret */
	const struct config_file **ticket_keys;
	uint32_t ticket_lifetime_ms;
	uint32_t record_bytes; /* 0: auto */
	enum tls_records records;
	const char *keylog;      /* as written; empty: none */
	const char *keylog_path; /* to open */
};

/* Whether a connection may use TLS. */
bool config_uses_tls(const struct config *c);

/* The context of a listener: slow, not on a worker. NULL: `error` has the reason. `keylog_fd`: -1,
 * or of its file. */
struct tls_context *config_tls_context(const struct config *c, const struct config_tls *t,
				       int keylog_fd, char *error, size_t error_size);

/* Whether config_tls_context() makes the same of both. They may be of different
 * configurations. */
bool config_tls_equal(const struct config *c, const struct config_tls *t,
		      const struct config *d, const struct config_tls *u);

/* For `fairlead -t`: a line for each certificate of each listener and upstream, and warnings to
 * `errors`, of those that expire soon or have expired, and of names that two certificates have. */
void config_list_certificates(const struct config *c, FILE *out, FILE *errors);

/* "2027-01-31" (UTC), of seconds since 1970. */
#define CONFIG_DATE_BYTES 32
void config_date(int64_t seconds, char text[CONFIG_DATE_BYTES]);

/* Whether it expires within so many days (or has expired), and that is worth a message: not if the
 * days are a third of its lifetime or more, as of certificates that are replaced every few days. */
bool config_expires_within(int64_t not_before, int64_t not_after, int64_t now_s,
			   unsigned days);

/* Cleanses the private keys, and drops the snapshot if it has any: no context can be made of it
 * afterwards. */
void config_forget_keys(struct config *c);

#endif

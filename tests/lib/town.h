/* A town: one worker's proxy on the simulated engine, and around it a population of
 * customers, origins and caches that a seed draws, with their manners and mishaps. All of it
 * is one history in virtual time; the same seed gives the same one.
 *
 * What is told to be wrong ends the process (town_wrong()), with the seed and the time. */
#ifndef LIB_TOWN_H
#define LIB_TOWN_H

#include "front/listener.h"
#include "lib/simrig.h"
#include "lib/wire.h"
#include "proxy/proxy.h"

#define TOWN_UPSTREAMS 3
#define TOWN_SERVERS 2  /* of an upstream, at most */
#define TOWN_MOVED 1000 /* from a server's port to that of its other place */
#define TOWN_CUSTOMERS 40
#define TOWN_REQUESTS 8 /* of a customer, at most */
#define TOWN_SOCKETS 4096

/* What an origin does with a request. */
enum play {
	/* The answer is whole. */
	PLAY_LENGTH,
	PLAY_CHUNKED,
	PLAY_UNTIL_CLOSE,
	PLAY_LAST,        /* says Connection: close, and does not close */
	PLAY_SLOW,
	PLAY_INTERIM,
	PLAY_EMPTY,       /* 204 or 304 */
	PLAY_EARLY,       /* before the request is whole */
	PLAY_BUSY,        /* 503 */
	/* It is, and then something happens that should not. */
	PLAY_CLOSES_IDLE,
	PLAY_SPEAKS_IDLE,
	PLAY_TWICE,
	PLAY_LONGER,
	PLAY_REJECTS,     /* early, and reads no more */
	/* It begins, and cannot be whole. */
	PLAY_SHORT,
	PLAY_RESET_BODY,
	PLAY_BAD_CHUNK,
	PLAY_STALL,
	/* It does not begin. */
	PLAY_BAD_HEAD,
	PLAY_FLOOD,       /* of 1xx */
	PLAY_CLOSES,
	PLAY_RESETS,
	PLAY_HALF_HEAD,
	PLAY_SILENT,
	PLAY_DEAF,
	PLAYS,
};
#define PLAY_ILL PLAY_CLOSES_IDLE
#define PLAY_BROKEN PLAY_SHORT
#define PLAY_NONE PLAY_BAD_HEAD

/* What a cache does with a call. */
enum reply {
	REPLY_HIT,
	REPLY_MISS,
	REPLY_SLOW,
	REPLY_ILL,
	REPLY_ERROR = REPLY_ILL,
	REPLY_BAD,
	REPLY_OTHER_KEY,
	REPLY_CUT,
	REPLY_CLOSES,
	REPLY_SILENT,
	REPLIES,
};

enum goal { GOAL_ORIGIN, GOAL_CACHE, GOAL_CACHE_THEN_ORIGIN };

struct request {
	uint32_t id;
	enum goal goal;
	unsigned upstream, method, minor;
	enum play play;
	enum play first;    /* what is done with the first … */
	unsigned firsts;    /* … so many times that it comes, before its play */
	enum reply reply;
	unsigned bad_head;  /* 0, or which mistake + 1 */
	bool bad_body, chunked, closes, expects, waits, hop;
	bool ntlm;          /* its response authenticates the origin's connection */
	unsigned number;    /* of its customer */
	uint32_t up_bytes, down_bytes, pad_bytes;
	unsigned seen, whole; /* by origins: its head, all of it */
	unsigned asked;       /* of caches: so many times */
	bool poisoned;        /* its connection had spoken before it came */
	bool opens;           /* the first of its customer */
	struct customer *customer;
	bool stands_up, stands_down; /* it is said, and answered, element by element */
	uint64_t up_got;      /* of its body, by its origin */
	bool up_open;         /* … in the middle of a chunk */
	bool answered;
	int status;
};

/* What a customer does that is not polite. */
enum manner {
	MANNER_GOOD,
	MANNER_SLOW_READER,
	MANNER_SHUTS,      /* when all is said: it has left, or is owed its answers; see half_close */
	MANNER_ILL,
	MANNER_CUT_SHUTS = MANNER_ILL, /* in the middle of a request */
	MANNER_CUT_RESETS,
	MANNER_CUT_STALLS,
	MANNER_RESETS,     /* at any time */
	MANNER_VANISHES,
	MANNER_SHUTS_EARLY,
	MANNERS,
};

struct text {
	char *at;
	size_t n, room;
};

/* One who says a message element by element: see townstand.c. text.at NULL: nobody does. */
struct stand {
	struct town *town;
	struct request *request;
	struct sim_peer *peer;
	enum wire_way way;
	struct text text;
	size_t at;          /* up to where it was said */
	bool in_body, chunked;
	unsigned interims;
	uint64_t got;       /* of the body, said */
	struct timer timer;
};

struct customer {
	struct town *town;
	unsigned number, n, said, answered, depth;
	struct request *requests[TOWN_REQUESTS];
	enum manner manner;
	unsigned cut;          /* the request that it does not end */
	struct sim_peer *peer;
	struct timer start, harm, body;
	struct request *held;  /* its head was said, its body waits for a 100 */
	bool in_body, closing; /* the last head said that it ends */
	struct wire wire;
	unsigned interims;     /* 1xx before the answer that is due */
	struct stand stand;
	bool harmed, over;
};

/* What the routes to an upstream say of tries. */
struct rule {
	unsigned tries;    /* 0: nothing */
	bool all_methods, all_conditions, hedged;
	uint32_t body;     /* kept */
	bool ample;        /* the budget */
	unsigned percent, per_second;
};

enum shop { SHOP_OPEN, SHOP_REFUSES, SHOP_NEVER_ACCEPTS };

struct server {
	struct town *town;
	struct sim_server host;
	enum shop shop;
	unsigned upstream, port;
};

/* What goes wrong in this town. */
struct weather {
	bool scarce;     /* few connections, places in line, descriptors */
	bool few_buffers;
	bool small_sockets;
	bool ill_origins, ill_caches, ill_customers;
	bool late;       /* some segments are */
	bool accepts;    /* some fail */
	bool drain, memory;
	bool together;   /* all customers come in the same millisecond */
	bool reloads;    /* the configuration changes, again and again */
	bool watched;    /* names of servers move, and servers are asked whether they are well */
	bool flaps;      /* origins stop to listen, and listen again */
	bool moves;      /* names stand for other servers, who are probed up and down */
};

struct town {
	struct simrig sim;
	uint64_t seed, hash;
	bool verbose;
	struct weather weather;
	unsigned upstream_n, server_n[TOWN_UPSTREAMS], cache_n;
	uint32_t connections[TOWN_UPSTREAMS], requests_max[TOWN_UPSTREAMS], links, pipeline;
	struct rule rules[TOWN_UPSTREAMS];
	enum config_reuse reuse[TOWN_UPSTREAMS];
	struct server servers[TOWN_UPSTREAMS][TOWN_SERVERS], caches[TOWN_SERVERS];
	struct server moved[TOWN_UPSTREAMS][TOWN_SERVERS]; /* their other places, if they move */
	struct town_watch *watch; /* NULL: nothing moves */
	struct customer customers[TOWN_CUSTOMERS];
	struct request requests[TOWN_CUSTOMERS * TOWN_REQUESTS];
	unsigned customer_n, request_n;
	struct list visits;
	struct timer drain, cut_off, shortage, flap, move, reload;
	struct list papers;  /* configurations that somebody may still read */
	unsigned reloads_n;
	uint32_t request_body_max;
	bool half_close;   /* routes say that who sends FIN waits for its answers */
	uint64_t left_ms[TOWN_SOCKETS]; /* by socket: since when its client has left */
	uint64_t opened_s;
	bool draining, cut; /* the proxy was told to */
	bool stands;        /* somebody says a message element by element */
	bool closing;       /* the servers were freed */
	bool link_stale;    /* a cache has ended one, see cache_rests() */
	struct worker_stats stats;
	/* By number of the upstream; then the cache, and what only some configurations have. */
	struct upstream_stats upstream_stats[TOWN_UPSTREAMS + 2];
	struct quota clients, descriptors, lines[TOWN_UPSTREAMS + 2];
	struct registry *registries[TOWN_UPSTREAMS + 2];
	struct access access;
	struct proxy proxy;
	struct listener listener;
};

/* One seed from beginning to end: its hash. *exchanges is added to. */
uint64_t town_run(uint64_t seed, bool verbose, uint64_t *exchanges);

/* ---- town.c ----------------------------------------------------------------- */

uint64_t town_draw(struct town *t, uint64_t n);
bool town_chance(struct town *t, unsigned one_in);
void town_note(struct town *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
_Noreturn void town_wrong(struct town *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void town_mark(struct town *t, uint64_t value);
void town_mark_bytes(struct town *t, struct slice bytes);

/* Nothing in this town can keep a good request from its answer. */
bool town_certain(const struct town *t);

const char *request_method(const struct request *r);
bool request_idempotent(const struct request *r);
uint32_t town_draw_size(struct town *t);

/* ---- townwatch.c ------------------------------------------------------------ */

struct town_watch *town_watch_open(struct town *t);
void town_watch_stop(struct town_watch *w);
bool town_watch_idle(const struct town_watch *w);
void town_watch_free(struct town_watch *w);

/* ---- text that grows -------------------------------------------------------- */

void text_add(struct text *x, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_body(struct text *x, uint32_t id, enum wire_way way, uint64_t from, size_t n);
void text_chunk(struct text *x, uint32_t id, enum wire_way way, uint64_t from, size_t n,
		const char *extension);

/* ---- townstand.c ------------------------------------------------------------ */

void stand_draw(struct town *t, struct customer *c, struct request *r);

/* Takes over the text. */
void stand_begin(struct stand *s, struct request *r, struct sim_peer *a,
		 enum wire_way way, struct text *text);
void stand_end(struct stand *s);

/* It is not all said. */
static inline bool stand_on(const struct stand *s)
{
	return s->text.at && s->at < s->text.n;
}

/* ---- customer.c ------------------------------------------------------------- */

void customer_init(struct customer *c, struct town *t, unsigned number);
void customer_look(struct customer *c); /* at what nobody calls it for */
void customer_done(struct customer *c);
_Noreturn void customer_waits(struct customer *c); /* for ever: that is wrong */

/* ---- server.c --------------------------------------------------------------- */

void server_open(struct server *s, struct town *t, unsigned upstream, unsigned port, bool cache);
void servers_done(struct town *t);

/* One of an origin's that listens stops to, and breaks its connections perhaps, or listens
 * again. */
void server_flap(struct server *s);

#endif

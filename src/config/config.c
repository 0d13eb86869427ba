#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reader.h"
#include "value.h"

static const struct source_pos start = { 1, 1 };

static bool address_read(struct reader *r, const struct node *n, struct config_address *a)
{
	const char *fault;
	unsigned found;

	if (!scalar_check(r, n, "HOST:PORT"))
		return false;
	fault = address_answer(r, n->text, true, a, 1, &found);
	if (fault)
		report_error(&r->report, n->at, "%s", fault);
	return !fault;
}

static bool address_equal(const struct config_address *a, const struct config_address *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

/* Nothing else of this process may listen there already. */
static void address_free_check(struct reader *r, const struct node *n,
			       const struct config_address *a)
{
	const struct config *c = r->config;

	for (unsigned i = 0; i < c->listen_n; i++) {
		if (!address_equal(&c->listens[i], a))
			continue;
		report_error(
			&r->report, n->at,
			"'%s' is already used by another listener; use another address, or "
			"remove it",
			a->text);
		return;
	}
}

/* "8080", ":8080" or "*:8080": the port; empty: it is something else. */
static struct slice port_alone(struct slice text)
{
	struct slice port = text;

	if (slice_starts(port, SLICE("*:")))
		port = slice_after(port, 2);
	else if (slice_starts(port, SLICE(":")))
		port = slice_after(port, 1);
	for (size_t i = 0; i < port.len; i++)
		if (port.ptr[i] < '0' || port.ptr[i] > '9')
			return (struct slice){ NULL, 0 };
	return port;
}

static void listen_at(struct reader *r, const struct node *n, enum config_half half)
{
	struct config_address *a = &r->config->listens[r->config->listen_n];

	if (!address_read(r, n, a))
		return;
	a->half = (uint8_t)half;
	address_free_check(r, n, a);
	r->config->listen_n++;
}

/* A port alone is one of all addresses, of both families. */
static void listen_both(struct reader *r, const struct node *n, struct slice port)
{
	static const char *const hosts[] = { [CONFIG_HALF_IPV4] = "0.0.0.0",
					     [CONFIG_HALF_IPV6] = "[::]" };
	unsigned errors = r->report.n;

	for (int half = CONFIG_HALF_IPV4; half <= CONFIG_HALF_IPV6 && r->report.n == errors;
	     half++) {
		struct node one = *n;

		one.text = slice_of(arena_format(&r->scratch, "%s:%.*s", hosts[half],
						 REPORT_ARG(port)));
		listen_at(r, &one, (enum config_half)half);
	}
}

/* The address in a map, whose other keys are read as well, or what stands alone. NULL: reported. */
static const struct node *unwrap(struct reader *r, const struct node *n, struct found *found,
				 struct config_rights *rights)
{
	if (n->kind != NODE_MAP)
		return n;
	section_read(r, n, SECTION_listen, rights, found);
	return found->nodes[KEY_listen_address];
}

static void listen_read(struct reader *r, const struct node *n)
{
	const struct config *c = r->config;
	struct config_rights rights = { .paths_strict = false };
	struct found found = { { NULL } };
	const struct node *address = unwrap(r, n, &found, &rights);
	unsigned before = c->listen_n;
	struct slice port = { NULL, 0 };

	if (!address)
		return;
	if (address->kind == NODE_SCALAR)
		port = port_alone(address->text);
	if (port.len > 0)
		listen_both(r, address, port);
	else
		listen_at(r, address, CONFIG_WHOLE);
	for (unsigned i = before; i < c->listen_n; i++)
		c->listens[i].paths_strict = rights.paths_strict;
	if (c->listen_n > before)
		rights_read(r, &found, &c->listens[before], &rights);
}

static void listens_read(struct reader *r, const struct node *list)
{
	struct config *c = r->config;

	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, CONFIG_LISTENS_MAX,
			    "'listen: [HOST:PORT]'"))
		return;
	c->listens = arena_take(r->memory, 2 * list->child_n * sizeof(c->listens[0]));
	for (const struct node *n = list->children; n; n = n->next)
		listen_read(r, n);
}

static void admin_read(struct reader *r, const struct node *n)
{
	struct config_address *a = &r->config->admin;
	struct config_rights rights;
	struct found found = { { NULL } };

	n = unwrap(r, n, &found, &rights);
	if (found.nodes[KEY_listen_paths])
		report_error(
			&r->report, found.nodes[KEY_listen_paths]->key->at,
			"'paths' applies to routed requests, and 'admin' has no routes; "
			"remove it");
	r->config->has_admin = n && address_read(r, n, a);
	if (!r->config->has_admin)
		return;
	address_free_check(r, n, a);
	rights_read(r, &found, a, &rights);
}

static void control_read(struct reader *r, const struct node *n)
{
	struct config_address *a = &r->config->control;

	if (!address_read(r, n, a))
		return;
	r->config->has_control = a->sa.ss_family == AF_UNIX;
	if (!r->config->has_control)
		report_error(&r->report, n->at,
			     "'control' must be a unix socket; write unix:/PATH");
	else
		address_free_check(r, n, a);
}

static void access_log_read(struct reader *r, const struct node *n)
{
	struct config *c = r->config;
	struct found found;

	section_read(r, n && n->kind == NODE_MAP ? n : NULL, SECTION_access_log, c,
		     &found);
	if (n && n->kind == NODE_MAP)
		return;
	c->log_format = CONFIG_LOG_OFF;
	if (n && (n->kind != NODE_SCALAR || !value_is_off(n->text)))
		report_error(
			&r->report, n->at,
			"'access_log' takes off or a map; write off, or { path: FILE, "
			"format: combined }");
}

static void limits_read(struct reader *r, const struct node *n)
{
	struct config_limits *l = &r->config->limits;
	struct found found;

	if (section_read(r, n, SECTION_limits, l, &found) && l->window > l->buffers)
		report_error(
			&r->report, node_pos(n),
			"'window' is larger than 'buffers'; write a smaller 'window', or "
			"larger 'buffers'");
}

/* Routes come last, wherever they stand: they name what the rest defines. */
static void top_read(struct reader *r, const struct node *root)
{
	static const struct {
		enum key_id key;
		void (*read)(struct reader *r, const struct node *n);
	} nodes[] = {
		{ KEY_top_listen, listens_read },
		{ KEY_top_admin, admin_read },
		{ KEY_top_control, control_read },
		{ KEY_top_trusted_proxies, trust_read },
		{ KEY_top_upstreams, upstreams_read },
		{ KEY_top_routes, routes_read },
	};
	struct found found;

	if (!section_read(r, root, SECTION_top, r->config, &found))
		return;
	user_read(r, found.nodes[KEY_top_user], found.nodes[KEY_top_group]);
	access_log_read(r, found.nodes[KEY_top_access_log]);
	limits_read(r, found.nodes[KEY_top_limits]);
	resolver_read(r, found.nodes[KEY_top_resolver]);
	for (size_t i = 0; i < COUNT(nodes); i++)
		if (found.nodes[nodes[i].key])
			nodes[i].read(r, found.nodes[nodes[i].key]);
	lookups_resolve(r);
	if (r->report.n == 0)
		upstreams_unused(r);
}

static void text_read(struct reader *r, struct slice text)
{
	const struct node *root;

	if (!r->answers.given)
		answer_keep(&r->answers, ANSWER_FILE, slice_of(r->config->file), text);
	if (text.len > CONFIG_FILE_BYTES_MAX) {
		report_error(&r->report, start,
			     "the file is larger than %zu bytes; shorten it",
			     CONFIG_FILE_BYTES_MAX);
		return;
	}
	root = node_read(text, &r->scratch, &r->report);
	if (root && !node_is_null(root))
		top_read(r, root);
	else if (r->report.n == 0)
		report_error(
			&r->report, start,
			"the file is empty; write at least 'listen: [127.0.0.1:8080]', "
			"'upstreams' and 'routes'");
}

/* Prints the errors and gives everything back, or hands the configuration out. */
static struct config *finish(struct reader *r, FILE *errors)
{
	struct config *c = r->config;
	bool failed = r->report.n > 0;

	if (r->dns)
		dns_free(r->dns);
	report_print(&r->report, errors);
	report_done(&r->report);
	names_done(&r->upstreams);
	names_done(&r->known_names);
	arena_free(&r->scratch);
	if (failed) {
		if (!r->answers.given)
			free(r->answers.bytes);
		arena_free(r->memory);
		return NULL;
	}
	if (!r->answers.given)
		c->snapshot = answers_take(&r->answers);
	c->memory = arena_take(r->memory, sizeof(*r->memory));
	*(struct arena *)c->memory = *r->memory;
	return c;
}

static bool is_input(const char *file)
{
	return strcmp(file, "-") == 0;
}

bool config_is_from_input(const struct config *c)
{
	return is_input(c->file);
}

struct slice config_source(const struct config *c)
{
	struct answers answers = { .bytes = (char *)(uintptr_t)c->snapshot.ptr,
				   .n = c->snapshot.len, .given = true };
	struct slice file, text = { NULL, 0 };

	answer_first(&answers, ANSWER_FILE, &file, &text);
	return text;
}

static void reader_init(struct reader *r, struct arena *memory, const char *file)
{
	*r = (struct reader){ .memory = memory,
			      .report.file = is_input(file) ? "standard input" : file };
	r->config = arena_take(memory, sizeof(*r->config));
	r->config->file = arena_text(memory, slice_of(file));
}

struct config *config_read_text(const char *file, struct slice text, FILE *errors)
{
	struct arena memory = { 0 };
	struct reader r;

	reader_init(&r, &memory, file);
	text_read(&r, text);
	return finish(&r, errors);
}

struct config *config_read_snapshot(struct slice snapshot, FILE *errors)
{
	const struct answers given = { .bytes = (char *)(uintptr_t)snapshot.ptr,
				       .n = snapshot.len,
				       .given = true };
	struct arena memory = { 0 };
	struct slice file, text;
	struct reader r;

	if (!answer_first(&given, ANSWER_FILE, &file, &text))
		return NULL;
	reader_init(&r, &memory, arena_text(&memory, file));
	r.answers = given;
	r.report.no_warnings = true;
	text_read(&r, text);
	return finish(&r, errors);
}

void config_keep_snapshot(struct config *c, struct slice snapshot)
{
	char *copy = malloc(snapshot.len);

	ASSERT(copy && !c->snapshot.ptr); /* as in arena.h */
	c->snapshot = (struct slice){ memcpy(copy, snapshot.ptr, snapshot.len),
				      snapshot.len };
}

/* What root obeys must be written by those it trusts. */
static bool is_open_to_all(int fd)
{
	struct stat st;

	return geteuid() == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_mode & S_IWOTH;
}

/* All that `fd` has, and a byte more than is allowed at most. 0 or negative errno. */
static int text_take(int fd, char **text, size_t *n)
{
	size_t room = 0;
	ssize_t got = 1;

	while (got > 0 && *n <= CONFIG_FILE_BYTES_MAX) {
		if (*n == room) {
			room = room > 0 ? 2 * room : 65536;
			*text = realloc(*text, room);
			ASSERT(*text); /* as in arena.h */
		}
		got = read(fd, *text + *n, room - *n);
		if (got > 0)
			*n += (size_t)got;
		else if (got < 0)
			got = errno == EINTR ? 1 : -errno;
	}
	return got < 0 ? (int)got : 0;
}

/* 0 or negative errno. -EKEYREJECTED: open to all. */
static int file_read(const char *file, char **text, size_t *n)
{
	int fd = is_input(file) ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) :
				  open(file, O_RDONLY | O_CLOEXEC);
	int error = fd < 0 ? -errno : is_open_to_all(fd) ? -EKEYREJECTED : 0;

	if (error == 0)
		error = text_take(fd, text, n);
	if (fd >= 0)
		close(fd);
	return error;
}

struct config *config_read(const char *file, FILE *errors)
{
	return config_read_with(file, &(struct config_options){ .strict = false },
				errors);
}

struct config *config_read_with(const char *file, const struct config_options *how,
				FILE *errors)
{
	struct arena memory = { 0 };
	struct reader r;
	struct config *c;
	char *text = NULL;
	size_t n = 0;
	int error;

	reader_init(&r, &memory, file);
	r.strict = how->strict;
	r.known = how->known_addresses;
	error = file_read(file, &text, &n);
	if (error == -EKEYREJECTED)
		report_error(
			&r.report, start,
			"this file is writable by all users, and fairlead runs as root; "
			"run 'chmod o-w %s'",
			file);
	else if (error < 0)
		report_error(&r.report, start,
			     "cannot be read (%s); use the name of a readable file",
			     strerror(-error));
	else
		text_read(&r, (struct slice){ text, n });
	c = finish(&r, errors);
	free(text);
	return c;
}

void config_free(struct config *c)
{
	struct arena memory;

	if (!c)
		return;
	free((void *)(uintptr_t)c->snapshot.ptr);
	memory = *(struct arena *)c->memory;
	arena_free(&memory);
}

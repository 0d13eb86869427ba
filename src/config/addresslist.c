/* Reads lists of addresses, and the groups that such lists can name. */
#include "contents.h"
#include "config/nearest.h"

/* What one list adds up to, while it is read. */
struct collector {
	struct config_reader *r;
	const char *form;        /* of the whole list, as an example */
	struct ip_range *ranges; /* scratch memory */
	unsigned n, capacity;
	bool unix_sockets;
	bool refused; /* reported */
};

/* An entry of `addresses`. */
struct address_group {
	struct defined_name name;
	const struct config_addresses *list; /* NULL: refused, which has been reported */
};

/* The result of a list; NULL: refused. */
struct list_read {
	const struct config_addresses *list;
};

/* The prefix length, such as 8; above `max`: the text is not a number, or too large. */
static unsigned bits_of(struct slice text, unsigned max)
{
	unsigned bits = 0;

	if (text.len == 0 || text.len > 3)
		return max + 1;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return max + 1;
		bits = bits * 10 + (unsigned)(text.ptr[i] - '0');
	}
	return bits;
}

/* Parses ADDRESS or ADDRESS/BITS; `other` is what else could be there. Returns NULL, or what is
 * wrong and the remedy. */
static const char *network_read(struct config_reader *r, struct slice text,
				const char *other, struct ip_range *range)
{
	const char *slash = memchr(text.ptr, '/', text.len);
	struct slice address = { text.ptr,
				 slash ? (size_t)(slash - text.ptr) : text.len };
	struct slice bits_text = slice_after(text, slash ? address.len + 1 : text.len);
	unsigned max, bits, mapped;
	char first[IP_TEXT_MAX];
	struct ip ip;

	if (!ip_parse(&ip, address))
		return arena_format(
			&r->scratch,
			"'%.*s' is not an IP address; write %s, as in 10.0.0.0/8 or "
			"2001:db8::/32",
			REPORT_ARG(text), other);
	/* The first 96 bits of ::ffff:10.0.0.0/104 are the prefix of IPv4-mapped addresses. */
	mapped = ip.family == 4 && memchr(address.ptr, ':', address.len) ? 96 : 0;
	max = ip.family == 4 ? 32 : 128;
	bits = slash ? bits_of(bits_text, max + mapped) : max + mapped;
	if (bits > max + mapped || bits < mapped)
		return arena_format(
			&r->scratch,
			"'%.*s' has an invalid prefix length; write /%u to /%u, or remove "
			"it for a single address",
			REPORT_ARG(text), mapped, max + mapped);
	*range = ip_network(&ip, bits - mapped);
	if (ip_compare(&range->first, &ip) == 0)
		return NULL;
	ip_text(&range->first, first);
	return arena_format(
		&r->scratch,
		"'%.*s' has host bits set; write %s/%u for the network, or '%.*s' "
		"for the single address",
		REPORT_ARG(text), first, bits - mapped, REPORT_ARG(address));
}

/* False: there are too many, which was reported. */
static bool collect(struct collector *c, struct source_pos at,
		    const struct ip_range *ranges, unsigned n)
{
	if (n > CONFIG_RANGES_MAX - c->n) {
		if (!c->refused)
			report_error(
				&c->r->report, at,
				"this list has more than %d addresses; remove some of them",
				CONFIG_RANGES_MAX);
		c->refused = true;
		return false;
	}
	if (c->n + n > c->capacity) {
		struct ip_range *old = c->ranges;

		c->capacity = 2 * (c->n + n);
		c->ranges = arena_alloc(&c->r->scratch, c->capacity * sizeof(*ranges));
		if (c->n > 0)
			memcpy(c->ranges, old, c->n * sizeof(*ranges));
	}
	if (n > 0)
		memcpy(c->ranges + c->n, ranges, n * sizeof(*ranges));
	c->n += n;
	return true;
}

/* ---- files --------------------------------------------------------------------- */

/* Cuts a line off, and from the line its comment and the spaces around it. */
static struct slice line_take(struct slice *rest)
{
	const char *end = memchr(rest->ptr, '\n', rest->len), *hash;
	struct slice line = { rest->ptr, end ? (size_t)(end - rest->ptr) : rest->len };

	*rest = slice_after(*rest, end ? line.len + 1 : line.len);
	hash = memchr(line.ptr, '#', line.len);
	if (hash)
		line.len = (size_t)(hash - line.ptr);
	while (line.len > 0 && (unsigned char)line.ptr[0] <= ' ')
		line = slice_after(line, 1);
	while (line.len > 0 && (unsigned char)line.ptr[line.len - 1] <= ' ')
		line.len--;
	return line;
}

/* Collects the addresses of the file that `n` names. `name` is NULL: returns the number of the
 * first invalid line, or 0. Otherwise all invalid lines are reported in the file of this name. */
static unsigned lines_read(struct collector *c, const struct node *n,
			   const struct config_file *file, const char *name)
{
	unsigned file_n = name ? report_file(&c->r->report, name) : 0;
	struct slice rest = file->bytes;

	for (unsigned line_n = 1; rest.len > 0; line_n++) {
		const char *begin = rest.ptr, *fault;
		struct slice line = line_take(&rest);
		struct source_pos at = { line_n, (unsigned)(line.ptr - begin) + 1,
					 file_n };
		struct ip_range range;

		if (line.len == 0)
			continue;
		fault = network_read(c->r, line, "ADDRESS or ADDRESS/BITS", &range);
		if (fault && !name)
			return line_n;
		if (fault)
			report_error(&c->r->report, at, "%s", fault);
		else if (!collect(c, n->at, &range, 1))
			return 0;
	}
	return 0;
}

/* As for all contents of files: a file that is invalid at a reload leaves the previous content in
 * force. */
static void file_collect(struct collector *c, const struct node *n)
{
	struct node path = *n;
	unsigned before = c->n, invalid;
	const struct config_file *f;

	path.text = slice_after(n->text, strlen("file:"));
	f = tls_begin(c->r, n) ? file_read(c->r, &path, "file:PATH") : NULL;
	if (!f) {
		c->refused = true;
		return;
	}
	invalid = lines_read(c, n, f, NULL);
	if (invalid > 0 &&
	    file_revert(
		    c->r, n, f,
		    arena_format(&c->r->scratch, "line %u is not an address", invalid))) {
		c->n = before;
		invalid = lines_read(c, n, f, NULL);
	}
	if (invalid > 0) {
		c->n = before;
		lines_read(c, n, f, f->path);
		c->refused = true;
	}
}

/* ---- groups -------------------------------------------------------------------- */

static void group_unknown(struct collector *c, const struct node *n, struct slice name)
{
	struct nearest near = { .word = name };
	const struct config *config = c->r->config;

	for (unsigned i = 0; i < config->group_n; i++)
		nearest_offer(&near, slice_of(config->groups[i].name));
	if (near.best.len > 0)
		report_error(&c->r->report, n->at, "unknown group '@%.*s'; write '@%.*s'",
			     REPORT_ARG(name), REPORT_ARG(near.best));
	else
		report_error(
			&c->r->report, n->at,
			"unknown group '@%.*s'; define it under 'addresses', above those "
			"that name it",
			REPORT_ARG(name));
	c->refused = true;
}

static void group_collect(struct collector *c, const struct node *n)
{
	struct slice name = slice_after(n->text, 1);
	struct names_entry *e = names_find(&c->r->groups, name);
	const struct config_addresses *list;

	if (!e) {
		group_unknown(c, n, name);
		return;
	}
	list = CONTAINER(CONTAINER(e, struct defined_name, entry), struct address_group,
			 name)
		       ->list;
	c->refused |= !list;
	if (!list || !collect(c, n->at, list->ranges, list->range_n))
		return;
	c->unix_sockets |= list->unix_sockets;
}

/* ---- lists --------------------------------------------------------------------- */

static void entry_collect(struct collector *c, const struct node *n)
{
	struct config_reader *r = c->r;
	struct ip_range range;
	const char *fault;

	if (!scalar_check(r, n,
			  arena_format(&r->scratch, "an address, as in %s", c->form))) {
		c->refused = true;
	} else if (slice_equal(n->text, SLICE("unix"))) {
		c->unix_sockets = true;
	} else if (slice_starts(n->text, SLICE("file:"))) {
		file_collect(c, n);
	} else if (n->text.ptr[0] == '@') {
		group_collect(c, n);
	} else {
		fault = network_read(r, n->text, "ADDRESS, ADDRESS/BITS or unix", &range);
		if (fault)
			report_error(&r->report, n->at, "%s", fault);
		c->refused |= fault != NULL;
		if (!fault)
			collect(c, n->at, &range, 1);
	}
}

/* The entry for `--print`. */
static const char *entry_written(struct config_reader *r, const struct node *n)
{
	struct node path = *n;

	if (!slice_starts(n->text, SLICE("file:")) || n->text.len == strlen("file:"))
		return arena_text(r->memory, n->text);
	path.text = slice_after(n->text, strlen("file:"));
	return arena_format(r->memory, "file:%s", contents_written(r, &path));
}

static const struct config_addresses *list_read(struct config_reader *r,
						const struct node *list, const char *form)
{
	struct collector c = { .r = r, .form = form };
	struct config_addresses *a = arena_alloc(r->memory, sizeof(*a));

	list = list_of(r, list);
	if (!children_check(r, list, NODE_LIST, NODE_CHILDREN_MAX, form))
		return NULL;
	a->texts = arena_alloc(r->memory, list->child_n * sizeof(a->texts[0]));
	for (const struct node *n = list->children; n; n = n->next) {
		if (n->kind == NODE_SCALAR)
			a->texts[a->text_n++] = entry_written(r, n);
		entry_collect(&c, n);
	}
	a->unix_sockets = c.unix_sockets;
	a->range_n = ip_ranges_sort(c.ranges, c.n);
	if (c.n > 0)
		a->ranges = arena_copy(r->memory, c.ranges,
				       a->range_n * sizeof(a->ranges[0]));
	return c.refused ? NULL : a;
}

/* Sections that inherit a list have copies of its node, which share what is in it. */
const struct config_addresses *addresses_read(struct config_reader *r,
					      const struct node *list, const char *form)
{
	const void *inside = list->kind == NODE_SCALAR ? (const void *)list->text.ptr
						       : list->children;
	struct slice key = slice_of(arena_format(&r->scratch, "addresses %p", inside));
	struct list_read *known = inside ? stored_find(r, key) : NULL;

	if (known)
		return known->list;
	known = arena_alloc(&r->scratch, sizeof(*known));
	known->list = list_read(r, list, form);
	if (inside)
		stored_put(r, key, known);
	return known->list;
}

void address_groups_read(struct config_reader *r, const struct node *map)
{
	static const char form[] = "'addresses: { NAME: [10.0.0.0/8] }'";
	struct config *c = r->config;

	if (!children_check(r, map, NODE_MAP, NODE_CHILDREN_MAX, form))
		return;
	c->groups = arena_alloc(r->memory, map->child_n * sizeof(c->groups[0]));
	for (const struct node *n = map->children; n; n = n->next) {
		const struct config_addresses *list = addresses_read(r, n, form);
		struct address_group *g = arena_alloc(&r->scratch, sizeof(*g));

		g->list = list;
		if (name_define_as(r, &r->groups, n, &g->name))
			c->groups[c->group_n++] = (struct config_group){
				arena_text(r->memory, n->key->text), list
			};
	}
}

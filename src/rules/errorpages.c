/* The rule `error_pages`: the body of an error response is that of a file.
 *
 * A page takes the place of a body, never of another page, so nothing can loop. The fields of the
 * origin's response that a client needs beside the page stay: those that rule.h lists. */
#include "http/accept.h"
#include "page.h"
#include "proxy/rule.h"

#define PAGES_MAX 32 /* of a rule */

struct error_page {
	uint16_t first, last; /* the statuses it is for */
	uint16_t status;      /* that is sent; 0: the same */
	struct slice key;     /* as written */
	struct page page;
};

struct config_error_pages {
	bool own_only; /* responses of origins stay as they are */
	unsigned n;
	struct error_page
		of[PAGES_MAX]; /* those for the same statuses follow each other */
};

/* ---- configuration ----------------------------------------------------------- */

enum { KEY_STATUSES, KEY_OF };

static const struct key pages_keys[] = {
	[KEY_STATUSES] = NODE_ROW(
		STATUS, "FILE, [FILE, …] or { file: …, status: N }", "none",
		"a status (404), a range (502-504) or a class (5xx), of which the first that has "
		"the status counts; then the file with the body, relative to the folder of the "
		"configuration file. Of several files the one is sent whose type the Accept "
		"field of the request wants most, else the first. The status stays, unless "
		"`status` names another one. At most 64 KiB; read with the configuration"),
	[KEY_OF] = NODE_ROW(
		of, "all or own", "all",
		"own: responses of origins stay as they are; only those that fairlead makes "
		"itself get a page"),
};

static const struct section pages_section = { "routes[].error_pages.", pages_keys,
					      COUNT(pages_keys) };
static const struct section *const pages_sections[] = { &pages_section, NULL };

struct page_options {
	uint32_t status;
};

enum { KEY_PAGE_FILE, KEY_PAGE_STATUS };

static const struct key page_keys[] = {
	[KEY_PAGE_FILE] = NODE_ROW(file, "FILE or [FILE, …]", "required", "the files"),
	[KEY_PAGE_STATUS] = KEY_ROW(struct page_options, status, COUNT, status, "same",
				    200, 599, "same", ANY, "the status that is sent"),
};

static const struct section page_section = { "routes[].error_pages.STATUS.", page_keys,
					     COUNT(page_keys) };

static bool number_parse(struct slice s, uint16_t *number)
{
	*number = 0;
	if (s.len != 3)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return false;
		*number = (uint16_t)(*number * 10 + (s.ptr[i] - '0'));
	}
	return *number >= 400 && *number <= 599;
}

/* "404", "502-504", "5xx". */
static bool statuses_parse(struct slice s, struct error_page *p)
{
	if (s.len == 3 && (s.ptr[0] == '4' || s.ptr[0] == '5') && s.ptr[1] == 'x' &&
	    s.ptr[2] == 'x') {
		p->first = (uint16_t)((s.ptr[0] - '0') * 100);
		p->last = (uint16_t)(p->first + 99);
		return true;
	}
	if (s.len == 7 && s.ptr[3] == '-')
		return number_parse((struct slice){ s.ptr, 3 }, &p->first) &&
		       number_parse((struct slice){ s.ptr + 4, 3 }, &p->last) &&
		       p->first <= p->last;
	p->last = number_parse(s, &p->first) ? p->first : 0;
	return p->last > 0;
}

static void page_add(struct config_reader *r, const struct node *file,
		     const struct error_page *like, struct config_error_pages *pages)
{
	struct error_page *p = &pages->of[pages->n];

	if (pages->n == PAGES_MAX) {
		report_error(reader_report(r), file->at,
			     "more than %d error pages in one route; remove this one",
			     PAGES_MAX);
		return;
	}
	if (!page_file_read(r, file, "the path of a file", &p->page))
		return;
	p->first = like->first;
	p->last = like->last;
	p->status = like->status;
	p->key = like->key;
	pages->n++;
}

static void files_read(struct config_reader *r, const struct node *n,
		       const struct error_page *like, struct config_error_pages *pages)
{
	if (n->kind != NODE_LIST) {
		page_add(r, n, like, pages);
		return;
	}
	if (!children_check(r, n, NODE_LIST, PAGES_MAX, "[FILE, FILE]"))
		return;
	for (const struct node *one = n->children; one; one = one->next)
		page_add(r, one, like, pages);
}

static void entry_read(struct config_reader *r, const struct node *n,
		       struct config_error_pages *pages)
{
	struct error_page like = { .key = { arena_text(reader_memory(r), n->key->text),
					    n->key->text.len } };
	struct page_options options;
	struct section_values values;

	if (!statuses_parse(n->key->text, &like)) {
		report_error(
			reader_report(r), n->key->at,
			"this is no status of an error; write 404, 502-504, 4xx or 5xx");
		return;
	}
	if (n->kind != NODE_MAP) {
		files_read(r, n, &like, pages);
		return;
	}
	if (!section_read(r, n, &page_section, &options, &values))
		return;
	like.status = (uint16_t)options.status;
	if (like.status == 204 || like.status == 205 || like.status == 304)
		report_error(
			reader_report(r), values.of[KEY_PAGE_STATUS]->at,
			"a response with this status has no body; remove 'status'");
	if (values.of[KEY_PAGE_FILE])
		files_read(r, values.of[KEY_PAGE_FILE], &like, pages);
}

static void of_read(struct config_reader *r, const struct node *n,
		    struct config_error_pages *pages)
{
	pages->own_only = n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("own"));
	if (!pages->own_only &&
	    !(n->kind == NODE_SCALAR && slice_equal(n->text, SLICE("all"))))
		report_error(reader_report(r), n->at,
			     "'of' is all or own; write 'of: all' or 'of: own'");
}

/* True: there are several pages for the same statuses. */
static bool has_choice(const struct config_error_pages *pages)
{
	for (unsigned i = 1; i < pages->n; i++)
		if (pages->of[i].first == pages->of[i - 1].first &&
		    pages->of[i].last == pages->of[i - 1].last)
			return true;
	return false;
}

static const void *pages_read(struct config_reader *r, const struct node *n,
			      struct config_route *route)
{
	struct config_error_pages *pages = arena_alloc(reader_memory(r), sizeof(*pages));

	if (!children_check(r, n, NODE_MAP, PAGES_MAX, "'error_pages: { 5xx: FILE }'"))
		return NULL;
	for (const struct node *one = n->children; one; one = one->next) {
		if (slice_equal(one->key->text, SLICE("of")))
			of_read(r, one, pages);
		else
			entry_read(r, one, pages);
	}
	if (has_choice(pages))
		rule_keeps_head(route);
	return arena_copy(reader_memory(r), pages,
			  offsetof(struct config_error_pages, of) +
				  pages->n * sizeof(pages->of[0]));
}

static void pages_print(FILE *out, const struct config *c, const void *options)
{
	const struct config_error_pages *pages = options;

	(void)c;
	print_indent(out, ACTION_DEPTH);
	fputs("error_pages:\n", out);
	print_indent(out, ACTION_DEPTH + 1);
	fprintf(out, "of: %s\n", pages->own_only ? "own" : "all");
	for (unsigned i = 0; i < pages->n; i++) {
		const struct error_page *p = &pages->of[i];

		if (i == 0 || p->key.ptr != pages->of[i - 1].key.ptr) {
			print_indent(out, ACTION_DEPTH + 1);
			fprintf(out, "%.*s:\n", SLICE_ARG(p->key));
			print_indent(out, ACTION_DEPTH + 2);
			if (p->status > 0)
				fprintf(out, "status: %u\n", p->status);
			else
				fputs("status: same\n", out);
			print_indent(out, ACTION_DEPTH + 2);
			fputs("file:\n", out);
		}
		print_indent(out, ACTION_DEPTH + 3);
		fputs("- \"", out);
		print_quoted(out, slice_of(p->page.path));
		fputs("\"\n", out);
	}
}

/* ---- responses ---------------------------------------------------------------- */

/* The first entry that has the status, and of its pages the one that the request wants most. */
static const struct error_page *page_choose(const struct config_error_pages *pages,
					    int status, const struct request_view *view)
{
	const struct error_page *best = NULL;
	unsigned best_weight = 0;

	for (const struct error_page *p = pages->of; p < pages->of + pages->n; p++) {
		unsigned weight;

		if (status < p->first || status > p->last ||
		    (best && best->key.ptr != p->key.ptr))
			continue;
		weight = view ? accept_weight(view->head, p->page.type) : 0;
		if (best && weight <= best_weight)
			continue;
		best = p;
		best_weight = weight;
	}
	return best;
}

static bool error_page(const struct rule_use *u, const struct request_view *view,
		       int status, bool own, struct rule_page *page)
{
	const struct config_error_pages *pages = u->options;
	const struct error_page *p = NULL;

	if (own || !pages->own_only)
		p = page_choose(pages, status, view);
	if (!p)
		return false;
	*page = (struct rule_page){ .status = p->status > 0 ? p->status : status,
				    .content_type = p->page.type,
				    .body = p->page.body };
	return true;
}

const struct rule rule_error_pages = {
	.config = {
		.key = NODE_ROW(error_pages, "{ STATUS: FILE, … }", "none",
				"rule: files with the bodies of error responses, of origins and of "
				"fairlead itself"),
		.sections = pages_sections,
		.read = pages_read,
		.print = pages_print,
	},
	.page = error_page,
};

#include "explain/why.h"

#include <errno.h>
#include <stdlib.h>

#include "explain/explain.h"
#include "logline.h"

#define TEXT_MAX 16384

/* What is looked for. */
struct wanted {
	struct slice id;           /* empty: by target */
	struct slice host, target; /* host: empty: any */
};

static void wanted_make(struct wanted *w, const char *what)
{
	const char *mark = strstr(what, "://");

	*w = (struct wanted){ .target = slice_of(what) };
	if (mark && what[0] != '/') {
		w->host = (struct slice){ mark + 3, strcspn(mark + 3, "/?") };
		w->target = slice_of(mark + 3 + w->host.len);
		if (w->target.len == 0)
			w->target = SLICE("/");
	} else if (what[0] != '/') {
		w->id = slice_of(what);
	}
}

/* "GET /x HTTP/1.1": the part in the middle. */
static struct slice target_of(struct slice request)
{
	const char *first = memchr(request.ptr, ' ', request.len),
		   *last = memrchr(request.ptr, ' ', request.len);

	return first && last > first
		       ? (struct slice){ first + 1, (size_t)(last - first) - 1 }
		       : (struct slice){ request.ptr, 0 };
}

static bool is_wanted(const struct wanted *w, struct slice line)
{
	struct slice value, host;

	if (w->id.len > 0)
		return logline_member(line, "request_id", &value) &&
		       slice_equal(value, w->id);
	return logline_member(line, "request", &value) &&
	       slice_equal(target_of(value), w->target) &&
	       (w->host.len == 0 || (logline_member(line, "host", &host) &&
				     slice_equal_nocase(host, w->host)));
}

static void member_text(struct slice line, const char *name, char text[TEXT_MAX])
{
	struct slice value;

	text[0] = '\0';
	if (logline_member(line, name, &value))
		logline_text(value, text, TEXT_MAX);
}

/* "  NAME  value", if the line has it. */
static void member_print(FILE *out, struct slice line, const char *name)
{
	char text[TEXT_MAX];

	member_text(line, name, text);
	if (text[0] != '\0')
		fprintf(out, "  %-14s %s\n", name, text);
}

static void line_print(FILE *out, struct slice line)
{
	static const char *const members[] = {
		"time",   "request_id", "client",   "host",       "status",
		"ending", "route",      "upstream", "server",     "tries",
		"hedge",  "took_us",    "times_us", "sent_bytes", "tls",
	};
	char text[TEXT_MAX];

	member_text(line, "request", text);
	fprintf(out, "%s\n", text);
	for (size_t i = 0; i < COUNT(members); i++)
		member_print(out, line, members[i]);
}

/* What the log has of a request. */
struct logged {
	char request[TEXT_MAX], host[TEXT_MAX], client[TEXT_MAX];
	char agent[TEXT_MAX + 16], url[2 * TEXT_MAX + 16];
};

/* Why this route: by what the log has of the request. */
static void route_explain(const struct config *c, struct slice line, FILE *out)
{
	struct logged *l = calloc(1, sizeof(*l));
	struct explain_request r = { 0 };
	struct slice value, target;

	ASSERT(l);
	r = (struct explain_request){ .method = l->request,
				      .url = l->url,
				      .client = l->client };
	member_text(line, "request", l->request);
	member_text(line, "host", l->host);
	member_text(line, "client", l->client);
	if (logline_member(line, "user_agent", &value)) {
		strcpy(l->agent, "User-Agent: ");
		logline_text(value, l->agent + strlen(l->agent), TEXT_MAX);
		r.fields[r.field_n++] = l->agent;
	}
	target = target_of(slice_of(l->request));
	snprintf(l->url, sizeof(l->url), "http%s://%s%.*s",
		 logline_member(line, "tls", &value) ? "s" : "", l->host,
		 SLICE_ARG(target));
	if (target.len > 0 && target.ptr[0] == '/' && l->host[0] != '\0') {
		l->request[strcspn(l->request, " ")] = '\0';
		fputs("as the file says now, by what the log has of the request:\n", out);
		explain(c, &r, out);
	}
	free(l);
}

unsigned why(const struct config *c, const char *what, const char *log, FILE *out,
	     FILE *errors)
{
	FILE *in = strcmp(log, "-") == 0 ? stdin : fopen(log, "r");
	char *found[WHY_FOUND_MAX] = { NULL }, *line = NULL;
	unsigned n = 0;
	struct wanted w;
	size_t size = 0;
	ssize_t got;

	if (!in) {
		fprintf(errors, "fairlead: %s: %s\n", log, strerror(errno));
		return 0;
	}
	wanted_make(&w, what);
	while ((got = getline(&line, &size, in)) > 0) {
		if (!is_wanted(&w, (struct slice){ line, (size_t)got }))
			continue;
		free(found[n % WHY_FOUND_MAX]);
		found[n++ % WHY_FOUND_MAX] = strdup(line);
	}
	free(line);
	if (in != stdin)
		fclose(in);
	for (unsigned i = n > WHY_FOUND_MAX ? n - WHY_FOUND_MAX : 0; i < n; i++) {
		struct slice one = slice_of(found[i % WHY_FOUND_MAX]);

		line_print(out, one);
		route_explain(c, one, out);
		fputs(i + 1 < n ? "\n" : "", out);
	}
	for (unsigned i = 0; i < WHY_FOUND_MAX; i++)
		free(found[i]);
	return n;
}

/* The status page at the admin address: one HTML file, status.html, which is part of the program.
 * It draws its charts from /metrics, which it asks for every two seconds.
 *
 * Owner: none, constant. Always holds: style and script are those whose hashes the policy has
 * (tools/statuspage), and nothing else is loaded or run. */
#ifndef RUN_WORKER_STATUSPAGE_H
#define RUN_WORKER_STATUSPAGE_H

#include "base/slice.h"
#include "http/forward.h"

struct slice status_page(void);

/* Fields of the response with the page. */
extern const struct forward_field status_page_fields[];
extern const unsigned status_page_field_n;

#endif

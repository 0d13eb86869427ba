/* A body of a response of our own: a text of the configuration, or the content of a file when the
 * configuration was read.
 *
 * Owner: the configuration. Limits: PAGE_BYTES_MAX, as each response has a copy of it while its
 * client reads. Private to this folder. */
#ifndef RULES_PAGE_H
#define RULES_PAGE_H

#include "config/action.h"

#define PAGE_BYTES_MAX 65536

struct page {
	const char *path;  /* as written; NULL: `body` is a text of the configuration */
	struct slice body; /* empty: none */
	struct slice type; /* Content-Type: by the name of the file, or plain text */
};

/* Reads the file whose path is the text of `n`. False: reported. */
bool page_file_read(struct config_reader *r, const struct node *n, const char *form,
		    struct page *page);

/* Reads the text of `n`. False: reported. */
bool page_text_read(struct config_reader *r, const struct node *n, struct page *page);

#endif

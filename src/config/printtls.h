/* Printing of `tls`, a part of config_print(). */
#ifndef CONFIG_PRINTTLS_H
#define CONFIG_PRINTTLS_H

#include "config/upstreamtls.h"

/* With a line end; read back it makes the same. */
void print_upstream_tls(FILE *out, const struct config_upstream_tls *t, unsigned depth);
void print_tls(FILE *out, const struct config_tls *t, unsigned depth);

#endif

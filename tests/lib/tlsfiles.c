#include "tlsfiles.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "pki.h"

static char folder[] = "/tmp/fairlead-tls-XXXXXX";

void tls_file_write(const char *name, struct slice content)
{
	int fd;

	unlink(name);
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ASSERT(fd >= 0 && write(fd, content.ptr, content.len) == (ssize_t)content.len);
	close(fd);
}

static struct slice joined(struct slice a, struct slice b)
{
	char *text = malloc(a.len + b.len + 1);

	ASSERT(text);
	memcpy(text, a.ptr, a.len);
	memcpy(text + a.len, b.ptr, b.len);
	text[a.len + b.len] = '\0';
	return (struct slice){ text, a.len + b.len };
}

static void free_text(struct slice text)
{
	free((void *)(uintptr_t)text.ptr);
}

struct slice tls_file_pair(const char *san, int from_days, int to_days)
{
	struct pki *p = pki_new("pair", &(struct pki_options){ .san = san,
							       .from_days = from_days,
							       .to_days = to_days });
	struct slice text = joined(p->chain_pem, p->key_pem);

	pki_free(p);
	return text;
}

static void pair_write(const char *name, const char *san, int from_days, int to_days)
{
	struct slice text = tls_file_pair(san, from_days, to_days);

	tls_file_write(name, text);
	free_text(text);
}

static void issuer_write(void)
{
	struct pki *ca = pki_new(
		"ca", &(struct pki_options){ .common_name = "Clients", .ca = true });
	const long serial = 77;
	struct slice crl = pki_crl(ca, &serial, 1, 30);

	tls_file_write("ca.pem", ca->certificate_pem);
	tls_file_write("crl.pem", crl);
	pki_text_free(crl);
	pki_free(ca);
}

static void split_write(void)
{
	struct pki *p = pki_new("other",
				&(struct pki_options){ .san = "DNS:other.test" });
	struct slice locked = pki_key_encrypted(p);
	struct slice both = joined(p->chain_pem, locked);

	tls_file_write("chain.pem", p->chain_pem);
	tls_file_write("key.pem", p->key_pem);
	tls_file_write("locked.pem", both);
	free_text(both);
	pki_text_free(locked);
	pki_free(p);
}

void tls_files_make(void)
{
	static const char noise[80] = "this is no PEM";

	ASSERT(mkdtemp(folder) && chdir(folder) == 0);
	pair_write("site.pem", "DNS:site.test,DNS:*.site.test", 0, 0);
	pair_write("old.pem", "DNS:site.test", -30, -1);
	split_write();
	issuer_write();
	tls_file_write("ticket.key", (struct slice){ noise, 80 });
	tls_file_write("short.key", (struct slice){ noise, 48 });
	tls_file_write("users", SLICE("ann:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4U"
				      "pFFP8WIrW\n"));
	tls_file_write("weak-users", SLICE("# old\nann:$apr1$abcdefgh$x\n"));
	tls_file_write("addresses.txt", SLICE("10.0.0.0/8 # the office\n\n2001:db8::1\n"));
	tls_file_write("noise.pem", SLICE("this is no PEM\n"));
	ASSERT(mkdir("empty", 0700) == 0 && mkdir("pems", 0700) == 0);
	pair_write("pems/a.pem", "DNS:a.test", 0, 0);
	pair_write("pems/b.pem", "DNS:b.test", 0, 0);
	tls_file_write("pems/readme", SLICE("not a certificate\n"));
}

void tls_files_remove(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ASSERT(chdir("/") == 0 && system(command) == 0);
}

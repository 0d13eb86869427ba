#include "run/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "errand.h"
#include "estate.h"
#include "remedy.h"
#include "run/version.h"

/* Of what is written down below: a program that reads another refuses when it is tried. */
#define VERSION 1
#define TRIED "FAIRLEAD_TRIED" /* version and descriptor of the snapshot */
#define KNOWN "FAIRLEAD_KNOWN" /* descriptor of what names stand for; may be missing */
#define NEXT "FAIRLEAD_NEXT"   /* descriptors of estate and snapshot */

#define LINE_MAX_BYTES 8192

enum upgrade_role upgrade_role(void)
{
	return getenv(NEXT) ? UPGRADE_NEXT : getenv(TRIED) ? UPGRADE_TRIED : UPGRADE_NONE;
}

static bool set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0;
}

/* ---- the one that is tried ------------------------------------------------ */

int upgrade_keep(const struct config *config)
{
	int version, fd;

	if (sscanf(getenv(TRIED), "%d %d", &version, &fd) != 2 || version != VERSION) {
		fprintf(stderr, "fairlead: this program cannot take over from the one that runs; "
				"restart\n");
		return -EPROTO;
	}
	return errand_keep(fd, config);
}

struct slice upgrade_known(void)
{
	const char *value = getenv(KNOWN);
	int fd = value ? atoi(value) : -1;
	off_t n = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	void *bytes = n > 0 ? mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;

	return bytes == MAP_FAILED ? (struct slice){ NULL, 0 } :
				     (struct slice){ bytes, (size_t)n };
}

/* ---- the one before ------------------------------------------------------- */

/* It goes without, if that fails. */
static void leave_known(const struct config *config)
{
	int fd = memfd_create("known", 0);
	FILE *out = fd >= 0 ? fdopen(dup(fd), "w") : NULL;
	char value[32];

	if (!out)
		return;
	config_known(config, out);
	snprintf(value, sizeof(value), "%d", fd);
	if (fclose(out) == 0)
		setenv(KNOWN, value, 1);
}

int estate_try(const char *program, char **argv, const struct config *config, int snapshot)
{
	char value[64];
	sigset_t none;

	snprintf(value, sizeof(value), "%d %d", VERSION, snapshot);
	setenv(TRIED, value, 1);
	leave_known(config);
	set_cloexec(snapshot, false);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(program, argv);
	fprintf(stderr, "fairlead: cannot execute %s: %s; install a program there that this "
			"machine can execute\n", program, strerror(errno));
	return 1;
}

static void put_outlets(FILE *out, const struct outlets *o)
{
	for (unsigned i = 0; i < o->n; i++) {
		const struct outlet *outlet = o->all[i];

		fprintf(out, "outlet %u %d %u", outlet->number, outlet->kind, outlet->socket_n);
		for (unsigned k = 0; k < outlet->socket_n; k++)
			fprintf(out, " %d", outlet->sockets[k]);
		fputc('\n', out);
	}
}

static int write_estate(const struct estate *e)
{
	int fd = memfd_create("estate", MFD_CLOEXEC);
	FILE *out = fd >= 0 ? fdopen(dup(fd), "w") : NULL;

	if (!out)
		return -1;
	for (unsigned i = 0; i < PROCESSES_MAX; i++) {
		const struct process *p = &e->processes[i];

		if (p->state != PROCESS_NONE)
			fprintf(out, "process %d %d %d %d %llu %d\n", p->state,
				(int)p->pid, p->channel, p->parcels,
				(unsigned long long)p->started_ms, p->engine);
	}
	put_outlets(out, e->outlets);
	put_outlets(out, e->spare);
	fprintf(out, "order %d\nversion %s\n", e->order, FAIRLEAD_VERSION);
	if (fclose(out) == 0)
		return fd;
	close(fd);
	return -1;
}

static void pass_outlets(const struct outlets *o, bool on)
{
	for (unsigned i = 0; i < o->n; i++)
		for (unsigned k = 0; k < o->all[i]->socket_n; k++)
			set_cloexec(o->all[i]->sockets[k], !on);
}

static void pass_descriptors(const struct estate *e, bool on)
{
	pass_outlets(e->outlets, on);
	pass_outlets(e->spare, on);
	for (unsigned i = 0; i < PROCESSES_MAX; i++) {
		if (e->processes[i].channel >= 0)
			set_cloexec(e->processes[i].channel, !on);
		if (e->processes[i].parcels >= 0)
			set_cloexec(e->processes[i].parcels, !on);
	}
	if (e->order >= 0)
		set_cloexec(e->order, !on);
}

void estate_pass(const struct estate *e, int snapshot, FILE *errors)
{
	int estate = write_estate(e);
	char value[64];

	if (estate < 0) {
		fprintf(errors, "fairlead: cannot write down what goes over to the next program: "
				"%s; %s\n", strerror(errno), remedy_of(errno));
		return;
	}
	snprintf(value, sizeof(value), "%d %d", estate, snapshot);
	setenv(NEXT, value, 1);
	set_cloexec(estate, false);
	set_cloexec(snapshot, false);
	pass_descriptors(e, true);
	fflush(NULL);
	execv(e->program, e->argv);
	fprintf(errors, "fairlead: cannot execute %s: %s; %s\n", e->program, strerror(errno),
		remedy_of(errno));
	pass_descriptors(e, false);
	unsetenv(NEXT);
	close(estate);
}

/* ---- the next ------------------------------------------------------------- */

static bool inherited(int *estate, int *snapshot)
{
	const char *value = getenv(NEXT);

	return value && sscanf(value, "%d %d", estate, snapshot) == 2;
}

struct config *upgrade_config(void)
{
	int estate, snapshot;

	return inherited(&estate, &snapshot) ? errand_take(snapshot) : NULL;
}

static bool take_process(const char *line, struct process *p)
{
	unsigned long long started_ms;
	int state, pid, engine = IO_ENGINE_AUTO;

	*p = (struct process){ .foreign = true };
	/* Programs before this one wrote no engine. */
	if (sscanf(line, "%d %d %d %d %llu %d", &state, &pid, &p->channel, &p->parcels,
		   &started_ms, &engine) < 5)
		return false;
	p->engine = (enum io_engine_kind)engine;
	p->state = (enum process_state)state;
	p->pid = pid;
	p->started_ms = started_ms;
	if (p->channel >= 0)
		set_cloexec(p->channel, true);
	return p->parcels < 0 || set_cloexec(p->parcels, true);
}

static bool take_outlet(char *line, struct outlets *outlets)
{
	unsigned number = (unsigned)strtoul(line, &line, 10);
	enum outlet_kind kind = (enum outlet_kind)strtol(line, &line, 10);
	unsigned n = (unsigned)strtoul(line, &line, 10);
	int *sockets = calloc(n + 1, sizeof(*sockets));
	struct outlet *o;

	if (!sockets)
		return false;
	for (unsigned i = 0; i < n; i++) {
		sockets[i] = (int)strtol(line, &line, 10);
		set_cloexec(sockets[i], true);
	}
	o = outlet_adopt(number, kind, sockets, n);
	free(sockets);
	return o && outlets_add(outlets, o);
}

bool estate_take(struct process *processes, struct outlets *outlets, int *order, char *before)
{
	unsigned process_n = 0;
	int estate, snapshot;
	char *line = malloc(LINE_MAX_BYTES);
	bool good = line && inherited(&estate, &snapshot);
	FILE *in = NULL;

	if (good && lseek(estate, 0, SEEK_SET) == 0)
		in = fdopen(estate, "r");
	while (in && good && fgets(line, LINE_MAX_BYTES, in)) {
		if (strncmp(line, "process ", 8) == 0 && process_n < PROCESSES_MAX)
			good = take_process(line + 8, &processes[process_n++]);
		else if (strncmp(line, "outlet ", 7) == 0)
			good = take_outlet(line + 7, outlets);
		else if (strncmp(line, "order ", 6) == 0)
			*order = atoi(line + 6);
		else if (strncmp(line, "version ", 8) == 0)
			sscanf(line + 8, "%31s", before);
	}
	if (*order >= 0)
		set_cloexec(*order, true);
	if (in)
		fclose(in);
	free(line);
	unsetenv(NEXT);
	unsetenv(TRIED);
	if (!in || !good)
		fprintf(stderr, "fairlead: what the program before left cannot be read\n");
	return in && good;
}

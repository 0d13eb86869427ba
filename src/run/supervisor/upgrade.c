#include "run/supervisor/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "loader.h"
#include "run/remedy.h"
#include "run/version.h"
#include "upgradestate.h"

/* Version of the format below. The trial of a program with another version fails. */
#define FORMAT_VERSION 1
#define ENV_TRIAL "FAIRLEAD_TRIED" /* see upgradestate.h */
#define ENV_KNOWN "FAIRLEAD_KNOWN"
#define ENV_CONTENTS "FAIRLEAD_CONTENTS"
#define ENV_NEXT "FAIRLEAD_NEXT"

#define LINE_MAX_BYTES 8192

/* First words of the lines of the upgrade state. They are part of the format: programs of
 * other versions read and write them, so they stay when a name in the code changes. */
#define PROCESS_LINE "process "
#define LISTEN_ADDR_LINE "outlet "
#define COMMAND_LINE "order "
#define VERSION_LINE "version "

enum upgrade_role upgrade_role(void)
{
	return getenv(ENV_NEXT)    ? UPGRADE_NEXT
	       : getenv(ENV_TRIAL) ? UPGRADE_TRIAL
				   : UPGRADE_NONE;
}

static bool set_cloexec(int fd, bool on)
{
	return fcntl(fd, F_SETFD, on ? FD_CLOEXEC : 0) == 0;
}

/* ---- trial ------------------------------------------------------------------ */

int upgrade_write_snapshot(const struct config *config)
{
	int version, fd;

	if (sscanf(getenv(ENV_TRIAL), "%d %d", &version, &fd) != 2 ||
	    version != FORMAT_VERSION) {
		errorlog_put(EVENT_CHANGE_FAILED,
			     "this program cannot take over from the running one; "
			     "restart");
		return -EPROTO;
	}
	return loader_write_snapshot(fd, config);
}

static struct slice inherited(const char *variable)
{
	const char *value = getenv(variable);
	int fd = value ? atoi(value) : -1;
	off_t n = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;
	void *bytes = n > 0 ? mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;

	return bytes == MAP_FAILED ? (struct slice){ NULL, 0 } :
				     (struct slice){ bytes, (size_t)n };
}

struct slice upgrade_known_addresses(void)
{
	return inherited(ENV_KNOWN);
}

struct slice upgrade_known_contents(void)
{
	return inherited(ENV_CONTENTS);
}

/* ---- the previous program --------------------------------------------------- */

/* If it fails, the trial has none of it. */
static void pass(const struct config *config, const char *variable,
		 void (*write_it)(const struct config *config, FILE *out))
{
	int fd = memfd_create("known", 0);
	FILE *out = fd >= 0 ? fdopen(dup(fd), "w") : NULL;
	char value[32];

	if (!out)
		return;
	write_it(config, out);
	snprintf(value, sizeof(value), "%d", fd);
	if (fclose(out) == 0)
		setenv(variable, value, 1);
}

int upgrade_exec_trial(const char *program, char **argv, const struct config *config,
		       int snapshot)
{
	char value[64];
	sigset_t none;

	snprintf(value, sizeof(value), "%d %d", FORMAT_VERSION, snapshot);
	setenv(ENV_TRIAL, value, 1);
	pass(config, ENV_KNOWN, config_write_addresses);
	pass(config, ENV_CONTENTS, config_write_contents);
	set_cloexec(snapshot, false);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(program, argv);
	errorlog_put(EVENT_CHANGE_FAILED,
		     "cannot execute %s: %s; install a program there that this "
		     "machine can execute",
		     program, strerror(errno));
	return 1;
}

static void write_listen_addrs(FILE *out, const struct listen_addrs *addrs)
{
	for (unsigned i = 0; i < addrs->n; i++) {
		const struct listen_addr *la = addrs->all[i];

		fprintf(out, LISTEN_ADDR_LINE "%u %d %u", la->number, la->kind,
			la->socket_n);
		for (unsigned k = 0; k < la->socket_n; k++)
			fprintf(out, " %d", la->sockets[k]);
		fprintf(out, " %d\n", la->managed);
	}
}

static int write_upgrade_state(const struct upgrade_state *state)
{
	int fd = memfd_create("upgrade_state", MFD_CLOEXEC);
	FILE *out = fd >= 0 ? fdopen(dup(fd), "w") : NULL;

	if (!out)
		return -1;
	for (unsigned i = 0; i < PROCESSES_MAX; i++) {
		const struct process *p = &state->processes[i];

		if (p->state != PROCESS_NONE)
			fprintf(out, PROCESS_LINE "%d %d %d %d %llu %d\n", p->state,
				(int)p->pid, p->channel, p->setup_channel,
				(unsigned long long)p->started_ms, p->engine);
	}
	write_listen_addrs(out, state->listen_addrs);
	write_listen_addrs(out, state->old_listen_addrs);
	fprintf(out, COMMAND_LINE "%d\n" VERSION_LINE "%s\n", state->command_fd,
		FAIRLEAD_VERSION);
	if (fclose(out) == 0)
		return fd;
	close(fd);
	return -1;
}

static void inherit_listen_addrs(const struct listen_addrs *addrs, bool on)
{
	for (unsigned i = 0; i < addrs->n; i++)
		for (unsigned k = 0; k < addrs->all[i]->socket_n; k++)
			set_cloexec(addrs->all[i]->sockets[k], !on);
}

static void inherit_descriptors(const struct upgrade_state *state, bool on)
{
	inherit_listen_addrs(state->listen_addrs, on);
	inherit_listen_addrs(state->old_listen_addrs, on);
	for (unsigned i = 0; i < PROCESSES_MAX; i++) {
		if (state->processes[i].channel >= 0)
			set_cloexec(state->processes[i].channel, !on);
		if (state->processes[i].setup_channel >= 0)
			set_cloexec(state->processes[i].setup_channel, !on);
	}
	if (state->command_fd >= 0)
		set_cloexec(state->command_fd, !on);
}

void upgrade_exec(const struct upgrade_state *state, int snapshot)
{
	int upgrade_state = write_upgrade_state(state);
	char value[64];

	if (upgrade_state < 0) {
		errorlog_put(EVENT_RESOURCE_SHORT,
			     "cannot write the state for the next program: %s; %s",
			     strerror(errno), remedy_of(errno));
		return;
	}
	snprintf(value, sizeof(value), "%d %d", upgrade_state, snapshot);
	setenv(ENV_NEXT, value, 1);
	set_cloexec(upgrade_state, false);
	set_cloexec(snapshot, false);
	inherit_descriptors(state, true);
	fflush(NULL);
	execv(state->program, state->argv);
	errorlog_put(EVENT_CHANGE_FAILED, "cannot execute %s: %s; %s", state->program,
		     strerror(errno), remedy_of(errno));
	inherit_descriptors(state, false);
	unsetenv(ENV_NEXT);
	close(upgrade_state);
}

/* ---- the next program ------------------------------------------------------- */

static bool read_environment(int *upgrade_state, int *snapshot)
{
	const char *value = getenv(ENV_NEXT);

	return value && sscanf(value, "%d %d", upgrade_state, snapshot) == 2;
}

struct config *upgrade_config(void)
{
	int upgrade_state, snapshot;

	return read_environment(&upgrade_state, &snapshot)
		       ? loader_read_snapshot(snapshot)
		       : NULL;
}

static bool parse_process(const char *line, struct process *p)
{
	unsigned long long started_ms;
	int state, pid, engine = IO_ENGINE_AUTO;

	*p = (struct process){ .foreign = true };
	/* Older programs do not write the engine. */
	if (sscanf(line, "%d %d %d %d %llu %d", &state, &pid, &p->channel,
		   &p->setup_channel, &started_ms, &engine) < 5)
		return false;
	p->engine = (enum io_engine_kind)engine;
	p->state = (enum process_state)state;
	p->pid = pid;
	p->started_ms = started_ms;
	if (p->channel >= 0)
		set_cloexec(p->channel, true);
	return p->setup_channel < 0 || set_cloexec(p->setup_channel, true);
}

static bool parse_listen_addr(char *line, struct listen_addrs *listen_addrs)
{
	unsigned number = (unsigned)strtoul(line, &line, 10);
	enum listen_addr_kind kind = (enum listen_addr_kind)strtol(line, &line, 10);
	unsigned n = (unsigned)strtoul(line, &line, 10);
	int *sockets = calloc(n + 1, sizeof(*sockets));
	struct listen_addr *la;

	if (!sockets)
		return false;
	for (unsigned i = 0; i < n; i++) {
		sockets[i] = (int)strtol(line, &line, 10);
		set_cloexec(sockets[i], true);
	}
	la = listen_addr_adopt(number, kind, sockets, n);
	free(sockets);
	if (!la)
		return false;
	/* Older programs do not write it. */
	la->managed = strtol(line, &line, 10) == 1;
	return listen_addrs_add(listen_addrs, la);
}

/* The rest of a line that begins with `word`, else NULL. */
static char *after_word(char *line, const char *word)
{
	size_t n = strlen(word);

	return strncmp(line, word, n) == 0 ? line + n : NULL;
}

bool upgrade_inherit(struct process *processes, struct listen_addrs *listen_addrs,
		     int *command_fd, char *previous_version)
{
	unsigned process_n = 0;
	int upgrade_state, snapshot;
	char *line = malloc(LINE_MAX_BYTES);
	bool good = line && read_environment(&upgrade_state, &snapshot);
	FILE *in = NULL;

	if (good && lseek(upgrade_state, 0, SEEK_SET) == 0)
		in = fdopen(upgrade_state, "r");
	while (in && good && fgets(line, LINE_MAX_BYTES, in)) {
		char *rest;

		if ((rest = after_word(line, PROCESS_LINE)) && process_n < PROCESSES_MAX)
			good = parse_process(rest, &processes[process_n++]);
		else if ((rest = after_word(line, LISTEN_ADDR_LINE)))
			good = parse_listen_addr(rest, listen_addrs);
		else if ((rest = after_word(line, COMMAND_LINE)))
			*command_fd = atoi(rest);
		else if ((rest = after_word(line, VERSION_LINE)))
			sscanf(rest, "%31s", previous_version);
	}
	if (*command_fd >= 0)
		set_cloexec(*command_fd, true);
	if (in)
		fclose(in);
	free(line);
	unsetenv(ENV_NEXT);
	unsetenv(ENV_TRIAL);
	if (!in || !good)
		errorlog_put(EVENT_CHANGE_FAILED,
			     "the state of the previous program cannot be read");
	return in && good;
}

#include "run/supervisor/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
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

/* Where upgrade_inherit() puts what it reads. */
struct upgrade_inheritance {
	struct process *processes;
	unsigned process_n;
	struct listen_addrs *listen_addrs;
	int *command_fd;
	char *previous_version;
};

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

/* -1, or open. Those of standard streams are never inherited. */
static bool is_descriptor(int fd)
{
	return fd == -1 || (fd > STDERR_FILENO && fcntl(fd, F_GETFD) >= 0);
}

/* ---- trial ------------------------------------------------------------------ */

int upgrade_write_snapshot(const struct config *config)
{
	int version, fd;

	if (sscanf(getenv(ENV_TRIAL), "%d %d", &version, &fd) != 2 ||
	    version != FORMAT_VERSION || fd < 0 || !is_descriptor(fd)) {
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
	off_t n = fd >= 0 && is_descriptor(fd) ? lseek(fd, 0, SEEK_END) : 0;
	void *bytes = n > 0 ? mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, fd, 0)
			    : MAP_FAILED;

	return bytes == MAP_FAILED ? (struct slice){ NULL, 0 }
				   : (struct slice){ bytes, (size_t)n };
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

/* Of the two descriptors; -1: it is missing, or not open. They are asked for one after the
 * other: loader_read_snapshot() closes the snapshot before the state is read. */
static int next_descriptor(bool of_snapshot)
{
	const char *value = getenv(ENV_NEXT);
	int upgrade_state, snapshot, fd = -1;

	if (value && sscanf(value, "%d %d", &upgrade_state, &snapshot) == 2)
		fd = of_snapshot ? snapshot : upgrade_state;
	if (fd >= 0 && is_descriptor(fd))
		return fd;
	errorlog_put(EVENT_START_FAILED,
		     "the %s of the previous program cannot be read: " ENV_NEXT
		     "='%.40s' names no open descriptor of it; restart",
		     of_snapshot ? "configuration" : "state", value ? value : "");
	return -1;
}

struct config *upgrade_config(void)
{
	int snapshot = next_descriptor(true);

	return snapshot >= 0 ? loader_read_snapshot(snapshot) : NULL;
}

static bool is_socket(int fd)
{
	struct stat st;

	return fd == -1 ||
	       (is_descriptor(fd) && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode));
}

/* These return why a line cannot be used; NULL: it can. */

static const char *parse_process(const char *line, struct process *p)
{
	unsigned long long started_ms;
	int state, pid, engine = IO_ENGINE_AUTO;

	*p = (struct process){ .foreign = true };
	/* Older programs do not write the engine. */
	if (sscanf(line, "%d %d %d %d %llu %d", &state, &pid, &p->channel,
		   &p->setup_channel, &started_ms, &engine) < 5)
		return "it has fewer than five numbers";
	if (state <= PROCESS_NONE || state > PROCESS_DRAINING || pid <= 0 ||
	    engine < IO_ENGINE_AUTO || engine > IO_ENGINE_EPOLL)
		return "no process has this state, number or engine";
	if (!is_socket(p->channel) || !is_socket(p->setup_channel))
		return "its sockets are not open";
	p->engine = (enum io_engine_kind)engine;
	p->state = (enum process_state)state;
	p->pid = pid;
	p->started_ms = started_ms;
	if (p->channel >= 0)
		set_cloexec(p->channel, true);
	if (p->setup_channel >= 0)
		set_cloexec(p->setup_channel, true);
	return NULL;
}

/* At most one is STARTING and one SERVING, as processes_check() asserts. */
static bool is_one_more(const struct process *processes, unsigned n)
{
	if (n == PROCESSES_MAX)
		return false;
	for (unsigned i = 0; i < n; i++)
		if (processes[i].pid == processes[n].pid ||
		    (processes[i].state == processes[n].state &&
		     processes[n].state != PROCESS_DRAINING))
			return false;
	return true;
}

/* *line: then what follows them. */
static bool parse_sockets(const char **line, int *sockets, unsigned n)
{
	char *end;

	for (unsigned i = 0; i < n; i++, *line = end) {
		long fd = strtol(*line, &end, 10);

		if (end == *line || fd < 0 || fd > INT_MAX || !is_socket((int)fd))
			return false;
		sockets[i] = (int)fd;
		set_cloexec(sockets[i], true);
	}
	return true;
}

/* The sockets are followed by whether the service manager opened them; older programs do
 * not write that. */
static const char *parse_listen_addr(const char *line, struct listen_addrs *listen_addrs)
{
	unsigned number, kind, n;
	int at = 0, *sockets;
	struct listen_addr *la = NULL;

	if (sscanf(line, "%u %u %u%n", &number, &kind, &n, &at) != 3)
		return "it has fewer than three numbers";
	if (kind > LISTEN_ADDR_CONTROL || n == 0 || n > LINE_MAX_BYTES / 2)
		return "no address has this kind or count";
	line += at;
	sockets = calloc(n, sizeof(*sockets));
	if (sockets && parse_sockets(&line, sockets, n))
		la = listen_addr_adopt(number, (enum listen_addr_kind)kind, sockets, n);
	free(sockets);
	if (!la)
		return "its sockets are not open";
	la->managed = strtol(line, NULL, 10) == 1;
	return listen_addrs_add(listen_addrs, la) ? NULL : "no memory";
}

/* The rest of a line that begins with `word`, else NULL. */
static char *after_word(char *line, const char *word)
{
	size_t n = strlen(word);

	return strncmp(line, word, n) == 0 ? line + n : NULL;
}

static const char *parse_one_process(const char *line, struct upgrade_inheritance *into)
{
	const char *why;

	if (into->process_n == PROCESSES_MAX)
		return "there are too many processes";
	why = parse_process(line, &into->processes[into->process_n]);
	if (!why && !is_one_more(into->processes, into->process_n++))
		why = "another line has this process, or its state";
	return why;
}

/* What a line says. Those that a later version may write are left out. */
static const char *parse_line(char *line, struct upgrade_inheritance *into)
{
	char *rest;

	if ((rest = after_word(line, PROCESS_LINE)))
		return parse_one_process(rest, into);
	if ((rest = after_word(line, LISTEN_ADDR_LINE)))
		return parse_listen_addr(rest, into->listen_addrs);
	if ((rest = after_word(line, COMMAND_LINE)))
		return sscanf(rest, "%d", into->command_fd) == 1 &&
				       is_socket(*into->command_fd)
			       ? NULL
			       : "its socket is not open";
	if ((rest = after_word(line, VERSION_LINE)))
		return sscanf(rest, "%31s", into->previous_version) == 1
			       ? NULL
			       : "it has no version";
	return NULL;
}

/* False: a line is longer than the buffer, or says what cannot be. */
static bool parse_state(FILE *in, struct upgrade_inheritance *into)
{
	char *line = malloc(LINE_MAX_BYTES);
	const char *why = line ? NULL : "no memory";

	while (!why && fgets(line, LINE_MAX_BYTES, in)) {
		char *end = strchr(line, '\n');

		if (end)
			*end = '\0';
		why = end ? parse_line(line, into) : "it has no end";
	}
	if (why)
		errorlog_put(
			EVENT_START_FAILED,
			"the state of the previous program has a line that cannot be "
			"used: '%.80s': %s; restart",
			line ? line : "", why);
	free(line);
	return !why;
}

bool upgrade_inherit(struct process *processes, struct listen_addrs *listen_addrs,
		     int *command_fd, char *previous_version)
{
	struct upgrade_inheritance into = { .processes = processes,
					    .listen_addrs = listen_addrs,
					    .command_fd = command_fd,
					    .previous_version = previous_version };
	int upgrade_state = next_descriptor(false);
	FILE *in = NULL;
	bool good;

	if (upgrade_state >= 0 && lseek(upgrade_state, 0, SEEK_SET) == 0)
		in = fdopen(upgrade_state, "r");
	if (upgrade_state >= 0 && !in)
		errorlog_put(
			EVENT_START_FAILED,
			"the state of the previous program cannot be read: %s; restart",
			strerror(errno));
	good = in && parse_state(in, &into);
	if (good && *command_fd >= 0)
		set_cloexec(*command_fd, true);
	if (in)
		fclose(in);
	unsetenv(ENV_NEXT);
	unsetenv(ENV_TRIAL);
	return good;
}

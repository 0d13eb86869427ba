/* Changes of a running supervisor: reload, reopening of the access log, upgrade. */
#include "supervision.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "accesslog.h"
#include "base/diagnostics.h"
#include "base/errorlog.h"
#include "config/tls.h"
#include "notify.h"
#include "program.h"
#include "run/memory.h"
#include "run/privilege.h"
#include "run/supervisor/command.h"
#include "upgradestate.h"

/* Workers reply within a moment, also with many connections: later means that they are
 * stuck. */
#define REPLY_MS 60000
/* A configuration may have many errors: the loader may block so long on a slow reader of
 * standard error, rather than lose lines. */
#define LOADER_STDERR_MS 1000

/* ---- listening addresses ---------------------------------------------------- */

/* Addresses that `next` does not have stay open in old_listen_addrs until the serving
 * process has been replaced or has adopted the change. */
static void replace_listen_addrs(struct supervisor *s, struct listen_addrs next)
{
	for (unsigned i = 0; i < s->listen_addrs.n; i++)
		if (!listen_addrs_contain(&next, s->listen_addrs.all[i]))
			listen_addrs_add(&s->old_listen_addrs, s->listen_addrs.all[i]);
	free(s->listen_addrs.all);
	s->listen_addrs = next;
}

/* Once: the error log of a reload is opened before the reload is done. */
static bool open_error_logs(struct supervisor *s)
{
	struct error_logs logs = ERROR_LOGS_NONE;
	bool good;

	if (s->error_logs_open)
		return true;
	good = error_logs_open(&logs, s->config);
	error_logs_adopt(&logs, s->config);
	s->error_logs_open = good;
	return good;
}

bool change_open_configured(struct supervisor *s)
{
	struct listen_addrs all;
	bool good = open_error_logs(s);

	good &= access_logs_open(&s->logs, s->config);

	if (!listen_addrs_open(&all, &s->listen_addrs, s->config, s->options->workers))
		return false;
	replace_listen_addrs(s, all);
	return good;
}

void change_roll_back(struct supervisor *s)
{
	listen_addrs_rollback(&s->listen_addrs);
	listen_addrs_merge(&s->listen_addrs, &s->old_listen_addrs);
	change_report_ready(s);
}

/* ---- reload ----------------------------------------------------------------- */

void change_report_ready(struct supervisor *s)
{
	const struct process *p = process_of(s, PROCESS_SERVING);
	char status[128];

	snprintf(status, sizeof(status), "engine=%s workers=%u",
		 io_engine_name(p ? p->engine : s->options->engine), s->options->workers);
	notify_ready(status);
}

/* Closes and frees `next_config` and what was opened for it. */
static void drop_next(struct supervisor *s)
{
	if (!s->next_config)
		return;
	listen_addrs_close(&s->next_listen_addrs, &s->listen_addrs, true);
	access_logs_close(&s->next_logs);
	error_logs_close(&s->next_error_logs);
	config_free(s->next_config);
	s->next_config = NULL;
	memory_return();
}

void change_discard(struct supervisor *s)
{
	loader_kill(&s->loader);
	drop_next(s);
}

/* Of the changes that are applied to the serving process. */
static const struct change_text {
	const char *done;
	const char *kept; /* what stays if it fails */
} change_texts[] = {
	[REQUEST_RELOAD] = { "reloaded", "the current configuration stays in force" },
	[REQUEST_REOPEN] = { "reopened", "the current logs stay open" },
	[REQUEST_LOOK] = { "replaced certificates", "the current ones stay in force" },
};

void change_failed(struct supervisor *s, const char *why)
{
	errorlog_put(EVENT_CHANGE_FAILED, "not %s: %s; %s", change_texts[s->change].done,
		     why, change_texts[s->change].kept);
	s->change = REQUEST_RELOAD;
	drop_next(s);
	supervisor_rest(s);
	change_report_ready(s);
	command_reply(&s->command_fd, false, why);
}

/* Makes next_config the configuration in force: the next worker process starts with
 * it. */
static void commit_next(struct supervisor *s)
{
	replace_listen_addrs(s, s->next_listen_addrs);
	access_logs_close(&s->logs);
	s->logs = s->next_logs;
	s->next_logs = (struct access_logs)ACCESS_LOGS_NONE;
	error_logs_adopt(&s->next_error_logs, s->next_config);
	if (s->change == REQUEST_RELOAD)
		errorlog_reset_level();
	config_free(s->config);
	s->config = s->next_config;
	s->next_config = NULL;
	if (s->config->pairs || s->config->has_secrets)
		privilege_hide_memory();
	change_look_later(s);
	memory_return();
}

static bool is_standard(enum config_log_target target, const char *path)
{
	return target == CONFIG_LOG_FILE && strcmp(path, "-") == 0;
}

static bool has_logs(const struct config *c)
{
	for (unsigned i = 0; i < c->error_log_n; i++)
		if (!is_standard(c->error_logs[i].target, c->error_logs[i].path))
			return true;
	return c->log_n > 0;
}

static void report_reopened(const struct config *c)
{
	for (unsigned i = 0; i < c->error_log_n; i++) {
		const struct config_error_log *log = &c->error_logs[i];

		if (!is_standard(log->target, log->path))
			errorlog_put(EVENT_LOG_REOPENED, "reopened the error log %s",
				     log->target == CONFIG_LOG_FILE ? log->path
								    : log->address->text);
	}
	for (unsigned i = 0; i < c->log_n; i++)
		errorlog_put(EVENT_LOG_REOPENED, "reopened the access log %s",
			     c->logs[i].target == CONFIG_LOG_FILE
				     ? c->logs[i].path
				     : c->logs[i].address->text);
}

static void report_change(const struct supervisor *s)
{
	if (s->change == REQUEST_REOPEN)
		report_reopened(s->config);
	else if (s->change == REQUEST_LOOK)
		errorlog_put(EVENT_RELOADED, "replaced certificates of %s",
			     s->config->file);
	else
		errorlog_put(EVENT_RELOADED, "reloaded %s", s->config->file);
}

void change_adopted(struct supervisor *s)
{
	/* Only a count has changed: that of certificates which are not used. */
	bool silent = s->change == REQUEST_LOOK &&
		      config_contents_equal(s->config, s->next_config);

	if (s->change == REQUEST_RELOAD)
		config_restart_needed(s->config, s->next_config,
				      errorlog_stream(EVENT_NO_EFFECT));
	commit_next(s);
	listen_addrs_mark_served(&s->listen_addrs);
	listen_addrs_close(&s->old_listen_addrs, &s->listen_addrs, true);
	if (!silent)
		report_change(s);
	s->change = REQUEST_RELOAD;
	supervisor_rest(s);
	change_report_ready(s);
	command_reply(&s->command_fd, true, "reloaded");
}

/* `study` needs threads and system calls that a sandboxed worker process cannot add. */
static bool needs_restart(const struct supervisor *s, const struct config *next)
{
	return next->study && !s->config->study;
}

/* Opens the addresses and the access log of `next`. False: it failed; the change has
 * ended. */
static bool open_next(struct supervisor *s, struct config *next)
{
	s->next_listen_addrs = (struct listen_addrs){ 0 };
	s->next_config = next;
	if (!s->next_config) {
		change_failed(s, "the file has errors");
		return false;
	}
	if (needs_restart(s, s->next_config)) {
		change_failed(s, "'study: true' needs an upgrade or a restart");
		return false;
	}
	listen_addrs_merge(&s->listen_addrs,
			   &s->old_listen_addrs); /* `next` may have them */
	if (error_logs_open(&s->next_error_logs, s->next_config) &&
	    access_logs_open(&s->next_logs, s->next_config) &&
	    listen_addrs_open(&s->next_listen_addrs, &s->listen_addrs, s->next_config,
			      s->options->workers))
		return true;
	change_failed(s, "an address or log of the configuration cannot be opened");
	return false;
}

/* Whether the serving process cannot take the configuration: it was started by another program and
 * may not understand the messages, its setup channel is closed, or when its sandbox was still open
 * its threads were not prepared for TLS, or those of a rule were not started. */
static bool needs_new_process(const struct process *p, const struct config *next)
{
	return p->foreign || p->setup_channel < 0 || (config_uses_tls(next) && !p->tls) ||
	       (config_has_threads(next) && !p->rule_threads);
}

/* Sends the configuration to the serving process, or starts a new worker process with it, also if
 * there is none because it crashes repeatedly. Takes over `next`; NULL: the configuration could
 * not be read. */
static void apply_config(struct supervisor *s, struct config *next)
{
	struct process *p = process_of(s, PROCESS_SERVING);

	if (!open_next(s, next))
		return;
	if (!p || needs_new_process(p, s->next_config)) {
		s->change = REQUEST_RELOAD;
		commit_next(s);
		replace_start(s);
		return;
	}
	s->reply_deadline_ms = process_now_ms() + REPLY_MS;
	if (process_send_config(
		    p, &(struct worker_setup){ .options = s->options,
					       .config = s->next_config,
					       .listen_addrs = &s->next_listen_addrs,
					       .current_listen_addrs = &s->listen_addrs,
					       .logs = &s->next_logs,
					       .current_logs = &s->logs,
					       .current_config = s->config,
					       .error_logs = &s->next_error_logs }) < 0)
		change_failed(
			s, "the configuration cannot be sent to the worker process; the "
			   "next reload starts a new one");
	else
		lifecycle_set(&s->lifecycle, LIFECYCLE_APPLYING);
}

/* The resolved addresses of the current configuration: the next one uses them for names
 * that cannot be resolved. */
static struct slice known_addresses(const struct config *config)
{
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	if (!out)
		return SLICE("");
	config_write_addresses(config, out);
	return fclose(out) == 0 ? (struct slice){ text, n } : SLICE("");
}

/* In the loader. */
static int read_file(void *owner, int snapshot)
{
	struct supervisor *s = owner;
	const struct config_options how = { .known_addresses = known_addresses(s->config),
					    .previous = s->config->snapshot };
	struct config *config;

	supervisor_close_fds(s);
	diagnostics_wait_budget(LOADER_STDERR_MS);
	config = config_read_with(s->config->file, &how,
				  errorlog_stream(EVENT_CONFIG_FAULT));
	return config && loader_write_snapshot(snapshot, config) == 0 ? 0 : 1;
}

static void begin_reload(struct supervisor *s)
{
	if (config_is_from_input(s->config)) {
		change_failed(
			s,
			"the configuration came from standard input or the command line, which "
			"cannot be read again; start with -c FILE to reload");
		return;
	}
	notify_reloading();
	if (loader_start(&s->loader, LOADER_READ, read_file, s))
		lifecycle_set(&s->lifecycle, LIFECYCLE_READING);
	else
		change_failed(s, "the file cannot be read now");
}

void change_reply_overdue(struct supervisor *s)
{
	struct process *p = process_of(s, PROCESS_SERVING);

	if (p)
		process_close_setup(p);
	change_failed(
		s, "the worker process does not reply; the next reload starts a new one");
}

/* Applies the configuration in force with logs that are opened again; the
 * configuration file is not read. */
static void begin_reopening(struct supervisor *s)
{
	struct config *next;

	if (!has_logs(s->config)) {
		errorlog_put(EVENT_NO_EFFECT, "there is no log to reopen");
		return;
	}
	next = config_read_snapshot(s->config->snapshot,
				    errorlog_stream(EVENT_CONFIG_FAULT));
	if (next)
		config_keep_snapshot(next, s->config->snapshot);
	s->change = REQUEST_REOPEN;
	apply_config(s, next);
}

/* ---- certificates ----------------------------------------------------------- */

void change_look_later(struct supervisor *s)
{
	bool has_files = s->config->pairs || s->config->files;

	s->look_ms = has_files && s->config->watch_ms > 0
			     ? process_now_ms() + s->config->watch_ms
			     : 0;
}

/* In the loader. Writes nothing if no file has changed. */
static int look_at_files(void *owner, int snapshot)
{
	struct supervisor *s = owner;
	struct config *next;

	supervisor_close_fds(s);
	diagnostics_wait_budget(LOADER_STDERR_MS);
	switch (config_read_contents(s->config, &next,
				     errorlog_stream(EVENT_CONFIG_FAULT))) {
	case CONFIG_CONTENTS_SAME:
		return 0;
	case CONFIG_CONTENTS_NEW:
		return loader_write_snapshot(snapshot, next) == 0 ? 0 : 1;
	case CONFIG_CONTENTS_BAD:
		break;
	}
	return 1;
}

/* Without a child process: the next look may have one. */
static void begin_look(struct supervisor *s)
{
	if (loader_start(&s->loader, LOADER_LOOK, look_at_files, s))
		lifecycle_set(&s->lifecycle, LIFECYCLE_READING);
}

static void apply_look(struct supervisor *s, int snapshot)
{
	if (lseek(snapshot, 0, SEEK_END) > 0) {
		s->change = REQUEST_LOOK;
		apply_config(s, loader_read_snapshot(snapshot));
		return;
	}
	close(snapshot);
	supervisor_rest(s);
}

/* ---- upgrade ---------------------------------------------------------------- */

static const char *next_program(const struct supervisor *s)
{
	return program_path(s->options->argv[0]);
}

/* In the loader: makes standard input a copy of the configuration that was read from it,
 * for the next program. */
static bool replay_stdin(const struct config *config)
{
	struct slice text = config_source(config);
	int fd = memfd_create("configuration", 0);

	if (fd >= 0 && fchmod(fd, 0600) == 0 &&
	    write(fd, text.ptr, text.len) == (ssize_t)text.len &&
	    lseek(fd, 0, SEEK_SET) == 0 && dup2(fd, STDIN_FILENO) == STDIN_FILENO)
		return true;
	errorlog_put(EVENT_RESOURCE_SHORT, "no memory for the configuration: %s",
		     strerror(errno));
	return false;
}

/* In the loader. */
static int run_trial(void *owner, int snapshot)
{
	struct supervisor *s = owner;

	if (config_is_from_input(s->config) && !replay_stdin(s->config))
		return 1;
	return upgrade_exec_trial(next_program(s), s->options->argv, s->config, snapshot);
}

static void upgrade_failed(struct supervisor *s, const char *why)
{
	char text[PATH_MAX + 320];

	errorlog_put(EVENT_CHANGE_FAILED,
		     "not upgraded: %s; the running program continues", why);
	supervisor_rest(s);
	change_report_ready(s);
	snprintf(text, sizeof(text), "not upgraded: %s; its log has the details", why);
	command_reply(&s->command_fd, false, text);
}

/* Executes the next program if its trial wrote a snapshot. Returns if it failed. */
static void exec_next(struct supervisor *s, int snapshot)
{
	const struct upgrade_state upgrade_state = { .program = next_program(s),
						     .argv = s->options->argv,
						     .processes = s->processes,
						     .listen_addrs = &s->listen_addrs,
						     .old_listen_addrs =
							     &s->old_listen_addrs,
						     .command_fd = s->command_fd };

	char why[PATH_MAX + 256];

	snprintf(why, sizeof(why), "%s cannot be executed", upgrade_state.program);
	if (lseek(snapshot, 0, SEEK_END) > 0)
		upgrade_exec(&upgrade_state, snapshot);
	else
		snprintf(why, sizeof(why),
			 "%s cannot take over with this configuration (its trial "
			 "%s)",
			 upgrade_state.program, s->loader.how);
	close(snapshot);
	upgrade_failed(s, why);
}

static void begin_upgrade(struct supervisor *s)
{
	if (!process_of(s, PROCESS_NONE)) {
		errorlog_put(EVENT_CHANGE_FAILED,
			     "not upgraded: %d previous worker processes are "
			     "still draining; wait, or shorten limits.upgrade_timeout",
			     PROCESSES_MAX - 1);
		command_reply(&s->command_fd, false,
			      "too many previous worker processes are still draining");
		return;
	}
	notify_reloading();
	if (!next_program(s))
		upgrade_failed(s, "the path of the program is not known; mount /proc");
	else if (loader_start(&s->loader, LOADER_TRIAL, run_trial, s))
		lifecycle_set(&s->lifecycle, LIFECYCLE_TRYING);
	else
		upgrade_failed(s, "the new program cannot be tested now");
}

/* ---- any change ------------------------------------------------------------- */

void change_begin(struct supervisor *s, enum lifecycle_request request)
{
	ASSERT(lifecycle_at_rest(&s->lifecycle) && s->loader.kind == LOADER_NONE &&
	       !s->next_config);
	switch (request) {
	case REQUEST_RELOAD:
		begin_reload(s);
		break;
	case REQUEST_REOPEN:
		begin_reopening(s);
		break;
	case REQUEST_UPGRADE:
		begin_upgrade(s);
		break;
	case REQUEST_LOOK:
		begin_look(s);
		break;
	}
}

void change_continue(struct supervisor *s)
{
	enum loader_kind kind = s->loader.kind;
	int snapshot = loader_take(&s->loader);

	if (kind == LOADER_READ)
		apply_config(s, loader_read_snapshot(snapshot));
	else if (kind == LOADER_LOOK)
		apply_look(s, snapshot);
	else
		exec_next(s, snapshot);
}

void change_loader_overdue(struct supervisor *s)
{
	enum loader_kind kind = s->loader.kind;

	loader_kill(&s->loader);
	if (kind == LOADER_LOOK) {
		errorlog_put(EVENT_CHANGE_FAILED,
			     "the files of certificates were not read within %d s; check "
			     "their file system",
			     LOADER_MS / 1000);
		supervisor_rest(s);
		return;
	}
	errorlog_put(EVENT_CHANGE_FAILED,
		     "the configuration was not read within %d s; check that "
		     "its nameservers respond",
		     LOADER_MS / 1000);
	if (kind == LOADER_READ)
		change_failed(s, "reading the file takes too long");
	else
		upgrade_failed(s, "reading the file takes too long");
}

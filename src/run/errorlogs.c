#include "run/errorlogs.h"

#include <unistd.h>

#include "base/check.h"
#include "base/errorlog.h"

_Static_assert(CONFIG_ERROR_LOGS_MAX == 4, "ERROR_LOGS_NONE");
_Static_assert(CONFIG_ERROR_LOGS_MAX <= ERRORLOG_OUTPUTS_MAX, "one output for each");

static enum errorlog_target target_of(const struct config_error_log *log)
{
	switch (log->target) {
	case CONFIG_LOG_FILE:
		break;
	case CONFIG_LOG_SYSLOG:
		return ERRORLOG_SYSLOG;
	case CONFIG_LOG_JOURNALD:
		return ERRORLOG_JOURNALD;
	}
	return strcmp(log->path, "-") == 0 ? ERRORLOG_STDERR : ERRORLOG_FILE;
}

static struct errorlog_output output_of(const struct config_error_log *log, int fd)
{
	struct errorlog_output o = {
		.target = target_of(log),
		.format = (enum errorlog_format)log->format,
		.level = (enum errorlog_level)(LEVEL_CRITICAL + log->level),
		.rate = log->rate,
		.facility = log->facility,
		.fd = fd,
	};

	if (log->target != CONFIG_LOG_FILE) {
		o.sa = log->address->sa;
		o.len = log->address->len;
	}
	snprintf(o.tag, sizeof(o.tag), "%s", log->tag);
	snprintf(o.name, sizeof(o.name), "%s",
		 log->target == CONFIG_LOG_FILE ? log->path : log->address->text);
	return o;
}

/* One that could not be opened is left out: a restart goes on without it. */
void error_logs_adopt(struct error_logs *logs, const struct config *config)
{
	struct errorlog_output outputs[CONFIG_ERROR_LOGS_MAX];
	unsigned n = 0;

	for (unsigned i = 0; i < config->error_log_n; i++) {
		outputs[n] = output_of(&config->error_logs[i], logs->fds[i]);
		n += outputs[n].target == ERRORLOG_STDERR || outputs[n].fd >= 0;
		logs->fds[i] = -1;
	}
	if (n > 0)
		errorlog_configure(outputs, n);
}

void error_logs_close(struct error_logs *logs)
{
	for (unsigned i = 0; i < CONFIG_ERROR_LOGS_MAX; i++) {
		if (logs->fds[i] >= 0)
			close(logs->fds[i]);
		logs->fds[i] = -1;
	}
}

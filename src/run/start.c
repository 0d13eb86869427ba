#include "run/start.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "io/io.h"
#include "io/sock.h"
#include "run/cpus.h"
#include "run/privilege.h"
#include "run/remedy.h"
#include "run/supervisor/supervisor.h"
#include "run/supervisor/upgrade.h"
#include "run/worker/control.h"

/* The reserve, and a few for clients and origins. */
#define DESCRIPTORS_MIN (RUN_RESERVED_FDS + 16u)

static bool engine_by_name(const char *name, enum config_engine *engine)
{
	if (strcmp(name, "auto") == 0)
		*engine = CONFIG_ENGINE_AUTO;
	else if (strcmp(name, "io_uring") == 0)
		*engine = CONFIG_ENGINE_IO_URING;
	else if (strcmp(name, "epoll") == 0)
		*engine = CONFIG_ENGINE_EPOLL;
	else
		return false;
	return true;
}

static enum io_engine_kind engine_of(enum config_engine wanted)
{
	switch (wanted) {
	case CONFIG_ENGINE_AUTO:
		break;
	case CONFIG_ENGINE_IO_URING:
		return IO_ENGINE_RING;
	case CONFIG_ENGINE_EPOLL:
		return IO_ENGINE_EPOLL;
	}
	return IO_ENGINE_AUTO;
}

/* "nobody" is the default, so the operator did not ask for it. */
static void warn_unused_user(const struct config *config)
{
	if (geteuid() != 0 && geteuid() != config->uid && strcmp(config->user, "nobody") != 0)
		errorlog_put(EVENT_NO_EFFECT,
			     "'user: %s' has no effect, because only root can change "
			     "its user; start as root, or remove it",
			     config->user);
}

static unsigned workers_auto(void)
{
	unsigned n = cpus_usable();

	return n > START_WORKERS_MAX ? START_WORKERS_MAX : n;
}

/* If descriptors 0 to 2 are closed, opens /dev/null there: else a socket would get such a
 * number, and messages for standard error would be sent to a client. */
static bool open_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static int prepare_run(const struct config *config, const struct start_options *options,
		       struct run_options *run)
{
	enum config_engine wanted = config->engine;
	int error;

	if (!open_standard_descriptors()) {
		/* Lost if standard error is closed. */
		errorlog_put(EVENT_START_FAILED, "cannot open /dev/null: %s; %s",
			     strerror(errno), remedy_of(errno));
		return 1;
	}
	if (options->engine && !engine_by_name(options->engine, &wanted)) {
		fprintf(stderr, "fairlead: --engine takes auto, io_uring or epoll, not %s\n",
			options->engine);
		return 2;
	}
	run->workers = options->workers ? options->workers :
		      config->workers ? config->workers : workers_auto();
	run->affinity = config->cpu_affinity;
	run->descriptors = sock_raise_limit(2 * (size_t)config->limits.connections +
					    RUN_RESERVED_FDS);
	run->engine = engine_of(wanted);
	io_raise_limit();
	error = privilege_trim();
	if (error < 0) {
		errorlog_put(EVENT_START_FAILED, "cannot drop capabilities: %s",
			     strerror(-error));
		return 1;
	}
	warn_unused_user(config);
	if (run->descriptors < DESCRIPTORS_MIN) {
		errorlog_put(EVENT_START_FAILED,
			     "%zu descriptors are too few; raise the limit "
			     "(ulimit -n) to 1024 or more",
			     run->descriptors);
		return 1;
	}
	return 0;
}

/* How often the service manager expects a sign of life (sd_watchdog_enabled(3)). */
static uint64_t watchdog_ms(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	/* Set for another process, from which this one has inherited it. */
	if (!us || (pid && strtoull(pid, NULL, 10) != (unsigned long long)getpid()))
		return 0;
	return strtoull(us, NULL, 10) / 1000;
}

int start(struct config *config, const struct start_options *options)
{
	struct run_options run = { 0 };
	int status = prepare_run(config, options, &run);

	run.argv = options->argv;
	run.worker_process = control_run;
	run.watchdog_ms = watchdog_ms();
	run.next = upgrade_role() == UPGRADE_NEXT;
	if (status == 0 && upgrade_role() == UPGRADE_TRIAL)
		status = upgrade_write_snapshot(config) < 0;
	else if (status == 0)
		return supervisor_run(&run, config);
	config_free(config);
	return status;
}

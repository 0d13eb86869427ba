#include "loader.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/errorlog.h"
#include "process.h"
#include "run/remedy.h"

bool loader_start(struct loader *loader, enum loader_kind kind,
		  int (*run)(void *owner, int snapshot), void *owner)
{
	int snapshot = memfd_create("snapshot", MFD_CLOEXEC);
	pid_t pid = snapshot >= 0 ? fork() : -1;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(run(owner, snapshot));
	}
	if (pid < 0) {
		errorlog_put(EVENT_RESOURCE_SHORT,
			     "cannot start a process to read the configuration: %s; %s",
			     strerror(errno), remedy_of(errno));
		if (snapshot >= 0)
			close(snapshot);
		return false;
	}
	*loader = (struct loader){ .kind = kind,
				   .pid = pid,
				   .snapshot = snapshot,
				   .end_ms = process_now_ms() + LOADER_MS };
	return true;
}

bool loader_runs(const struct loader *loader)
{
	return loader->kind != LOADER_NONE && !loader->ended;
}

void loader_reap(struct loader *loader)
{
	int status;

	if (!loader_runs(loader) || waitpid(loader->pid, &status, WNOHANG) != loader->pid)
		return;
	loader->ended = true;
	process_describe_end(status, loader->how, sizeof(loader->how));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	if (WIFSIGNALED(status))
		errorlog_put(EVENT_PROCESS_ENDED,
			     "the process that read the configuration %s", loader->how);
	(void)!ftruncate(loader->snapshot, 0);
}

int loader_take(struct loader *loader)
{
	ASSERT(loader->kind != LOADER_NONE && loader->ended);
	loader->kind = LOADER_NONE;
	return loader->snapshot;
}

void loader_kill(struct loader *loader)
{
	if (loader->kind == LOADER_NONE)
		return;
	if (!loader->ended) {
		kill(loader->pid, SIGKILL);
		waitpid(loader->pid, NULL, 0);
	}
	close(loader->snapshot);
	loader->kind = LOADER_NONE;
}

/* ---- snapshots -------------------------------------------------------------- */

int loader_write_snapshot(int snapshot, const struct config *config)
{
	const char *bytes = config->snapshot.ptr;
	size_t n = config->snapshot.len;

	while (n > 0) {
		ssize_t written = write(snapshot, bytes, n);

		if (written < 0) {
			int error = errno;

			errorlog_put(EVENT_RESOURCE_SHORT,
				     "cannot write the configuration snapshot: %s; %s",
				     strerror(error), remedy_of(error));
			return -error;
		}
		bytes += written;
		n -= (size_t)written;
	}
	return 0;
}

struct config *loader_read_snapshot(int snapshot)
{
	off_t n = lseek(snapshot, 0, SEEK_END);
	void *bytes = n > 0 ? mmap(NULL, (size_t)n, PROT_READ, MAP_PRIVATE, snapshot, 0)
			    : MAP_FAILED;
	struct config *config = NULL;

	if (bytes == MAP_FAILED && n > 0)
		errorlog_put(EVENT_RESOURCE_SHORT,
			     "cannot read the configuration snapshot: %s; %s",
			     strerror(errno), remedy_of(errno));
	close(snapshot);
	if (bytes == MAP_FAILED)
		return NULL;
	config = config_read_snapshot((struct slice){ bytes, (size_t)n },
				      errorlog_stream(EVENT_CONFIG_FAULT));
	if (config)
		config_keep_snapshot(config, (struct slice){ bytes, (size_t)n });
	munmap(bytes, (size_t)n);
	return config;
}

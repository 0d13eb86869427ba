/* fairlead: reads as a table of contents. */
#include <getopt.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "io/io.h"
#include "io/sock.h"
#include "run/supervisor.h"
#include "run/version.h"

#define WORKERS_MAX 256

struct arguments {
	const char *file;
	bool test, print, version, help, reference;
	const char *engine;
	unsigned workers;
};

static const char usage[] =
	"usage: fairlead -c FILE [--engine auto|io_uring|epoll] [--workers N]\n"
	"       fairlead -t -c FILE [--print]\n"
	"\n"
	"  -c, --config FILE   the configuration\n"
	"  -t, --test          check the configuration and end\n"
	"      --print         with -t: print it with all defaults filled in\n"
	"      --engine NAME   auto, io_uring or epoll, instead of what the file says\n"
	"      --workers N     worker threads, instead of what the file says\n"
	"      --reference     print the table of all configuration keys (Markdown)\n"
	"  -V, --version       versions, kernel, and the kernel features each engine uses\n"
	"  -h, --help          this text\n"
	"\n"
	"SIGTERM and SIGINT finish what is in flight and end; a second one ends at once.\n";

static int complain(const char *what)
{
	fprintf(stderr, "fairlead: %s; see fairlead --help\n", what);
	return 2;
}

static int parse_arguments(int argc, char **argv, struct arguments *a)
{
	enum { ENGINE = 256, WORKERS, PRINT, REFERENCE };
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "test", no_argument, NULL, 't' },
		{ "print", no_argument, NULL, PRINT },
		{ "engine", required_argument, NULL, ENGINE },
		{ "workers", required_argument, NULL, WORKERS },
		{ "reference", no_argument, NULL, REFERENCE },
		{ "version", no_argument, NULL, 'V' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "c:tVh", options, NULL)) != -1) {
		switch (c) {
		case 'c': a->file = optarg; break;
		case 't': a->test = true; break;
		case 'V': a->version = true; break;
		case 'h': a->help = true; break;
		case PRINT: a->print = true; break;
		case REFERENCE: a->reference = true; break;
		case ENGINE: a->engine = optarg; break;
		case WORKERS:
			a->workers = (unsigned)strtoul(optarg, &end, 10);
			if (*end || a->workers < 1 || a->workers > WORKERS_MAX)
				return complain("--workers takes a number from 1 to 256");
			break;
		default:
			return complain("unknown option");
		}
	}
	if (optind < argc)
		return complain("what is left over is not understood");
	return 0;
}

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

static int check(const struct arguments *a)
{
	struct config *config = config_read(a->file, stderr);

	if (!config)
		return 1;
	if (a->print)
		config_print(config, stdout);
	else
		printf("%s: ok\n", a->file);
	config_free(config);
	return 0;
}

/* A choice that was made for the operator is told, with the reason. */
static bool choose_engine(enum config_engine wanted, enum io_engine_kind *engine)
{
	char why[512];
	enum io_engine_kind can;

	if (wanted == CONFIG_ENGINE_EPOLL) {
		*engine = IO_ENGINE_EPOLL;
		return true;
	}
	can = io_choose(why, sizeof(why));
	*engine = can;
	if (can == IO_ENGINE_RING)
		return true;
	if (wanted == CONFIG_ENGINE_IO_URING) {
		fprintf(stderr, "fairlead: engine io_uring: %s\n", why);
		return false;
	}
	fprintf(stderr, "fairlead: going on with epoll: %s\n", why);
	return true;
}

static unsigned cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

static int run(const struct arguments *a)
{
	struct config *config = config_read(a->file, stderr);
	enum config_engine wanted;
	struct run_options options = { .config = config };
	int status;

	if (!config)
		return 1;
	wanted = config->engine;
	if (a->engine && !engine_by_name(a->engine, &wanted))
		return complain("--engine takes auto, io_uring or epoll");
	if (!choose_engine(wanted, &options.engine))
		return 1;
	options.workers = a->workers ? a->workers : config->workers ? config->workers : cpus();
	options.descriptors = sock_raise_limit(2 * (size_t)config->limits.connections +
					       SUPERVISOR_RESERVED_FDS);
	if (options.descriptors < SUPERVISOR_RESERVED_FDS + 16) {
		fprintf(stderr, "fairlead: %zu descriptors are too few; raise the limit "
				"(ulimit -n) to 1024 or more\n", options.descriptors);
		return 1;
	}
	status = supervisor_run(&options);
	config_free(config);
	return status;
}

int main(int argc, char **argv)
{
	struct arguments a = { 0 };
	int status = parse_arguments(argc, argv, &a);

	if (status != 0)
		return status;
	if (a.help) {
		fputs(usage, stdout);
		return 0;
	}
	if (a.version) {
		version_print(stdout);
		return 0;
	}
	if (a.reference) {
		config_reference(stdout);
		return 0;
	}
	if (!a.file)
		return complain("-c FILE is missing");
	return a.test ? check(&a) : run(&a);
}

/* fairlead: reads as a table of contents. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/diagnostics.h"
#include "config/config.h"
#include "run/command.h"
#include "run/file.h"
#include "run/memory.h"
#include "run/start.h"
#include "run/upgrade.h"
#include "run/version.h"

/* Until it serves, or while it reads a file, whoever reads standard error has so long. */
#define PATIENCE_MS 1000

struct arguments {
	const char *file;
	bool test, print, version, help, reference;
	const char *engine;
	unsigned workers;
	enum command command;
};

static const char usage[] =
	"usage: fairlead -c FILE [--engine auto|io_uring|epoll] [--workers N]\n"
	"       fairlead -t -c FILE [--print]\n"
	"       fairlead reload|upgrade -c FILE\n"
	"\n"
	"  -c, --config FILE   the configuration; -: standard input\n"
	"  -t, --test          check the configuration and end\n"
	"      --print         with -t: print it with all defaults filled in\n"
	"      --engine NAME   auto, io_uring or epoll, instead of what the file says\n"
	"      --workers N     worker threads, instead of what the file says\n"
	"      --reference     print the table of all configuration keys (Markdown)\n"
	"  -V, --version       versions, kernel, and the kernel features each engine uses\n"
	"  -h, --help          this text\n"
	"\n"
	"reload reads FILE again in the process that runs; upgrade starts the program anew in its\n"
	"place. Both need 'control' in FILE, lose no request, and say what came of it.\n"
	"\n"
	"SIGTERM, SIGINT and SIGQUIT finish what is in flight and end; a second one ends at once.\n"
	"SIGUSR1 opens the access log anew.\n";

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
			if (*end || a->workers < 1 || a->workers > START_WORKERS_MAX)
				return complain("--workers takes a number from 1 to 256");
			break;
		default:
			return complain("unknown option");
		}
	}
	if (optind < argc) {
		a->command = command_by_name(argv[optind++]);
		if (a->command == COMMAND_NONE || optind < argc)
			return complain("what is left over is not understood");
	}
	return 0;
}

/* Who asks for it wants to know of every name that cannot be resolved. */
static int check(const struct arguments *a)
{
	const struct config_reading strict = { .strict = true };
	struct config *config = config_read_with(a->file, &strict, stderr);

	if (!config)
		return 1;
	if (a->print)
		config_print(config, stdout);
	else
		printf("%s: ok\n", a->file);
	config_free(config);
	return 0;
}

static int give_command(const struct arguments *a)
{
	struct config *config = config_read(a->file, stderr);
	int status;

	if (!config)
		return 1;
	status = command_send(config, a->command);
	config_free(config);
	return status;
}

static int run(struct arguments *a, char **argv)
{
	const struct config_reading how = { .known = upgrade_known_addresses() };
	struct config *config;

	a->file = file_from_root(argv, a->file);
	diagnostics_open();
	diagnostics_wait_budget(PATIENCE_MS);
	config = upgrade_role() == UPGRADE_NEXT ? upgrade_config() :
						  config_read_with(a->file, &how, stderr);
	if (!config)
		return 1;
	return start(config, &(struct start_options){ a->engine, a->workers, argv });
}

int main(int argc, char **argv)
{
	struct arguments a = { 0 };
	int status = parse_arguments(argc, argv, &a);

	memory_prepare();
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
	if (a.command != COMMAND_NONE)
		return give_command(&a);
	return a.test ? check(&a) : run(&a, argv);
}

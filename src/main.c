/* The program: parses its arguments and runs the chosen mode. */
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/diagnostics.h"
#include "config/config.h"
#include "config/tls.h"
#include "run/file.h"
#include "run/memory.h"
#include "run/start.h"
#include "run/supervisor/command.h"
#include "run/supervisor/upgrade.h"
#include "run/version.h"
#include "tls/warm.h"

/* Total time that writes to standard error may block until the program serves. */
#define STDERR_WAIT_MS 1000

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
	"  -c, --config FILE   configuration file; - is standard input\n"
	"  -t, --test          check the configuration and exit\n"
	"      --print         with -t: print the configuration with all defaults\n"
	"      --engine NAME   auto, io_uring or epoll; overrides 'engine' of FILE\n"
	"      --workers N     number of worker threads; overrides 'workers' of FILE\n"
	"      --reference     print the table of all configuration keys (Markdown)\n"
	"  -V, --version       print versions, and the kernel features that each engine uses\n"
	"  -h, --help          print this text\n"
	"\n"
	"reload makes the running fairlead read FILE again; upgrade replaces the running\n"
	"program with the one that is installed now. Both need 'control' in FILE, lose no\n"
	"request, and print the result.\n"
	"\n"
	"SIGTERM, SIGINT and SIGQUIT finish the requests in flight and exit; a second one exits\n"
	"at once. SIGHUP reloads, SIGUSR2 upgrades, SIGUSR1 reopens the access log.\n";

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
			return complain("unexpected argument");
	}
	return 0;
}

/* Strict: every name that cannot be resolved is an error. */
static int check(const struct arguments *a)
{
	const struct config_options strict = { .strict = true };
	struct config *config = config_read_with(a->file, &strict, stderr);

	if (!config)
		return 1;
	if (a->print)
		config_print(config, stdout);
	else
		printf("%s: ok\n", a->file);
	if (!a->print)
		config_list_certificates(config, stdout, stderr);
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
	const struct config_options how = { .known_addresses = upgrade_known_addresses(),
					    .known_contents = upgrade_known_contents() };
	struct config *config;

	a->file = file_from_root(argv, a->file);
	diagnostics_open();
	diagnostics_wait_budget(STDERR_WAIT_MS);
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
	/* Before the library's first allocation, to count all of them. */
	if (!tls_library_init())
		return complain("OpenSSL cannot be initialised; see openssl version -d for its "
				"configuration");
	if (a.command != COMMAND_NONE)
		return give_command(&a);
	return a.test ? check(&a) : run(&a, argv);
}

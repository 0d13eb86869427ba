/* The program: reads its command line (cli/commands.def) and runs the command. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/diagnostics.h"
#include "base/errorlog.h"
#include "cli/arguments.h"
#include "cli/formatfiles.h"
#include "cli/proxyfile.h"
#include "config/config.h"
#include "config/tls.h"
#include "explain/explain.h"
#include "explain/why.h"
#include "run/file.h"
#include "run/memory.h"
#include "run/start.h"
#include "run/supervisor/command.h"
#include "run/supervisor/upgrade.h"
#include "run/version.h"
#include "tls/warm.h"
#include "top/top.h"

/* Total time that writes to standard error may block until the program serves. */
#define STDERR_WAIT_MS 1000

/* ---- check ------------------------------------------------------------------- */

/* Strict: every name that cannot be resolved is an error. */
static int file_check(const char *file, bool print)
{
	const struct config_options strict = { .strict = true };
	struct config *config = config_read_with(file, &strict, stderr);

	if (!config)
		return STATUS_FAILED;
	if (print)
		config_print(config, stdout);
	else
		printf("%s: ok\n", file);
	if (!print)
		config_list_certificates(config, stdout, stderr);
	config_free(config);
	return STATUS_DONE;
}

static int files_check(const struct arguments *a)
{
	const char *file = option_value(a, OPTION_CONFIG);
	bool print = option_given(a, OPTION_PRINT);
	int status = STATUS_DONE;

	if (!file && a->word_n == 0)
		return arguments_complain(CLI_CHECK,
					  "FILE is missing; write 'fairlead check FILE'");
	if (file)
		status = file_check(file, print);
	for (unsigned i = 0; i < a->word_n; i++)
		if (file_check(a->words[i], print) != STATUS_DONE)
			status = STATUS_FAILED;
	return status;
}

/* ---- explain ----------------------------------------------------------------- */

static int request_explain(const struct arguments *a)
{
	const char *file = option_value(a, OPTION_CONFIG), *client, *wrong;
	struct explain_request r = { .method = "GET" };
	struct config *config;

	if (!file)
		return arguments_complain(CLI_EXPLAIN, "-c FILE is missing");
	if (a->word_n == 0 || a->word_n > 2)
		return arguments_complain(CLI_EXPLAIN,
					  "it takes one URL; write 'fairlead explain -c FILE "
					  "GET URL'");
	client = option_value(a, OPTION_CLIENT);
	r.client = client ? client : "127.0.0.1";
	r.url = a->words[a->word_n - 1];
	if (a->word_n == 2)
		r.method = a->words[0];
	for (unsigned i = 0; i < a->option_n && r.field_n < EXPLAIN_FIELDS_MAX; i++)
		if (a->options[i].id == OPTION_FIELD)
			r.fields[r.field_n++] = a->options[i].value;
	config = config_read(file, stderr);
	if (!config)
		return STATUS_FAILED;
	wrong = explain(config, &r, stdout);
	config_free(config);
	return wrong ? arguments_complain(CLI_EXPLAIN, "%s", wrong) : STATUS_DONE;
}

/* In the logs that are given, or else the json logs of the configuration. */
static unsigned requests_find(const struct arguments *a, const struct config *c, bool *has_log)
{
	unsigned n = 0;

	*has_log = a->word_n > 1;
	for (unsigned i = 1; i < a->word_n; i++)
		n += why(c, a->words[0], a->words[i], stdout, stderr);
	for (unsigned i = 0; i < c->log_n && a->word_n == 1; i++) {
		const struct config_access_log *log = &c->logs[i];

		if (log->format != CONFIG_LOG_JSON || log->target != CONFIG_LOG_FILE ||
		    strcmp(log->path, "-") == 0)
			continue;
		*has_log = true;
		n += why(c, a->words[0], log->path, stdout, stderr);
	}
	return n;
}

static int request_why(const struct arguments *a)
{
	const char *file = option_value(a, OPTION_CONFIG);
	struct config *config;
	bool has_log;
	unsigned n;

	if (!file)
		return arguments_complain(CLI_WHY, "-c FILE is missing");
	if (a->word_n == 0)
		return arguments_complain(CLI_WHY, "the id or URL of a request is missing; write "
						   "'fairlead why -c FILE ID'");
	config = config_read(file, stderr);
	if (!config)
		return STATUS_FAILED;
	n = requests_find(a, config, &has_log);
	if (!has_log)
		fprintf(stderr, "fairlead: %s has no access_log with a path and format: json; "
				"write the name of a log behind '%s'\n",
			file, a->words[0]);
	else if (n == 0)
		fprintf(stderr, "fairlead: no such request in the log; ids need request_id: on, "
				"and an older log may have it\n");
	config_free(config);
	return n > 0 ? STATUS_DONE : STATUS_FAILED;
}

/* ---- top --------------------------------------------------------------------- */

/* The admin address of a file; STATUS_DONE, or what was reported. */
static int target_of_file(struct top_target *t, const char *file)
{
	struct config *config = config_read(file, stderr);
	bool has;

	if (!config)
		return STATUS_FAILED;
	has = config->has_admin;
	if (has) {
		t->sa = config->admin.sa;
		t->len = config->admin.len;
		snprintf(t->name, sizeof(t->name), "%s", config->admin.text);
	} else {
		fprintf(stderr, "fairlead: %s has no 'admin'; add 'admin: " TOP_ADDRESS "'\n",
			file);
	}
	config_free(config);
	return has ? STATUS_DONE : STATUS_FAILED;
}

static int top_show(const struct arguments *a)
{
	const char *file = option_value(a, OPTION_CONFIG);
	const char *word = a->word_n > 0 ? a->words[0] : TOP_ADDRESS;
	struct top_target target = { .len = 0 };
	int status = STATUS_DONE;

	if (a->word_n > (file ? 0 : 1))
		return arguments_complain(CLI_TOP, "it takes one FILE or ADDRESS");
	if (!file && a->word_n > 0 && access(word, F_OK) == 0)
		file = word;
	if (file)
		status = target_of_file(&target, file);
	else if (!top_target_read(&target, word))
		return arguments_complain(CLI_TOP,
					  "'%s' is neither a file nor an address; write HOST:PORT, "
					  ":PORT or unix:/PATH",
					  word);
	return status == STATUS_DONE ? top_run(&target, option_given(a, OPTION_ONCE)) : status;
}

/* ---- commands to a running program --------------------------------------------- */

static int give_command(const struct arguments *a, enum command command)
{
	const char *file = option_value(a, OPTION_CONFIG);
	struct config *config;
	int status;

	if (!file)
		return arguments_complain(a->command, "-c FILE is missing");
	if (a->word_n > 0)
		return arguments_complain(
			a->command, "unexpected argument '%s'; remove it", a->words[0]);
	config = config_read(file, stderr);
	if (!config)
		return STATUS_FAILED;
	status = command_send(config, command);
	config_free(config);
	return status;
}

/* ---- serving ----------------------------------------------------------------- */

/* False: reported. */
static bool workers_read(const struct arguments *a, unsigned *workers)
{
	const char *text = option_value(a, OPTION_WORKERS);
	char *end;

	*workers = 0;
	if (!text)
		return true;
	*workers = (unsigned)strtoul(text, &end, 10);
	if (*end == '\0' && *workers >= 1 && *workers <= START_WORKERS_MAX)
		return true;
	arguments_complain(a->command, "--workers takes a number from 1 to %d",
			   START_WORKERS_MAX);
	return false;
}

/* `text`: the configuration, of which `file` is the name; or NULL. */
static int serve(const struct arguments *a, char **argv, const char *file,
		 const char *text)
{
	const struct config_options how = { .text = text,
					    .known_addresses = upgrade_known_addresses(),
					    .known_contents = upgrade_known_contents() };
	struct config *config;
	unsigned workers;

	if (!workers_read(a, &workers))
		return STATUS_USAGE;
	diagnostics_open();
	errorlog_open();
	diagnostics_wait_budget(STDERR_WAIT_MS);
	config = upgrade_role() == UPGRADE_NEXT ? upgrade_config()
						: config_read_with(file, &how, stderr);
	if (!config)
		return STATUS_FAILED;
	return start(config, &(struct start_options){ option_value(a, OPTION_ENGINE),
						      workers, argv });
}

static int serve_file(const struct arguments *a, char **argv)
{
	const char *file = option_value(a, OPTION_CONFIG);

	if (option_given(a, OPTION_TEST))
		return files_check(a);
	if (!file)
		return arguments_complain(CLI_SERVE, "-c FILE is missing");
	return serve(a, argv, file_from_root(argv, file), NULL);
}

static int serve_options(const struct arguments *a, char **argv)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int status = out ? proxy_file_write(a, out) : STATUS_FAILED;

	if (out)
		fclose(out);
	if (status == 0 && option_given(a, OPTION_PRINT))
		fputs(text, stdout);
	else if (status == 0)
		status = serve(a, argv, "command line", text);
	free(text);
	return status;
}

/* ---- the rest ---------------------------------------------------------------- */

static int complete(const struct arguments *a)
{
	if (a->word_n == 1 && completion_print(a->words[0], stdout))
		return STATUS_DONE;
	return arguments_complain(
		CLI_COMPLETION,
		"the name of a shell is missing; write 'fairlead completion "
		"bash' or 'fairlead completion zsh'");
}

/* True: the option prints something, and that is all. */
static bool print_only(const struct arguments *a)
{
	if (option_given(a, OPTION_HELP))
		help_print(a->command, stdout);
	else if (option_given(a, OPTION_VERSION))
		version_print(stdout);
	else if (option_given(a, OPTION_REFERENCE))
		config_reference(stdout);
	else if (option_given(a, OPTION_SCHEMA))
		config_schema(stdout);
	else
		return false;
	return true;
}

static int command_run(const struct arguments *a, char **argv)
{
	switch (a->command) {
	case CLI_SERVE:
		return serve_file(a, argv);
	case CLI_PROXY:
		return serve_options(a, argv);
	case CLI_CHECK:
		return files_check(a);
	case CLI_FMT:
		return files_format(a);
	case CLI_EXPLAIN:
		return request_explain(a);
	case CLI_WHY:
		return request_why(a);
	case CLI_TOP:
		return top_show(a);
	case CLI_RELOAD:
		return give_command(a, COMMAND_RELOAD);
	case CLI_UPGRADE:
		return give_command(a, COMMAND_UPGRADE);
	case CLI_COMPLETION:
		return complete(a);
	case COMMANDS:
		break;
	}
	return STATUS_USAGE;
}

int main(int argc, char **argv)
{
	struct arguments a;

	memory_prepare();
	if (!arguments_read(&a, argc, argv))
		return STATUS_USAGE;
	if (print_only(&a))
		return STATUS_DONE;
	/* Before the library's first allocation, to count all of them. */
	if (!tls_library_init())
		return arguments_complain(
			CLI_SERVE,
			"OpenSSL cannot be initialised; see openssl version -d "
			"for its configuration");
	return command_run(&a, argv);
}

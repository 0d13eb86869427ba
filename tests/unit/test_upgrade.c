/* What a program takes over from the one before it: all that this one writes, while lines that
 * cannot be true are refused. This program is also the next one: see test_written(). */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/run/supervisor/loader.h"
#include "../../src/run/supervisor/upgradestate.h"
#include "run/supervisor/upgrade.h"
#include "run/version.h"

#define CONFIG                                                \
	"listen: [127.0.0.1:8080]\n"                          \
	"upstreams: { app: { servers: [127.0.0.1:9000] } }\n" \
	"routes: [ { prefix: /, proxy: { upstream: app } } ]\n"

static int channel[2], setup[2], listening, file;

static struct process processes[PROCESSES_MAX];
static struct listen_addrs addrs;
static int command_fd;
static char version[UPGRADE_VERSION_BYTES];

/* $c, $s, $l, $f: a channel, a setup channel, a listening socket, a file. */
static void write_state(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text != '$') {
			fputc(*text, out);
			continue;
		}
		text++;
		fprintf(out, "%d",
			*text == 'c'   ? channel[0]
			: *text == 's' ? setup[0]
			: *text == 'l' ? listening
				       : file);
	}
}

/* Whether the state is taken over. *said: what the error log has. */
static bool inherits(const char *text, char **said)
{
	int state = memfd_create("state", MFD_CLOEXEC);
	FILE *out = fdopen(dup(state), "w"), *before = stderr;
	char value[32];
	size_t n;
	bool good;

	write_state(out, text);
	fclose(out);
	snprintf(value, sizeof(value), "%d %d", state, file);
	setenv("FAIRLEAD_NEXT", value, 1);
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		processes[i] = (struct process){ .channel = -1, .setup_channel = -1 };
	addrs = (struct listen_addrs){ 0 };
	command_fd = -1;
	strcpy(version, "unknown");
	stderr = open_memstream(said, &n);
	good = upgrade_inherit(processes, &addrs, &command_fd, version);
	fclose(stderr);
	stderr = before;
	assert_null(getenv("FAIRLEAD_NEXT"));
	return good;
}

static void test_good(void **state)
{
	char *said;

	(void)state;
	assert_true(inherits(
		"process 2 4711 $c $s 12 1\n"
		"process 3 4712 -1 -1 5 2\n"
		"process 3 4713 -1 -1 5\n" /* of a program before engines were written */
		"outlet 3 0 1 $l\n"
		"order -1\n"
		"later 1 2 3\n"
		"version 1.2.3\n",
		&said));
	assert_string_equal(said, "");
	free(said);
	assert_int_equal(processes[0].state, PROCESS_SERVING);
	assert_int_equal(processes[0].pid, 4711);
	assert_int_equal(processes[1].engine, IO_ENGINE_EPOLL);
	assert_int_equal(processes[2].engine, IO_ENGINE_AUTO);
	assert_int_equal(addrs.n, 1);
	assert_int_equal(addrs.all[0]->number, 3);
	assert_string_equal(version, "1.2.3");
	processes_check(processes);
	listen_addrs_close(&addrs, NULL, false); /* and the socket */
}

/* ---- as a supervisor writes it ----------------------------------------------- */

static void describe_addrs(FILE *out, const struct listen_addrs *of)
{
	for (unsigned i = 0; i < of->n; i++) {
		const struct listen_addr *la = of->all[i];

		fprintf(out, "address %u kind %d managed %d:", la->number, la->kind,
			la->managed);
		for (unsigned k = 0; k < la->socket_n; k++)
			fprintf(out, " %d", la->sockets[k]);
		fputc('\n', out);
	}
}

/* The next program has all addresses in one list. */
static char *described(const struct listen_addrs *first, const struct listen_addrs *rest)
{
	char *text;
	size_t n;
	FILE *out = open_memstream(&text, &n);

	for (unsigned i = 0; i < PROCESSES_MAX; i++) {
		const struct process *p = &processes[i];

		if (p->state != PROCESS_NONE)
			fprintf(out, "process %d: state %d channels %d %d, %llu, %d\n",
				(int)p->pid, p->state, p->channel, p->setup_channel,
				(unsigned long long)p->started_ms, p->engine);
	}
	describe_addrs(out, first);
	describe_addrs(out, rest);
	fprintf(out, "command %d, version %s\n", command_fd, version);
	fclose(out);
	return text;
}

static bool is_kept_from_others(int fd)
{
	return fd < 0 || fcntl(fd, F_GETFD) == FD_CLOEXEC;
}

/* This program, executed by upgrade_exec(). It reads in the order of the real one. */
static int next_program(const char *expected)
{
	const struct listen_addrs none = { 0 };
	struct config *config = upgrade_config();
	bool good;
	char *text;

	if (!config)
		return 2;
	config_free(config);
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		processes[i] = (struct process){ .channel = -1, .setup_channel = -1 };
	command_fd = -1;
	if (!upgrade_inherit(processes, &addrs, &command_fd, version))
		return 3;
	processes_check(processes);
	text = described(&addrs, &none);
	good = strcmp(text, expected) == 0;
	if (!good)
		fprintf(stderr, "written:\n%sread:\n%s", expected, text);
	free(text);
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		good = good && is_kept_from_others(processes[i].channel) &&
		       is_kept_from_others(processes[i].setup_channel);
	for (unsigned i = 0; i < addrs.n; i++)
		for (unsigned k = 0; k < addrs.all[i]->socket_n; k++)
			good = good && is_kept_from_others(addrs.all[i]->sockets[k]);
	good = good && is_kept_from_others(command_fd);
	listen_addrs_close(&addrs, NULL, false);
	return good ? 0 : 4;
}

static int socket_to_pass(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	return fd;
}

static void add_address(struct listen_addrs *to, enum listen_addr_kind kind, bool managed,
			unsigned n)
{
	int sockets[4];
	struct listen_addr *la;

	for (unsigned k = 0; k < n; k++)
		sockets[k] = socket_to_pass();
	la = listen_addr_adopt(listen_addr_next_number(), kind, sockets, n);
	assert_non_null(la);
	la->managed = managed;
	assert_true(listen_addrs_add(to, la));
}

static void set_up_processes(void)
{
	for (unsigned i = 0; i < PROCESSES_MAX; i++)
		processes[i] = (struct process){ .state = i < 2 ? PROCESS_NONE
								: PROCESS_DRAINING,
						 .pid = 4711 + (int)i,
						 .channel = -1,
						 .setup_channel = -1,
						 .started_ms = 1ULL << (8 * i),
						 .engine = IO_ENGINE_EPOLL };
	processes[1].state = PROCESS_SERVING;
	processes[1].channel = socket_to_pass();
	processes[1].setup_channel = socket_to_pass();
	processes[1].engine = IO_ENGINE_RING;
	processes[2].channel = socket_to_pass();
	processes[3].engine = IO_ENGINE_AUTO;
}

static int snapshot_to_pass(void)
{
	const struct config_options how = { .text = CONFIG };
	struct config *config = config_read_with("fairlead.yaml", &how, stderr);
	int snapshot = memfd_create("snapshot", MFD_CLOEXEC);

	assert_non_null(config);
	assert_int_equal(loader_write_snapshot(snapshot, config), 0);
	config_free(config);
	return snapshot;
}

static void test_written(void **state)
{
	struct listen_addrs now = { 0 }, old = { 0 };
	int status, snapshot = snapshot_to_pass();
	char name[] = "test_upgrade", *argv[] = { name, NULL, NULL };
	const struct upgrade_state upgrade = { .program = "/proc/self/exe",
					       .argv = argv,
					       .processes = processes,
					       .listen_addrs = &now,
					       .old_listen_addrs = &old };
	pid_t child;

	(void)state;
	set_up_processes();
	add_address(&now, LISTEN_ADDR_CLIENTS, false, 4);
	add_address(&now, LISTEN_ADDR_CLIENTS, true, 1);
	add_address(&now, LISTEN_ADDR_ADMIN, false, 1);
	add_address(&now, LISTEN_ADDR_CONTROL, false, 1);
	add_address(&old, LISTEN_ADDR_CLIENTS, true, 2);
	add_address(&old, LISTEN_ADDR_CLIENTS, false, 2);
	strcpy(version, FAIRLEAD_VERSION);
	for (unsigned i = 0; i < 2; i++) { /* with and without a client that waits */
		struct upgrade_state with = upgrade;

		with.command_fd = command_fd = i == 0 ? socket_to_pass() : -1;
		argv[1] = described(&now, &old);
		child = fork();
		if (child == 0) {
			upgrade_exec(&with, snapshot);
			_exit(5);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		free(argv[1]);
		if (command_fd >= 0)
			close(command_fd);
	}
	close(snapshot);
	for (unsigned i = 1; i < 3; i++) {
		close(processes[i].channel);
		if (processes[i].setup_channel >= 0)
			close(processes[i].setup_channel);
	}
	listen_addrs_close(&now, NULL, false);
	listen_addrs_close(&old, NULL, false);
}

/* ---- lines ------------------------------------------------------------------- */

static void test_bad(void **state)
{
	static const char *const cases[] = {
		"process 0 4711 $c $s 12 1\n", /* no such state */
		"process 4 4711 $c $s 12 1\n",
		"process -1 4711 $c $s 12 1\n",
		"process 2 0 $c $s 12 1\n", /* no such process */
		"process 2 -4711 $c $s 12 1\n",
		"process 2 4711 1 $s 12 1\n",      /* standard output */
		"process 2 4711 900000 $s 12 1\n", /* not open */
		"process 2 4711 $f $s 12 1\n",     /* no socket */
		"process 2 4711 $c -2 12 1\n",
		"process 2 4711 $c $s 12 3\n", /* no such engine */
		"process 2 4711 $c $s 12 -1\n",
		"process 2 4711 $c\n",
		"process 2 1 -1 -1 1 1\nprocess 2 2 -1 -1 1 1\n", /* two serve */
		"process 3 1 -1 -1 1 1\nprocess 3 1 -1 -1 1 1\n", /* one process twice */
		"process 3 1 -1 -1 1\nprocess 3 2 -1 -1 1\nprocess 3 3 -1 -1 1\n"
		"process 3 4 -1 -1 1\nprocess 3 5 -1 -1 1\nprocess 3 6 -1 -1 1\n"
		"process 3 7 -1 -1 1\nprocess 3 8 -1 -1 1\nprocess 3 9 -1 -1 1\n",
		"outlet 3 3 1 $l\n", /* no such kind */
		"outlet 3 0 0\n",
		"outlet 3 0 2 $l\n", /* fewer sockets than it says */
		"outlet 3 0 1000000000 $l\n",
		"outlet 3 0 1 $f\n",
		"outlet 3 0 1 0\n",
		"outlet x 0 1 $l\n",
		"order 900000\n",
		"order x\n",
		"version",
	};
	char *said;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (inherits(cases[i], &said) || !strstr(said, "': ") ||
		    !strstr(said, "; restart"))
			fail_msg("taken over: %s%s", cases[i], said);
		free(said);
	}
}

static void test_no_state(void **state)
{
	static const char *const values[] = { "", "1 2", "900000 900001", "-1 -1", "x" };
	char *said;
	size_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		FILE *before = stderr;
		bool good;

		setenv("FAIRLEAD_NEXT", values[i], 1);
		stderr = open_memstream(&said, &n);
		good = upgrade_inherit(processes, &addrs, &command_fd, version);
		fclose(stderr);
		stderr = before;
		assert_false(good);
		assert_non_null(strstr(said, "cannot be read: FAIRLEAD_NEXT='"));
		assert_non_null(strstr(said, values[i]));
		free(said);
	}
}

static int open_sockets(void **state)
{
	(void)state;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, channel) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, setup) < 0)
		return -1;
	listening = socket(AF_INET, SOCK_STREAM, 0);
	file = memfd_create("file", 0);
	return listening < 0 || listen(listening, 1) < 0 || file < 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_no_state),
		cmocka_unit_test(test_good),
	};

	if (argc == 2 && upgrade_role() == UPGRADE_NEXT)
		return next_program(argv[1]);
	return cmocka_run_group_tests(tests, open_sockets, NULL);
}

/* Listening addresses of the supervisor: failed changes, addresses in use, the control
 * socket. */
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../src/run/supervisor/listenaddr.h"
#include "io/sock.h"

static struct config_address listens[2];
static struct config config;

static void free_port(struct config_address *a)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	*a = (struct config_address){ .text = "127.0.0.1", .len = sizeof(in) };
	memcpy(&a->sa, &in, sizeof(in));
}

/* Another socket listens on the port. */
static int take_port(struct config_address *a)
{
	int fd;

	free_port(a);
	fd = sock_listen((struct sockaddr *)&a->sa, a->len, 1, false);
	assert_true(fd >= 0);
	a->len = sizeof(a->sa);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a->sa, &a->len), 0);
	return fd;
}

static void configure(unsigned listen_n)
{
	config = (struct config){ .listens = listens, .listen_n = listen_n };
	config.limits.backlog = 16;
	close(take_port(&listens[0]));
}

/* More workers, and the second address is in use: the sockets opened for the first are
 * closed. */
static void test_failed_open(void **state)
{
	struct listen_addrs have, next;
	struct listen_addr *first;
	int taken;

	(void)state;
	configure(1);
	assert_true(listen_addrs_open(&have, &(struct listen_addrs){ 0 }, &config, 2));
	first = have.all[0];
	assert_int_equal(first->socket_n, 2);
	taken = take_port(&listens[1]);
	config.listen_n = 2;
	assert_false(listen_addrs_open(&next, &have, &config, 4));
	assert_int_equal(next.n, 0);
	assert_int_equal(first->socket_n, 2);
	close(taken);
	assert_true(listen_addrs_open(&next, &have, &config, 4));
	assert_ptr_equal(next.all[0], first);
	assert_int_equal(first->socket_n, 4);
	assert_int_equal(next.all[1]->socket_n, 4);
	listen_addrs_close(&have, &next, false);
	listen_addrs_close(&next, NULL, false);
}

/* Addresses can be merged back from the list of those to be closed. */
static void test_merge(void **state)
{
	struct listen_addrs have, spare = { 0 }, next;
	struct listen_addr *first;

	(void)state;
	configure(1);
	assert_true(listen_addrs_open(&have, &(struct listen_addrs){ 0 }, &config, 1));
	assert_true(listen_addrs_have_clients(&have));
	first = have.all[0];
	listen_addrs_merge(&spare, &have);
	assert_int_equal(have.n, 0);
	assert_false(listen_addrs_have_clients(&have));
	listen_addrs_merge(&have, &spare);
	assert_int_equal(spare.n, 0);
	assert_true(listen_addrs_open(&next, &have, &config, 1));
	assert_ptr_equal(next.all[0], first);
	listen_addrs_close(&have, &next, false);
	listen_addrs_close(&next, NULL, false);
}

static void *close_soon(void *arg)
{
	nanosleep(&(struct timespec){ 0, 50000000 }, NULL);
	close(*(int *)arg);
	return NULL;
}

/* Whether an address can be opened whose socket another thread closes meanwhile. */
static bool opens_while_closing(struct listen_addrs *have)
{
	pthread_t thread;
	bool good;
	int taken = take_port(&listens[0]);

	assert_int_equal(pthread_create(&thread, NULL, close_soon, &taken), 0);
	good = listen_addrs_open(have, &(struct listen_addrs){ 0 }, &config, 1);
	pthread_join(thread, NULL);
	return good;
}

/* Opening waits for a socket that is being closed, but gives up soon if it stays open. */
static void test_closing(void **state)
{
	struct listen_addrs have;
	unsigned tries = 0;
	int taken;

	(void)state;
	configure(1);
	taken = take_port(&listens[0]);
	assert_false(listen_addrs_open(&have, &(struct listen_addrs){ 0 }, &config, 1));
	close(taken);
	while (!opens_while_closing(&have)) /* the thread may run late */
		assert_true(++tries < 10);
	listen_addrs_close(&have, NULL, false);
}

static void control_at(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	config.has_control = true;
	config.control = (struct config_address){ .text = path, .len = sizeof(un) };
	memcpy(&config.control.sa, &un, sizeof(un));
}

static void assert_owner_only(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
}

/* Only the own user may connect. A path that was removed is bound again. */
static void test_control(void **state)
{
	struct listen_addrs have, next;
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/test_listenaddr.%d", (int)getpid());
	configure(0);
	control_at(path);
	assert_true(listen_addrs_open(&have, &(struct listen_addrs){ 0 }, &config, 2));
	assert_owner_only(path);
	assert_int_equal(unlink(path), 0);
	assert_true(listen_addrs_open(&next, &have, &config, 2));
	assert_ptr_equal(next.all[0], have.all[0]);
	assert_owner_only(path);
	listen_addrs_close(&have, &next, true);
	assert_owner_only(path);
	listen_addrs_close(&next, NULL, true);
	assert_int_equal(access(path, F_OK), -1);
}

static struct listen_addr *managed_at(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct listen_addr *la;
	int fd;

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	fd = sock_listen((struct sockaddr *)&un, sizeof(un), 1, false);
	assert_true(fd >= 0);
	la = listen_addr_adopt(listen_addr_next_number(), LISTEN_ADDR_CLIENTS, &fd, 1);
	assert_non_null(la);
	la->managed = true;
	return la;
}

/* The service manager listens on: no way to give an address up removes its path. */
static void test_managed(void **state)
{
	struct listen_addrs have = { 0 };
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/tmp/test_listenaddr.%d", (int)getpid());
	assert_true(listen_addrs_add(&have, managed_at(path)));
	listen_addrs_unlink(&have);
	assert_int_equal(access(path, F_OK), 0);
	listen_addrs_close(&have, NULL, true);
	assert_int_equal(access(path, F_OK), 0);
	assert_true(listen_addrs_add(&have, managed_at(path)));
	listen_addrs_drain(&have);
	assert_int_equal(have.n, 0);
	assert_int_equal(access(path, F_OK), 0);
	assert_true(listen_addrs_add(&have, managed_at(path)));
	have.all[0]->served_n = 0;
	listen_addrs_rollback(&have);
	assert_int_equal(have.n, 0);
	assert_int_equal(access(path, F_OK), 0);
	free(have.all);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_failed_open),
		cmocka_unit_test(test_merge),
		cmocka_unit_test(test_closing),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_managed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

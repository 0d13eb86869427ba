/* Results of lookups and health checks: messages to the workers, and metrics. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/run/worker/exposition.h"
#include "lib/simrig.h"
#include "run/worker/monitor.h"

#define PORT 6000
#define WORKERS 2

static struct simrig rig;
static struct sim_server host;
static struct config config;
static struct config_upstream upstream;
static struct config_server servers[2];
static struct config_address addresses[2]; /* of them */
static struct workers shared;
static struct worker workers[WORKERS];
static struct generation *generations[WORKERS];
static struct config another;
static struct quota descriptors;
static struct monitor *monitor;
static unsigned woken[WORKERS];

static void wake(void *sleeper)
{
	woken[(struct worker *)sleeper - workers]++;
}

static void wake_control(void *sleeper)
{
	(void)sleeper;
}

static int open_world(void **state)
{
	(void)state;
	simrig_open(&rig, 3, 16);
	memset(&host, 0, sizeof(host));
	sim_server_open(&host, &rig, PORT, NULL, NULL);
	for (unsigned i = 0; i < 2; i++) {
		struct sockaddr_in addr = simrig_address(PORT + i);

		servers[i] = (struct config_server){ .name = i ? "b\"\\" : "a",
						     .address_n = 1 };
		servers[i].address = "127.0.0.1:6000";
		servers[i].addresses = &addresses[i];
		servers[i].addresses[0].len = sizeof(addr);
		memcpy(&servers[i].addresses[0].sa, &addr, sizeof(addr));
	}
	upstream = (struct config_upstream){ .name = "app",
					     .server_n = 2,
					     .servers = servers };
	upstream.health = (struct config_health){ .on = true,
						  .type = CONFIG_HEALTH_TCP,
						  .interval_ms = 100,
						  .timeout_ms = 100,
						  .rise = 1,
						  .fall = 1 };
	config = (struct config){ .upstream_n = 1,
				  .upstreams = &upstream,
				  .resolver.off = true };
	memset(workers, 0, sizeof(workers));
	memset(woken, 0, sizeof(woken));
	mailbox_init(&rig.tick.mailbox, wake_control, NULL);
	shared.control = &rig.tick.mailbox;
	for (unsigned i = 0; i < WORKERS; i++) {
		/* The workers have another configuration: they ignore the messages. */
		generations[i] = calloc(1, sizeof(*generations[i]));
		generations[i]->config = &another;
		workers[i].proxy.generation = generations[i];
		workers[i].shared = &shared;
		mailbox_init(&workers[i].tick.mailbox, wake, &workers[i]);
	}
	quota_init(&descriptors, 10);
	monitor = monitor_new(&(struct monitor_options){ .tick = &rig.tick,
							 .config = &config,
							 .descriptors = &descriptors,
							 .workers = workers,
							 .worker_n = WORKERS });
	assert_non_null(monitor);
	return 0;
}

static int close_world(void **state)
{
	(void)state;
	monitor_free(monitor);
	for (unsigned i = 0; i < WORKERS; i++)
		free(generations[i]);
	simrig_close_peers(&rig);
	simrig_assert_buffers(&rig);
	simrig_close(&rig);
	return 0;
}

static void deliver_all(void)
{
	for (unsigned i = 0; i < WORKERS; i++)
		mailbox_drain(&workers[i].tick.mailbox);
}

/* Each worker gets a message, and a stopped monitor is idle when all have come back. */
static void test_messages(void **state)
{
	(void)state;
	SIMRIG_UNTIL(&rig, woken[0] > 0 && woken[1] > 0, 1000);
	simrig_run(&rig, 500);
	assert_int_equal(woken[0], 1); /* two messages, one wake-up */
	monitor_stop(monitor);
	simrig_run(&rig, 500);
	assert_false(monitor_idle(monitor));
	deliver_all();
	assert_false(monitor_idle(monitor));
	SIMRIG_UNTIL(&rig, monitor_idle(monitor), 100);
	assert_int_equal(descriptors.used, 0);
}

/* Workers that ended have not read their messages. */
static void test_unread_messages(void **state)
{
	(void)state;
	SIMRIG_UNTIL(&rig, woken[0] > 0 && woken[1] > 0, 1000);
	simrig_run(&rig, 500);
	monitor_stop(monitor);
	simrig_run(&rig, 500);
	assert_false(monitor_idle(monitor));
	monitor_discard_messages(monitor);
	assert_true(monitor_idle(monitor));
}

#define SAMPLE_BYTES 256 /* no sample is longer */

/* All samples, written in chunks of this size. */
static const char *metrics_in_chunks(size_t chunk)
{
	static char text[8192];
	struct exposition e = { .at = text };

	for (unsigned i = 0; i < MONITOR_FAMILIES; i++) {
		unsigned from = 0;
		bool more = true;

		while (more) {
			e.end = e.at + chunk;
			assert_true(e.end < text + sizeof(text));
			more = monitor_family(monitor, i, &from, &e, SAMPLE_BYTES);
		}
	}
	assert_false(e.overflow);
	*e.at = '\0';
	return text;
}

static const char *metrics(void)
{
	char *whole = strdup(metrics_in_chunks(4096));

	/* The size of the chunks makes no difference. */
	for (size_t chunk = 2 * SAMPLE_BYTES; chunk < 4096; chunk += 7)
		assert_string_equal(metrics_in_chunks(chunk), whole);
	free(whole);
	return metrics_in_chunks(4096);
}

static void test_metrics(void **state)
{
	const char *text;

	(void)state;
	assert_null(strstr(metrics(), "fairlead_health_up{")); /* no result yet */
	SIMRIG_UNTIL(&rig, host.accepted >= 2, 1000);
	simrig_run(&rig, 400);
	deliver_all();
	simrig_run(&rig, 100);
	text = metrics();
	assert_non_null(strstr(text, "\nfairlead_health_up{upstream=\"app\",server=\"a\","
				     "address=\"127.0.0.1:6000\"} 1\n"));
	assert_non_null(
		strstr(text, "\nfairlead_health_up{upstream=\"app\",server=\"b\\\"\\\\\","
			     "address=\"127.0.0.1:6001\"} 0\n"));
	assert_non_null(strstr(text, "# TYPE fairlead_health_probes_total counter\n"));
	assert_non_null(strstr(text, "\nfairlead_health_probes_skipped_total 0\n"));
	assert_null(strstr(text, "resolver"));
	monitor_stop(monitor);
	deliver_all();
	SIMRIG_UNTIL(&rig, monitor_idle(monitor), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_messages, open_world, close_world),
		cmocka_unit_test_setup_teardown(test_unread_messages, open_world,
						close_world),
		cmocka_unit_test_setup_teardown(test_metrics, open_world, close_world),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The arrows of servertable.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/back/servertable.h"
#include "lib/simrig.h"

#define MANY 6

struct thing {
	struct member member;
	unsigned number;
	char key[8];
};

static struct simrig rig;
static struct registry *registry;
static struct server_table table;
static unsigned left[MANY], freed[MANY];

static void member_left(struct member *m)
{
	struct thing *t = CONTAINER(m, struct thing, member);

	assert_true(member_is_leaving(m));
	assert_null(server_table_find(m->table, slice_of(t->key)));
	if (m->registry_entry)
		registry_withdraw(m->table->registry, m->registry_entry, m->table->worker,
				  0, 0);
	left[t->number]++;
}

static void member_freed(struct member *m)
{
	struct thing *t = CONTAINER(m, struct thing, member);

	assert_int_equal(m->state, MEMBER_ENDED);
	freed[t->number]++;
	free(t);
}

static const struct server_table_events events = { .left = member_left,
						   .freed = member_freed };

static void table_open(void)
{
	memset(left, 0, sizeof(left));
	memset(freed, 0, sizeof(freed));
	simrig_open(&rig, 1, 16);
	registry = registry_new("u", 1, NULL, NULL);
	assert_non_null(registry);
	assert_true(server_table_init(&table, &rig.tick, registry, 0, &events));
}

static void table_close(void)
{
	server_table_clear(&table);
	server_table_done(&table);
	registry_free(registry);
	simrig_close(&rig);
}

static struct thing *thing_find(unsigned number)
{
	char key[8] = { (char)('a' + number) };
	struct member *m = server_table_find(&table, slice_of(key));

	return m ? CONTAINER(m, struct thing, member) : NULL;
}

/* Adds the thing of that number, which may be new. */
static struct thing *thing_add(struct server_change *c, unsigned number)
{
	struct thing *t = thing_find(number);

	if (!t) {
		t = calloc(1, sizeof(*t));
		assert_non_null(t);
		t->number = number;
		t->key[0] = (char)('a' + number);
		member_enter(&table, &t->member, slice_of(t->key), t->key, "1.2.3.4:5");
		assert_int_equal(t->member.state, MEMBER_NEW);
	}
	server_change_add(c, &t->member);
	return t;
}

/* Makes the digits the listed set. */
static void list_these(const char *digits)
{
	struct server_change c;

	assert_true(server_table_prepare(&c, MANY));
	for (const char *d = digits; *d; d++)
		thing_add(&c, (unsigned)(*d - '0'));
	server_table_commit(&table, &c);
	assert_int_equal(table.n, strlen(digits));
	for (unsigned i = 0; i < table.n; i++) {
		struct thing *t = CONTAINER(table.members[i], struct thing, member);

		assert_int_equal(t->number, digits[i] - '0');
		assert_int_equal(t->member.state, MEMBER_LISTED);
		assert_false(t->member.stays);
		member_check(&t->member);
	}
}

static void test_sets(void **state)
{
	struct thing *one;

	(void)state;
	table_open();
	list_these("012");
	one = thing_find(1);
	list_these("31");
	assert_ptr_equal(thing_find(1), one);
	assert_null(thing_find(0));
	assert_int_equal(left[0] + left[2], 2);
	assert_int_equal(freed[0], 0); /* steps of this tick may refer to it */
	simrig_run(&rig, 1);
	assert_int_equal(freed[0] + freed[2], 2);
	/* One that has left comes back as a new one. */
	list_these("0");
	assert_int_equal(left[1] + left[3], 2);
	list_these("");
	simrig_run(&rig, 1);
	assert_int_equal(freed[0], 2);
	table_close();
}

static void test_connections(void **state)
{
	struct member *m;

	(void)state;
	table_open();
	list_these("01");
	m = &thing_find(0)->member;
	member_connection_made(m);
	member_connection_made(m);
	list_these("1");
	simrig_run(&rig, 1);
	assert_int_equal(left[0], 1);
	assert_int_equal(freed[0], 0);
	assert_int_equal(m->state, MEMBER_LEAVING);
	member_check(m);
	/* The name returns while the old connections remain. */
	list_these("10");
	assert_ptr_not_equal(&thing_find(0)->member, m);
	member_connection_freed(m);
	assert_int_equal(m->state, MEMBER_LEAVING);
	member_connection_freed(m);
	assert_int_equal(m->state, MEMBER_ENDED);
	assert_int_equal(freed[0], 0);
	simrig_run(&rig, 1);
	assert_int_equal(freed[0], 1);
	assert_int_equal(table.n, 2);
	table_close();
	assert_int_equal(freed[0], 2);
	assert_int_equal(freed[1], 1);
}

/* A set that is given up changes nothing. */
static void test_given_up(void **state)
{
	struct server_change c;

	(void)state;
	table_open();
	list_these("01");
	assert_true(server_table_prepare(&c, MANY));
	thing_add(&c, 1);
	thing_add(&c, 2);
	server_table_drop(&c);
	assert_null(thing_find(2));
	assert_int_equal(left[2], 1);
	assert_int_equal(freed[2], 1);
	assert_non_null(thing_find(0));
	assert_int_equal(table.n, 2);
	list_these("10");
	assert_int_equal(left[0] + left[1], 0);
	table_close();
}

/* What a server that leaves does is not reported: its entry may be another's already. */
static void test_status(void **state)
{
	struct member *m;

	(void)state;
	table_open();
	list_these("01");
	m = &thing_find(0)->member;
	assert_false(member_set_status(m, SERVER_STATUS_UP));
	assert_true(member_set_status(m, SERVER_STATUS_DOWN));
	assert_false(member_set_status(m, SERVER_STATUS_DOWN));
	assert_int_equal(m->record->status, SERVER_STATUS_DOWN);
	member_connection_made(m);
	list_these("1");
	assert_false(member_set_status(m, SERVER_STATUS_UP));
	assert_int_equal(m->record->status, SERVER_STATUS_DOWN);
	member_connection_freed(m);
	simrig_run(&rig, 1);
	table_close();
}

/* The text of the configuration may be freed. */
static void test_configure(void **state)
{
	struct config_server servers[1] = { { .name = "a" } };
	char name[] = "pool";
	struct config_upstream config = { .name = name,
					  .server_n = 1,
					  .servers = servers,
					  .keepalive = 7 };

	(void)state;
	table_open();
	server_table_configure(&table, &config);
	name[0] = 'x';
	assert_string_equal(table.config.name, "pool");
	assert_int_equal(table.config.keepalive, 7);
	assert_null(table.config.servers);
	table_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_connections),
		cmocka_unit_test(test_given_up),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_configure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

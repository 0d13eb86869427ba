#include <limits.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/check.h"
#include "run/cpus.h"

#define V2 "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
#define V1_OF(root) \
	"31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" \
	"32 25 0:28 " root " /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n" \
	"33 25 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
#define V1 V1_OF("/")

static char root[] = "/tmp/test_cpus.XXXXXX";

static int make_root(void **state)
{
	(void)state;
	strcpy(strrchr(root, '.'), ".XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[PATH_MAX];

	(void)state;
	snprintf(command, sizeof(command), "rm -r '%s'", root);
	return system(command);
}

/* Writes a file and creates its directories. */
static void put(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *out;

	snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
	out = fopen(path, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static void expect_n(unsigned n)
{
	assert_int_equal(cpus_of_groups(root), n);
}

static void test_no_limit(void **state)
{
	(void)state;
	expect_n(0);
	put("/proc/self/cgroup", "0::/\n");
	expect_n(0);
	put("/proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n" V2);
	expect_n(0);
	put("/sys/fs/cgroup/cpu.max", "max 100000\n");
	expect_n(0);
	put("/sys/fs/cgroup/cpu.max", "nonsense\n");
	expect_n(0);
	put("/proc/self/cgroup", "nonsense\n:\n::\n");
	expect_n(0);
}

static void test_unified(void **state)
{
	static const struct {
		const char *max;
		unsigned n;
	} cases[] = {
		{ "100000 100000\n", 1 }, { "150000 100000\n", 2 }, { "200000 100000\n", 2 },
		{ "1000 100000\n", 1 },	  { "50000 10000\n", 5 },   { "max 100000\n", 0 },
		{ "100000", 0 },	  { "1 0\n", 0 },
	};

	(void)state;
	put("/proc/self/cgroup", "0::/system.slice/fairlead.service\n");
	put("/proc/self/mountinfo", V2);
	for (size_t i = 0; i < COUNT(cases); i++) {
		put("/sys/fs/cgroup/system.slice/fairlead.service/cpu.max", cases[i].max);
		expect_n(cases[i].n);
	}
}

/* The lowest limit among the group and its parents counts. */
static void test_parents(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "0::/a/b/c\n");
	put("/proc/self/mountinfo", V2);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
	expect_n(0);
	put("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
	expect_n(3);
	put("/sys/fs/cgroup/a/b/cpu.max", "700000 100000\n");
	expect_n(3);
	put("/sys/fs/cgroup/a/b/c/cpu.max", "150000 100000\n");
	expect_n(2);
}

/* A container with its own cgroup namespace: its group is the root of the hierarchy. */
static void test_namespace(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "0::/\n");
	put("/proc/self/mountinfo", V2);
	put("/sys/fs/cgroup/cpu.max", "250000 100000\n");
	expect_n(3);
	/* Without a namespace: the full path is visible, but only the own group is
	 * mounted. */
	put("/proc/self/cgroup", "0::/docker/0123\n");
	put("/proc/self/mountinfo", "30 23 0:26 /docker/0123 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
	expect_n(3);
	/* Parent groups are outside of the namespace. */
	put("/proc/self/cgroup", "0::/../../other\n");
	put("/proc/self/mountinfo", V2);
	expect_n(3);
}

static void test_version_1(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "5:cpuset:/x\n4:memory:/x\n3:cpu,cpuacct:/x/y\n0::/x\n");
	put("/proc/self/mountinfo", V1);
	put("/sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "1\n");
	put("/sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_quota_us", "-1\n");
	put("/sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_period_us", "100000\n");
	expect_n(0);
	put("/sys/fs/cgroup/cpu,cpuacct/x/y/cpu.cfs_quota_us", "400000\n");
	expect_n(4);
	put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "110000\n");
	put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "50000\n");
	expect_n(3);
	/* Docker mounts only the own part of the hierarchy. */
	put("/proc/self/mountinfo", V1_OF("/x/y"));
	put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
	put("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	expect_n(2);
}

static void test_spaces(void **state)
{
	(void)state;
	put("/proc/self/cgroup", "0::/a b\n");
	put("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/control\\040groups rw - cgroup2 x rw\n");
	put("/sys/fs/control groups/a b/cpu.max", "600000 100000\n");
	expect_n(6);
}

static void test_usable(void **state)
{
	(void)state;
	assert_in_range(cpus_usable(), 1, 65536);
}

/* On any machine: each worker's CPU is one of the mask, all are used, and a thread that is pinned has
 * that one only. */
static void test_of_worker(void **state)
{
	cpu_set_t before, now;
	unsigned n;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(before), &before), 0);
	n = (unsigned)CPU_COUNT(&before);
	CPU_ZERO(&now);
	for (unsigned worker = 0; worker < n; worker++) {
		int cpu = cpus_of_worker(worker);

		assert_true(cpu >= 0 && CPU_ISSET((size_t)cpu, &before));
		assert_int_equal(cpus_of_worker(worker + n), cpu);
		CPU_SET((size_t)cpu, &now);
	}
	assert_true(CPU_EQUAL(&before, &now));
	assert_int_equal(cpus_pin(cpus_of_worker(n - 1)), 0);
	assert_int_equal(sched_getaffinity(0, sizeof(now), &now), 0);
	assert_int_equal(CPU_COUNT(&now), 1);
	assert_int_equal(cpus_of_worker(0), cpus_of_worker(1));
	assert_int_equal(sched_setaffinity(0, sizeof(before), &before), 0);
}

/* A CPU that does not exist. */
static void test_pin_fails(void **state)
{
	(void)state;
	assert_true(cpus_pin(65535) < 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_no_limit),           TEST(test_unified),   TEST(test_parents),
		TEST(test_namespace),          TEST(test_version_1), TEST(test_spaces),
		cmocka_unit_test(test_usable), cmocka_unit_test(test_of_worker),
		cmocka_unit_test(test_pin_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

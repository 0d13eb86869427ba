/* All actions that a route can have. This file alone knows those of study/. */
#include "base/check.h"
#include "proxy/action.h"
#ifndef FAIRLEAD_WITHOUT_STUDY
#include "study/study.h"
#endif

const struct action *const actions[] = {
	[CONFIG_PROXY] = &action_proxy,
	[CONFIG_MEMCACHED_GET] = &action_memcached,
#ifndef FAIRLEAD_WITHOUT_STUDY
	[CONFIG_BLOCK] = &action_block,
	[CONFIG_CPU] = &action_cpu,
	[CONFIG_JOIN] = &action_join,
#endif
};

const unsigned action_n = COUNT(actions);

/* All actions that a route can have. This file alone knows those of study/. */
#include "proxy/action.h"
#ifndef FAIRLEAD_WITHOUT_STUDY
#include "study/study.h"
#endif

const struct config_action *const config_actions[] = {
	&action_proxy.config,
	&action_memcached.config,
	&action_redirect.config,
	&action_respond.config,
#ifndef FAIRLEAD_WITHOUT_STUDY
	&action_block.config,
	&action_cpu.config,
	&action_join.config,
#endif
	NULL,
};

/* All rules that a route can have, in the order in which they are applied: who may send the
 * request, then what it may be, then what is changed. */
#include "proxy/rule.h"

const struct config_rule *const config_rules[] = {
	&rule_deny.config,
	&rule_allow.config,
	&rule_methods.config,
	&rule_rate_limit.config,
	&rule_concurrency_limit.config,
	&rule_basic_auth.config,
	&rule_auth_request.config,
	&rule_cdn_loop.config,
	&rule_via_loop.config,
	&rule_rewrite.config,
	&rule_request_fields.config,
	&rule_mirror.config,
	&rule_rewrite_location.config,
	&rule_rewrite_cookies.config,
	&rule_server_timing.config,
	&rule_response_fields.config,
	&rule_error_pages.config,
	NULL,
};

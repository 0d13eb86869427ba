#include "proxy/trailers.h"

#include "proxy/rule.h"

static bool rules_hide(const struct config_rules *rules, struct slice name,
		       bool of_request)
{
	for (unsigned i = 0; rules && i < rules->n; i++) {
		const struct rule *rule =
			CONTAINER(rules->of[i].rule, const struct rule, config);

		if (rule->hides_trailer &&
		    rule->hides_trailer(rules->of[i].options, name, of_request))
			return true;
	}
	return false;
}

static bool own_hide(const struct log_record_fields *own, struct slice name)
{
	for (unsigned i = 0; i < own->n; i++)
		if (field_names_alike(own->fields[i].name, name))
			return true;
	return false;
}

void trailers_hide(struct head *trailers, const struct config_rules *rules,
		   const struct log_record *record, bool of_request)
{
	struct log_record_fields own = { .n = 0 };

	if (!rules && !record)
		return;
	if (of_request)
		log_record_request_fields(&own, record);
	for (struct field *f = trailers->fields;
	     f < trailers->fields + trailers->field_n; f++)
		f->per_hop |= rules_hide(rules, f->name, of_request) ||
			      own_hide(&own, f->name);
}

/* Route actions for the study of concurrency (docs/concurrency.md), not for production. They need
 * `study: true`. The program is complete without this folder: `make STUDY=no`.
 *
 *   block  a blocking call on the worker's thread: shows what that does to the other clients
 *   cpu    uses CPU time, on the worker's thread or on a pool of threads
 *   join   several fetches at once, one JSON response made of them */
#ifndef STUDY_STUDY_H
#define STUDY_STUDY_H

#include "proxy/action.h"

extern const struct action action_block, action_cpu, action_join;

#endif

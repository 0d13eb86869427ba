"""What a request costs with very many routes: instructions in user space, by callgrind, of a
request on the last route, with ten routes and with 100,000, and their ratio.

Both configurations have the two routes of the template besides the generated ones. Only the worker
process is counted. The instructions of its start are in two runs, one with more requests than the
other, and so not in their difference; what is left of them is noise of a few dozen instructions a
request."""
import os
import re
import subprocess

import contestants
import held
import manyroutes
import passes
from contestants import rig
from matrix import Stage

NAME = "route-instructions"
FEW, MANY = 10, 100000
OF_TEMPLATE = 2
REQUESTS = (2000, 12000)
CONNECTIONS = 64
RUN_S = {FEW: 10, MANY: 60}    # one run under callgrind, most of it the start


def worker_of(proxy):
    with open(f"/proc/{proxy.pid}/task/{proxy.pid}/children") as f:
        return int(f.read().split()[0])


def send(proxy, path, n):
    done = subprocess.run([os.path.join(rig.TOOLS, "repeat"), "127.0.0.1", str(proxy.port), path,
                           str(CONNECTIONS), str(n)], capture_output=True, text=True)
    rig.check(done.returncode == 0, lambda: f"no result: {done.stdout}{done.stderr}")


def instructions(world, setting, n):
    """Of the worker process from its start to its end, with n requests."""
    out = os.path.join(rig.TMP, f"routecost.{setting.routes}.{n}")
    with held.stopping_all():
        proxy = contestants.FairleadEpoll(world, setting, before=passes.under_callgrind(out))
        worker = worker_of(proxy)
        send(proxy, manyroutes.last_path(setting.routes), n)
        passes.end(proxy)
    with open(f"{out}.{worker}") as f:
        return int(re.search(r"^(?:totals|summary): (\d+)", f.read(), re.M)[1])


def each(world, routes):
    """Instructions of one request."""
    setting = contestants.Setting(routes=routes - OF_TEMPLATE)
    less, more = (instructions(world, setting, n) for n in REQUESTS)
    return (more - less) / (REQUESTS[1] - REQUESTS[0])


def length_s():
    return sum(2 * s for s in RUN_S.values())


def run(record, progress):
    stage, cost = Stage(1, ()), {}
    for routes in (FEW, MANY):
        progress.show(f"{NAME}: {routes} routes")
        cost[routes] = each(stage.world, routes)
        progress.advance(2 * RUN_S[routes])
    stage.end()
    record.add(NAME, contestants.FairleadEpoll.name, 1,
               {"instructions_few": cost[FEW], "instructions": cost[MANY],
                "to_few": cost[MANY] / cost[FEW]})

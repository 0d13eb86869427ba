"""Generates configurations with many routes, for the workload `routes`: prefixes of one host, of
which requests take the last. Each contestant gets the form that its documentation names for it."""
PREFIX = "/service/{}/"


def last_path(n):
    return PREFIX.format(n - 1) + "items"


def each(n, form):
    return "".join(form.format(prefix=PREFIX.format(i)) for i in range(n))


def fairlead(n):
    """Entries of `routes`."""
    return each(n, "  - {{ prefix: {prefix}, proxy: {{ upstream: app }} }}\n")


def nginx(n):
    """Prefix locations, which nginx keeps in a tree."""
    return each(n, "        location {prefix} {{\n"
                   "            proxy_pass http://app; proxy_http_version 1.1;\n"
                   "            proxy_set_header Connection \"\"; proxy_set_header Host $host;\n"
                   "        }}\n")


def haproxy(n):
    """A map file. HAProxy keeps the prefixes of map_beg in a tree; a list of `use_backend … if`
    would be searched from its beginning."""
    return each(n, "{prefix} app\n")

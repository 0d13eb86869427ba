#!/usr/bin/env python3
"""What --print shows of references: each text of the examples, and of one file with every key that
takes a text, is replaced by ${env.REFERENCE}, one at a time. If the file is accepted, --print has
the reference and not the value, and accepts what it has printed. A value that is not UTF-8 is
refused with its place."""
# once
import glob
import os
import re
import subprocess

import rig

VALUE = "the-secret"
KEYS = {    # an entry of `upstreams.app` or of a route: the text stands in each place of VALUE
    "respond": ["{ body: VALUE }", "{ status: 200, content_type: text/VALUE, body: x }"],
    "rewrite": ["{ pattern: VALUE, to: /x }", "{ pattern: a, to: /VALUE }", "{ replace: /VALUE }",
                "{ strip: /VALUE }", "{ add: /VALUE }"],
    "cdn_loop": ["VALUE"],
    "request_fields": ["{ set: { X-A: VALUE } }", "{ add: { X-A: [VALUE, b] } }"],
    "response_fields": ["{ set: { X-A: VALUE } }", "{ add: { X-A: VALUE } }"],
    "redirect": ["{ to: https://VALUE/ }"],
    "match": ["{ header: { X-A: VALUE } }", "{ header: { X-A: VALUE* } }",
              "{ header: { X-A: { pattern: VALUE } } }", "{ cookie: { a: VALUE } }",
              "{ query: { a: { prefix: VALUE } } }"],
    "rate_limit": ["{ requests: 1/s, key: VALUE }"],
    "concurrency_limit": ["{ requests: 1, key: VALUE }"],
    "basic_auth": ["{ users: USERS, realm: VALUE }"],
    "auth_request": ["{ upstream: app, path: /VALUE }"],
    "proxy": ["{ upstream: app, path: /VALUE }", "{ upstream: app, host: VALUE }"],
    "app.via": ["VALUE"],
    "app.sticky": ["{ cookie: a, key: VALUEVALUEVALUEVALUEVALUE }", "{ cookie: VALUE }"],
    "app.health_check": ["{ path: /VALUE }", "{ host: VALUE }"],
    "top.access_log": ["{ tag: VALUE }", "{ path: /VALUE }", "{ name: VALUE }",
                       "{ template: VALUE }"],
    "top.error_log": ["{ tag: VALUE }", "{ path: /VALUE }"],
    "top.request_id": ["{ field: VALUE }"],
}
ACTIONS = ("respond", "redirect", "proxy")


def file_with(key, text):
    top = app = rule = ""
    action = "proxy: { upstream: app }"
    if key.startswith("top."):
        top = f"{key[4:]}: {text}\n"
    elif key.startswith("app."):
        app = f", {key[4:]}: {text}"
    elif key in ACTIONS:
        action = f"{key}: {text}"
    else:
        rule = f", {key}: {text}"
    return (f"listen: [127.0.0.1:1]\n{top}"
            f"upstreams: {{ app: {{ servers: [127.0.0.1:2]{app} }} }}\n"
            f"routes: [{{ path: /u, proxy: {{ upstream: app }} }}, {{ prefix: /, {action}{rule} }}]\n")


def check(text, value, name="file.yaml"):
    path = os.path.join(rig.TMP, name)
    with open(path, "w") as f:
        f.write(text)
    return subprocess.run([rig.FAIRLEAD, "check", "--print", path], capture_output=True,
                          env={**os.environ, "REFERENCE": value})


def printed(text, value, what):
    """Whether it is accepted; then --print must show the reference, and be accepted itself."""
    r = check(text, value)
    if r.returncode:
        return False
    out = r.stdout.decode()
    rig.check("${env.REFERENCE}" in out, f"{what}: no reference in {out}")
    rig.check(value != VALUE or value not in out, lambda: f"{what}: " + "\n".join(
        line for line in out.splitlines() if value in line))
    again = check(out, value, "printed.yaml")
    rig.check(again.returncode == 0 and again.stdout.decode() == out,
              lambda: f"{what}: {again.stderr.decode()}\nof {out}")
    return True


def quoted(token):
    return '"' + token[0].replace("VALUE", "${env.REFERENCE}") + '"'


def every_key():
    users = os.path.join(rig.TMP, "users")
    with open(users, "w") as f:
        f.write("ann:$2y$05$abcdefghijklmnopqrstuuu0x5cq8Vj5aCkk3wyd0gXJPZR7hYeIe\n")
    done = 0
    for key, texts in KEYS.items():
        for text in texts:
            text = text.replace("USERS", users)
            whole = re.sub(r"[^\s{}\[\],]*VALUE[^\s{}\[\],]*", quoted, text)
            plain = check(file_with(key, text.replace("VALUE", VALUE)), VALUE)
            good = printed(file_with(key, whole), VALUE, f"{key}: {whole}")
            rig.check(good == (plain.returncode == 0), lambda: f"{key}: {whole}: {good}, as text: "
                      f"{plain.stderr.decode()}")
            done += good
    return done


def examples():
    """Every text without quotes that is nowhere else in the file."""
    done = 0
    for path in sorted(glob.glob(os.path.join(rig.ROOT, "examples/*.yaml"))):
        with open(path) as f:
            text = f.read()
        if "study: true" in text:
            continue    # the URL of `block` is kept in parts
        os.chdir(os.path.dirname(path))
        for m in re.finditer(r"(?<=: )[A-Za-z/][^\s#,{}\[\]\"'$]{3,}", text):
            changed = f'{text[:m.start()]}"${{env.REFERENCE}}"{text[m.end():]}'
            line = text[:m.start()].rpartition("\n")[2]
            if "#" not in line and m[0] not in text[:m.start()] + text[m.end():]:
                done += printed(changed, m[0], f"{path}: {m[0]}")
    return done


def not_utf8():
    for key, text in (("respond", '{ body: "${env.REFERENCE}" }'),
                      ("request_fields", '{ set: { X-A: "${env.REFERENCE}" } }')):
        r = check(file_with(key, text), b"\xff\xfe caf\xe9")
        rig.check(r.returncode == 1 and re.search(
            rb":3:\d+: the value of '\$\{env\.REFERENCE\}' is not UTF-8; write it in UTF-8\n",
            r.stderr), lambda: f"{r}")


def main():
    not_utf8()
    n, more = every_key(), examples()
    rig.check(n >= 30, f"only {n} keys were accepted")
    print(f"{n} keys and {more} texts of examples print their reference")


rig.main(main)

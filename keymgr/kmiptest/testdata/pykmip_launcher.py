# Part of lockplate's tests, written for them; no third-party code.
"""Starts the packaged PyKMIP server with test faults; see pykmip-server.sh."""
import ctypes
import os
import signal
import sys
import threading
import time

top = sys.argv[1]
libc = ctypes.CDLL(None)
os.register_at_fork(after_in_child=lambda: libc.prctl(1, signal.SIGKILL))  # die with the parent

from kmip.core import enums, exceptions
from kmip.services.server import server as srv, session as ses, engine as eng

fault_file, log_file = top + "/fault", top + "/requests.log"
me = os.getpid()

def faults():
    try:
        rows = [l.split() for l in open(fault_file) if l.strip() and l[0] != "#"]
    except OSError:
        return []
    return rows

def used(rows):
    for r in rows:
        if r[0] == "times":
            left = int(r[1]) - 1
            tmp = fault_file + ".new"
            with open(tmp, "w") as f:
                if left > 0:
                    for x in rows:
                        f.write(" ".join(["times", str(left)] if x[0] == "times" else x) + "\n")
            os.replace(tmp, fault_file)

def norm(s):
    return s.replace("_", "").lower()

def hits(rows, word, ops):
    for r in rows:
        if r[0] == word and len(r) > 1 and (r[1] == "*" or norm(r[1]) in ops):
            return r
    return None

def note(who, ops, what):
    with open(log_file, "a") as f:
        f.write("%.3f %s %s %s\n" % (time.time(), who, ",".join(ops), what))

plain = eng.KmipEngine.process_request
def process(self, request, credential=None):
    rows = faults()
    ops = [norm(b.operation.value.name) for b in request.batch_items]
    who = credential[0] if credential else "?"
    r = hits(rows, "delay", ops)
    if r:
        time.sleep(float(r[2])); used(rows)
    if hits(rows, "drop", ops):
        used(rows); note(who, ops, "drop")
        CURRENT.action = "close"
        raise exceptions.PermissionDenied("dropped")
    if hits(rows, "deny", ops):
        used(rows); note(who, ops, "deny")
        raise exceptions.PermissionDenied("Access is denied by the test fault file.")
    if hits(rows, "missing", ops):
        used(rows); note(who, ops, "missing")
        raise exceptions.ItemNotFound("Could not locate object (test fault file).")
    res = plain(self, request, credential)
    bad = [i for i in res[0].batch_items if i.result_status.value != enums.ResultStatus.SUCCESS]
    if hits(rows, "lose", ops):
        used(rows); note(who, ops, "lose")
        CURRENT.action = "close"
    elif hits(rows, "garble", ops):
        used(rows); note(who, ops, "garble")
        for item in res[0].batch_items:
            sec = getattr(item.response_payload, "secret", None)
            kb = getattr(sec, "key_block", None)
            if kb is not None:
                m = kb.key_value.key_material
                v = bytearray(m.value); v[0] ^= 1; m.value = bytes(v)
    else:
        note(who, ops, "failed:" + bad[0].result_reason.value.name if bad else "ok")
    return res
eng.KmipEngine.process_request = process

CURRENT = threading.local()
send = ses.KmipSession._send_response
def send_response(self, data):
    if getattr(CURRENT, "action", None) == "close":
        CURRENT.action = None
        raise exceptions.ConnectionClosed()
    return send(self, data)
ses.KmipSession._send_response = send_response

run = ses.KmipSession.run
def quiet_run(self):
    try:
        run(self)
    except OSError:
        try: self._connection.close()
        except OSError: pass
ses.KmipSession.run = quiet_run

setup = srv.KmipServer._setup_connection_handler
def accept(self, conn, addr):
    rows = faults()
    if any(r[0] == "refuse" for r in rows):
        used(rows); conn.close(); return
    setup(self, conn, addr)
srv.KmipServer._setup_connection_handler = accept

s = srv.KmipServer(config_path=top + "/server.conf", log_path=top + "/server.log", live_policies=True)
s.start()
def stop(*_):
    if os.getpid() == me:
        os._exit(0)          # sqlite commits are already on disk; children die with us
real_signal = signal.signal
signal.signal = lambda n, h: real_signal(n, stop if n in (signal.SIGTERM, signal.SIGINT) else h)
s._socket.listen(64)
open(top + "/ready", "w").write("%d\n" % me)
print("pykmip-server: listening on %s:%s" % (s.config.settings["hostname"], s.config.settings["port"]), flush=True)
s.serve()

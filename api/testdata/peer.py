"""A client of the management API that is not written in Go: standard library
only, reading the answers the way Element's Python SDK does. It makes a
cluster, works on it and checks every answer; any surprise is a traceback and
exit 1.

usage: peer.py https://HOST:PORT CA_FILE DIRECTORY"""

import base64
import json
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

URL, CA, DIR = sys.argv[1:]
CTX = ssl.create_default_context(cafile=CA)
USER, PASSWORD = "admin", "correct h\u00f6rse"


def auth(user, password):
    pair = ("%s:%s" % (user, password)).encode("utf-8")
    return {"Authorization": "Basic " + base64.b64encode(pair).decode()}


def send(data, path="/json-rpc/12.3", headers=None, method=None):
    h = auth(USER, PASSWORD) if headers is None else headers
    req = urllib.request.Request(URL + path, data=data, headers=h, method=method)
    try:
        with urllib.request.urlopen(req, context=CTX, timeout=30) as r:
            return r.status, r.read().decode("utf-8")
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode("utf-8")


def envelope(method, params, **kw):
    return json.dumps(dict({"method": method, "params": params, "id": 1}, **kw)).encode()


def call(method, **params):
    status, text = send(envelope(method, params))
    assert status == 200, (method, status, text)
    reply = json.loads(text)
    assert reply["id"] == 1 and ("result" in reply) != ("error" in reply), reply
    return reply


def result(method, **params):
    reply = call(method, **params)
    assert "result" in reply, reply
    return reply["result"]


def error(method, **params):
    e = call(method, **params)["error"]
    assert e["code"] == 500, e
    return e["name"], e["message"]


def wait(handle):
    for _ in range(300):
        r = result("GetAsyncResult", asyncHandle=handle, keepResult=True)
        if r["status"] == "complete":
            return result("GetAsyncResult", asyncHandle=handle)
        time.sleep(0.05)
    raise AssertionError("async result %d never completed" % handle)


# The factory of the SDK: GetAPI at 7.0, then the newest version.
status, text = send(envelope("GetAPI", {}), path="/json-rpc/7.0", headers={})
api = json.loads(text)["result"]
float(api["currentVersion"])
assert api["currentVersion"] in api["supportedVersions"]
assert "ListVolumes" in api[api["currentVersion"]]

# Nothing else without a cluster; then make it.
assert send(envelope("ListVolumes", {}), headers={})[0] == 401
result("CreateCluster", mvip="192.0.2.1", svip="192.0.2.1", username=USER, password=PASSWORD,
       nodes=["192.0.2.1"], acceptEula=True, attributes={}, seal="file:" + DIR + "/key")
assert error("CreateCluster", acceptEula=True)[0] == "xClusterAlreadyCreated"

# Credentials.
status, text = send(envelope("GetAPI", {}), headers={})
assert status == 401 and "401 Unauthorized." in text
status, text = send(envelope("GetAPI", {}), headers=auth(USER, "wrong"))
assert status == 401 and "401 Unauthorized." in text
status, text = send(b"{}", path="/elsewhere")
assert status == 404 and "404 Not Found" in text

info = result("GetClusterInfo")["clusterInfo"]
uuid.UUID(info["uuid"])
assert info["softwareEncryptionAtRestState"] == "enabled" and len(info["uniqueID"]) == 4
key = result("getsoftwareencryptionatrestinfo")
uuid.UUID(key["masterKeyInfo"]["keyID"])
assert key["state"] == key["status"] == "enabled" and key["masterKeyInfo"]["keyManagementType"] == "internal"

# A drive and a volume. 1,000,000,000 bytes round up to whole MiB.
done = wait(result("AddDrives", drives=[{"uri": "dir:" + DIR + "/d1", "type": "block"}])["asyncHandle"])
assert isinstance(done["result"], dict) and "error" not in done, done
drive = result("ListDrives")["drives"][0]
assert drive["status"] == "active" and drive["type"] == "block"
uuid.UUID(drive["keyID"])
hardware = result("ListDriveHardware", force=False)["nodes"][0]["result"]["driveHardware"][0]
uuid.UUID(hardware["uuid"])
assert hardware["driveEncryptionCapability"] == "none" and hardware["size"] > 0 and hardware["securityEnabled"] is False
name, message = error("EnableEncryptionAtRest", keyProviderID=None)
assert name == "xAPINotPermitted" and message.startswith("Encryption is not supported"), message
assert error("EnableEncryptionAtRest", keyProviderID=5)[0] == "xKeyProviderDoesNotExist"
assert result("GetEncryptionAtRestInfo")["encryptionAtRestInfo"] == {"state": "disabled"}
made = result("CreateVolume", name="v1", accountID=1, totalSize=1000000000, enable512e=True, attributes={"a": 1})
volume = made["volume"]
assert volume["totalSize"] == 1000341504 and made["volumeID"] == volume["volumeID"]
assert "curve" not in made and "curve" not in volume["qos"]
assert volume["access"] == "readWrite" and volume["status"] == "active" and volume["attributes"] == {"a": 1}
uuid.UUID(volume["volumeUUID"])
uuid.UUID(volume["volumeConsistencyGroupUUID"])
assert error("CreateVolume", name="v1", totalSize=1)[0] == "xAlreadyExists"
assert error("CreateVolume", name="v2", totalSize=1 << 60)[0] == "xNoSpace"
assert error("CreateVolume", name="bad name", totalSize=1)[0] == "xInvalidParameter"
assert error("CreateVolume", totalSize=1) == ("xMissingParameter", "Missing member=[name]")

# Ids may come as strings, integers are answered.
vid = volume["volumeID"]
grown = result("ModifyVolume", volumeID=str(vid), totalSize=2 << 30)["volume"]
assert grown["volumeID"] == vid and grown["totalSize"] == 2 << 30
assert error("ModifyVolume", volumeID=vid, totalSize=1)[0] == "xInvalidParameter"
assert error("ModifyVolume", volumeID=999, totalSize=1)[0] == "xVolumeIDDoesNotExist"
assert error("NoSuchMethod") == ("xUnknownAPIMethod", " method=NoSuchMethod")
assert call("GetAPI", bogus=1)["unusedParameters"] == ["bogus"]

# GET form.
query = urllib.parse.urlencode({"method": "ListVolumes", "volumeIDs": json.dumps([vid])})
status, text = send(None, path="/json-rpc/1.0?" + query, method="GET")
assert status == 200 and json.loads(text)["result"]["volumes"][0]["name"] == "v1", text
status, text = send(None, path="/json-rpc/1.0/?method=DeleteVolume&volumeID=%d" % vid, method="GET")
assert json.loads(text)["error"]["name"] == "xPermissionDenied", text

# Delete, restore, purge.
gone = result("DeleteVolume", volumeID=vid)["volume"]
assert gone["status"] == "deleted" and gone["purgeTime"] > gone["deleteTime"] != ""
assert [v["volumeID"] for v in result("ListDeletedVolumes")["volumes"]] == [vid]
result("RestoreDeletedVolume", volumeID=vid)
assert [v["volumeID"] for v in result("ListActiveVolumes")["volumes"]] == [vid]
assert result("ListVolumeStats")["volumeStats"][0]["volumeSize"] == 2 << 30
result("DeleteVolume", volumeID=vid)
result("PurgeDeletedVolume", volumeID=vid)
assert result("ListVolumes")["volumes"] == []

# A user who may only read.
uid = result("AddClusterAdmin", username="ron", password="only reads", access=["read"], acceptEula=True)["clusterAdminID"]
status, text = send(envelope("ListVolumes", None), headers=auth("ron", "only reads"))
assert "result" in json.loads(text), text
status, text = send(envelope("CreateVolume", {"name": "x", "totalSize": 1}), headers=auth("ron", "only reads"))
assert json.loads(text)["error"]["name"] == "xPermissionDenied", text
result("RemoveClusterAdmin", clusterAdminID=uid)
assert send(envelope("ListVolumes", {}), headers=auth("ron", "only reads"))[0] == 401
assert error("RemoveClusterAdmin", clusterAdminID=result("ListClusterAdmins")["clusterAdmins"][0]["clusterAdminID"])[0] == "xAPINotPermitted"

assert result("ListClusterFaults", faultTypes="current")["faults"] == []
assert result("CheckStore")["problems"] == []
assert base64.b64decode(result("GetStoreBackup", passphrase="sealed")["backup"])
print("ok")

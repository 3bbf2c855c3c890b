package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"lockplate/api/wire"
	"lockplate/cluster"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Every method's result is kept in testdata/golden: clients read these
// members, so a change there must be meant.
func TestResultsKeepTheirShape(t *testing.T) {
	params := map[string]string{
		wire.MethodCreateCluster:        `{"mvip":"192.0.2.1","svip":"192.0.2.2","username":"admin","password":"long enough","nodes":["192.0.2.1"],"acceptEula":true,"attributes":{}}`,
		wire.MethodListVolumeStats:      `{"volumeIDs":["7"]}`,
		wire.MethodGetAsyncResult:       `{"asyncHandle":3}`,
		wire.MethodAddDrives:            `{"drives":[{"driveID":1,"type":"block"},{"uri":"dir:/srv","type":"slice"}]}`,
		wire.MethodRemoveDrives:         `{"drives":[1]}`,
		wire.MethodForgetDrive:          `{"driveID":1}`,
		wire.MethodSecureErase:          `{"drives":[1]}`,
		wire.MethodGetDriveHardware:     `{"driveID":2}`,
		wire.MethodListDriveHardware:    `{"force":false}`,
		wire.MethodCreateVolume:         `{"name":"v","accountID":1,"totalSize":1073741824,"enable512e":true}`,
		wire.MethodAdoptVolume:          `{"name":"v","driveID":1,"image":"x","passphrase":"p"}`,
		wire.MethodModifyVolume:         `{"volumeID":7,"totalSize":1}`,
		wire.MethodDeleteVolume:         `{"volumeID":8}`,
		wire.MethodRestoreDeletedVolume: `{"volumeID":8}`,
		wire.MethodPurgeDeletedVolume:   `{"volumeID":8}`,
		wire.MethodAddRecoveryKey:       `{"volumeID":7,"passphrase":"p"}`,
		wire.MethodListRecoveryKeys:     `{"volumeID":7}`,
		wire.MethodRemoveRecoveryKey:    `{"volumeID":7,"slot":0,"force":true}`,
		wire.MethodAddClusterAdmin:      `{"username":"bob","password":"p","access":["read"],"acceptEula":true}`,
		wire.MethodModifyClusterAdmin:   `{"clusterAdminID":1,"access":["administrator"]}`,
		wire.MethodRemoveClusterAdmin:   `{"clusterAdminID":1}`,
		wire.MethodGetStoreBackup:       `{"passphrase":"p"}`,
		wire.MethodGetDriveStats:        `{"driveID":1}`,
		wire.MethodListDriveStats:       `{"drives":[1,9]}`,
		wire.MethodGetNodeStats:         `{"nodeID":1}`,
		wire.MethodCreateKeyServer:      `{"kmipCaCertificate":"a","kmipClientCertificate":"b","kmipKeyServerHostnames":["h"],"kmipKeyServerName":"n"}`,
		wire.MethodModifyKeyServer:      `{"keyServerID":15,"kmipKeyServerPort":5696}`,
		wire.MethodDeleteKeyServer:      `{"keyServerID":15}`,
		wire.MethodGetKeyServer:         `{"keyServerID":15}`,
		wire.MethodTestKeyServer:        `{"keyServerID":15}`,
		wire.MethodRemoveServer:         `{"keyServerID":15}`,
		wire.MethodCreateKeyProvider:    `{"keyProviderName":"n"}`,
		wire.MethodDeleteKeyProvider:    `{"keyProviderID":"8"}`,
		wire.MethodGetKeyProvider:       `{"keyProviderID":1}`,
		wire.MethodTestKeyProvider:      `{"keyProviderID":1}`,
		wire.MethodAddServerToProvider:  `{"keyProviderID":1,"keyServerID":15}`,
		wire.MethodRekey:                `{"keyManagementType":"external","keyProviderID":"1"}`,
		wire.MethodDestroyMasterKey:     `{"keyID":"` + someUUID + `"}`,
		wire.MethodResealKeys:           `{"seal":"passphrase","sealPassphrase":"p"}`,
		wire.MethodCreateKeyShares:      `{"threshold":3,"shares":5,"replace":true}`,
		wire.MethodVerifyKeyShares:      `{"shares":["lockplate-share-1-A"]}`,
		wire.MethodGetVolumeStats:       `{"volumeID":7}`,
		wire.MethodCreateQoSPolicy:      `{"name":"bronze","qos":{"minIOPS":50,"maxIOPS":15000,"burstIOPS":15000}}`,
		wire.MethodModifyQoSPolicy:      `{"qosPolicyID":2,"qos":{"minIOPS":51,"maxIOPS":15002,"burstIOPS":15002}}`,
		wire.MethodDeleteQoSPolicy:      `{"qosPolicyID":2}`,
		wire.MethodGetQoSPolicy:         `{"qosPolicyID":2}`,
		wire.MethodListForAccount:       `{"accountID":1}`,
		wire.MethodListStatsByAccount:   `{"accounts":[1]}`,
		wire.MethodGetFeatureStatus:     `{"feature":"FipsDrives"}`,
		wire.MethodListAccessGroups:     `{"volumeAccessGroups":[3]}`,
		wire.MethodGetAccountByID:       `{"accountID":1}`,
		wire.MethodGetAccountByName:     `{"username":"lockplate"}`,
	}
	r := newAPIRig(t)
	for _, name := range r.srv.methods.names {
		if name == wire.MethodGetSSLCertificate {
			continue // it is another one each time, see TestSSLCertificate
		}
		p := params[name]
		if p == "" {
			p = "{}"
		}
		reply := r.post(`{"method":"` + name + `","params":` + p + `}`)
		if reply["error"] != nil || reply["unusedParameters"] != nil {
			t.Errorf("%s: %s %s", name, reply["error"], reply["unusedParameters"])
			continue
		}
		golden(t, name+".json", reply["result"])
		checkTraps(t, name, reply["result"])
	}
}

func golden(t *testing.T, name string, got json.RawMessage) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	b.WriteByte('\n')
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("%s (-want +got; if it is meant, run the test with -update):\n%s", name, d)
	}
}

// What breaks clients, by member: whatever the method, wherever it stands.
func checkTraps(t *testing.T, method string, raw json.RawMessage) {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$`)
	schemes := []any{"singleHelix", "doubleHelix", "tripleHelix"}
	walk(v, func(name string, v any) {
		text, _ := v.(string)
		_, isObject := v.(map[string]any)
		ok := true
		switch name {
		case "keyID", "uuid", "volumeUUID", "volumeConsistencyGroupUUID", "virtualVolumeID":
			ok = v == nil || uuid.MatchString(text)
		case "curve": // an integer for both Go SDKs, an object for the Python SDK
			ok = false
		case "attributes", "data", "result", "details":
			ok = v == nil || isObject || name == "details" && text != ""
		case "createTime", "lastUpdateTime", "lastAccessTime", "lastAccessTimeIO", "date", "timestamp", "keyCreatedTime":
			ok = v == nil || stamp.MatchString(text)
		case "deleteTime", "purgeTime", "resolvedDate":
			ok = v == "" || stamp.MatchString(text)
		case "access":
			ok = text == "" || slices.Contains([]string{"readWrite", "readOnly", "locked"}, text)
		case "currentProtectionScheme", "defaultProtectionScheme":
			ok = slices.Contains(schemes, v)
		case "volumes", "drives", "faults", "asyncHandles", "clusterAdmins", "nodes", "accounts", "sessions", "qosHistograms", "bulkVolumeJobs", "driveIDs", "volumePairs", "volumeAccessGroups", "ensemble":
			_, ok = v.([]any)
		case "volumeStats":
			_, rows := v.([]any)
			ok = rows == strings.HasPrefix(method, wire.MethodListVolumeStats)
		case "driveEncryptionCapability":
			ok = slices.Contains([]string{"none", "sed", "fips"}, text)
		case "encryptionAtRestState", "softwareEncryptionAtRestState":
			ok = slices.Contains([]string{"enabling", "enabled", "disabling", "disabled"}, text)
		case "enabledProtectionSchemes", "supportedProtectionSchemes":
			all, _ := v.([]any)
			ok = len(all) > 0 && !slices.ContainsFunc(all, func(s any) bool { return !slices.Contains(schemes, s) })
		case "keyManagementType": // lower case in answers
			ok = text == "internal" || text == "external"
		case "initiatorSecret", "targetSecret":
			ok = v != nil
		case "currentVersion":
			ok = text != ""
		}
		if !ok {
			t.Errorf("%s: member %s is %v", method, name, v)
		}
	})
}

// walk visits every member of every object.
func walk(v any, visit func(name string, v any)) {
	switch v := v.(type) {
	case map[string]any:
		for name, m := range v {
			visit(name, m)
			walk(m, visit)
		}
	case []any:
		for _, e := range v {
			walk(e, visit)
		}
	}
}

// The members that element-api.md lists, so that none is lost by a rename.
func TestObjectsHaveAllMembers(t *testing.T) {
	for _, c := range []struct{ file, object, members string }{
		{"ListVolumes.json", "volumes", "volumeID name accountID status access totalSize blockSize enable512e createTime deleteTime purgeTime lastAccessTime lastAccessTimeIO attributes iqn scsiEUIDeviceID scsiNAADeviceID qos qosPolicyID sliceCount currentProtectionScheme previousProtectionScheme virtualVolumeID volumeAccessGroups volumeConsistencyGroupUUID volumePairs volumeUUID enableSnapMirrorReplication fifoSize minFifoSize lockplate"},
		{"ListDrives.json", "drives", "driveID nodeID slot chassisSlot serial capacity usableCapacity segmentFileSize type status driveFailureDetail driveSecurityFaultReason keyID keyProviderID attributes lockplate"},
		{"ListDriveHardware.json", "nodes", "nodeID result"},
		{"GetDriveHardwareInfo.json", "driveHardwareInfo", "driveSecurityLocked driveSecurityFrozen driveSecurityAtMaximum securityFeatureEnabled securityFeatureSupported description dev devpath logicalname product serial size uuid version"},
		{"GetHardwareConfig.json", "hardwareConfig", "cpu memory kernel"},
		{"SecureEraseDrives.json", "", "asyncHandle"},
		{"ListClusterFaults.json", "faults", "clusterFaultID code severity type details data date resolved resolvedDate driveID driveIDs nodeID serviceID nodeHardwareFaultID externalSource networkInterface blocksUpgrade"},
		{"ListAsyncResults.json", "asyncHandles", "asyncResultID completed success resultType createTime lastUpdateTime data"},
		{"GetClusterInfo.json", "clusterInfo", "name uuid uniqueID mvip svip mvipNodeID svipNodeID mvipInterface svipInterface mvipVlanTag svipVlanTag ensemble repCount attributes defaultProtectionScheme enabledProtectionSchemes supportedProtectionSchemes encryptionAtRestState softwareEncryptionAtRestState"},
		{"GetSoftwareEncryptionAtRestInfo.json", "", "masterKeyInfo rekeyMasterKeyAsyncResultID state status version lockplate"},
		{"GetClusterVersionInfo.json", "", "clusterAPIVersion clusterVersion clusterVersionInfo softwareVersionInfo"},
		{"GetClusterVersionInfo.json", "clusterVersionInfo", "nodeID nodeVersion nodeInternalRevision"},
		{"GetClusterVersionInfo.json", "softwareVersionInfo", "currentVersion nodeID packageName pendingVersion startTime"},
		{"GetSoftwareEncryptionAtRestInfo.json", "masterKeyInfo", "keyID keyManagementType keyCreatedTime"},
		{"GetAPI.json", "", "currentVersion supportedVersions 12.3"},
		{"GetAsyncResult.json", "", "status result resultType createTime lastUpdateTime"},
		{"CreateVolume.json", "", "volume volumeID"},
		{"ListVolumeStats.json", "volumeStats", "accountID actualIOPS asyncDelay averageIOPSize burstIOPSCredit clientQueueDepth latencyUSec nonZeroBlocks readBytes readOps samplePeriodMSec throttle timestamp unalignedReads unalignedWrites volumeAccessGroups volumeID volumeSize volumeUtilization writeBytes writeOps zeroBlocks"},
		{"ListAllNodes.json", "", "nodes pendingNodes pendingActiveNodes"},
		{"ListAllNodes.json", "nodes", "nodeID associatedMasterServiceID associatedFServiceID fibreChannelTargetPortGroup name platformInfo role softwareVersion cip cipi mip mipi sip sipi uuid virtualNetworks attributes nodeSlot chassisName customProtectionDomainName maintenanceMode"},
		{"GetClusterCapacity.json", "clusterCapacity", "activeBlockSpace activeSessions averageIOPS clusterRecentIOSize currentIOPS maxIOPS maxOverProvisionableSpace maxProvisionedSpace maxUsedMetadataSpace maxUsedSpace nonZeroBlocks peakActiveSessions peakIOPS provisionedSpace snapshotNonZeroBlocks timestamp totalOps uniqueBlocks uniqueBlocksUsedSpace usedMetadataSpace usedMetadataSpaceInSnapshots usedSpace zeroBlocks"},
		{"GetNodeStats.json", "nodeStats", "cBytesIn cBytesOut count cpu cpuTotal mBytesIn mBytesOut networkUtilizationCluster networkUtilizationStorage nodeID readOps readLatencyUSecTotal sBytesIn sBytesOut ssLoadHistogram timestamp usedMemory writeLatencyUSecTotal writeOps"},
		{"GetClusterStats.json", "clusterStats", "clusterUtilization clientQueueDepth normalizedIOPS readBytes readLatencyUSecTotal readOps servicesCount servicesTotal timestamp writeBytes writeLatencyUSecTotal writeOps actualIOPS averageIOPSize latencyUSec readBytesLastSample readLatencyUSec readOpsLastSample samplePeriodMsec unalignedReads unalignedWrites writeBytesLastSample writeLatencyUSec writeOpsLastSample"},
		{"GetClusterFullThreshold.json", "", "blockFullness fullness maxMetadataOverProvisionFactor metadataFullness sliceReserveUsedThresholdPct stage2AwareThreshold stage2BlockThresholdBytes stage3BlockThresholdBytes stage3BlockThresholdPercent stage3MetadataThresholdPercent stage3LowThreshold stage4CriticalThreshold stage4BlockThresholdBytes stage5BlockThresholdBytes sumTotalClusterBytes sumTotalMetadataClusterBytes sumUsedClusterBytes sumUsedMetadataClusterBytes stage2MetadataThresholdBytes stage3MetadataThresholdBytes stage4MetadataThresholdBytes stage5MetadataThresholdBytes"},
		{"ListEvents.json", "", "eventQueueType events"},
		{"ListEvents.json", "events", "eventID severity eventInfoType message serviceID nodeID driveID driveIDs timeOfReport timeOfPublish details"},
		{"GetKeyServerKmip.json", "kmipKeyServer", "keyServerID keyProviderID kmipAssignedProviderIsActive kmipKeyServerName kmipKeyServerHostnames kmipKeyServerPort kmipCaCertificate kmipClientCertificate"},
		{"GetKeyProviderKmip.json", "kmipKeyProvider", "keyProviderID keyProviderName keyProviderIsActive keyServerIDs kmipCapabilities"},
		{"ListKeyServersKmip.json", "", "kmipKeyServers"},
		{"ListKeyProvidersKmip.json", "", "kmipKeyProviders"},
		{"CreateKeyServerKmip.json", "", "kmipKeyServer"},
		{"CreateKeyProviderKmip.json", "", "kmipKeyProvider"},
		{"GetClientCertificateSignRequest.json", "", "clientCertificateSignRequest"},
		{"RekeySoftwareEncryptionAtRestMasterKey.json", "", "asyncHandle"},
		{"GetDriveStats.json", "driveStats", "driveID failedDieCount lifeRemainingPercent lifetimeReadBytes lifetimeWriteBytes powerOnHours readBytes readOps reallocatedSectors reserveCapacityPercent timestamp totalCapacity usedCapacity usedMemory writeBytes writeOps"},
		{"GetCurrentClusterAdmin.json", "clusterAdmin", "access attributes authMethod clusterAdminID username"},
		{"GetLimits.json", "", "accountCountMax initiatorCountMax secretLengthMax secretLengthMin volumeBurstIOPSMax volumeCountMax volumeNameLengthMax volumeNameLengthMin volumeSizeMax volumeSizeMin volumesPerAccountCountMax clusterAdminAccountMax"},
		{"ListAccounts.json", "accounts", "accountID username status volumes initiatorSecret targetSecret storageContainerID attributes enableChap"},
		{"ListNodeStats.json", "nodeStats", "nodes"},
		{"ListVolumeQoSHistograms.json", "", "qosHistograms"},
		{"ListISCSISessions.json", "", "sessions"},
		{"ListBulkVolumeJobs.json", "", "bulkVolumeJobs"},
		{"ListServices.json", "services", "service node drive drives"},
		{"GetEncryptionAtRestInfo.json", "", "state encryptionAtRestInfo"},
		{"GetEncryptionAtRestInfo.json", "encryptionAtRestInfo", "state"},
		{"ListClusterAdmins.json", "clusterAdmins", "access attributes authMethod clusterAdminID username"},
	} {
		b, err := os.ReadFile(filepath.Join("testdata", "golden", c.file))
		var v map[string]any
		if err == nil {
			err = json.Unmarshal(b, &v)
		}
		if err != nil {
			t.Fatal(err)
		}
		obj, _ := v[c.object].(map[string]any)
		if l, ok := v[c.object].([]any); ok {
			obj = l[0].(map[string]any)
		}
		if c.object == "" {
			obj = v
		}
		for _, m := range strings.Fields(c.members) {
			if _, ok := obj[m]; !ok {
				t.Errorf("%s: no member %s", c.file, m)
			}
		}
	}
}

func TestAsyncResultHasResultOrError(t *testing.T) {
	r := newAPIRig(t)
	for _, c := range []struct {
		a    cluster.Async
		want string
	}{
		{cluster.Async{Type: "DriveAdd", Progress: 40}, `{"status":"running","details":{"percentComplete":40},"resultType":"DriveAdd","createTime":"2026-01-02T03:04:05Z","lastUpdateTime":"2026-01-02T03:04:05Z"}`},
		// the result of a rekey, as Element's own documentation prints it
		{cluster.Async{Type: cluster.AsyncRekey, State: "RewrapDataEncryptionKeys", Progress: 45}, `{"status":"running","details":{"percentComplete":45,"state":"RewrapDataEncryptionKeys"},"resultType":"RekeySoftwareEncryptionAtRestMasterKey","createTime":"2026-01-02T03:04:05Z","lastUpdateTime":"2026-01-02T03:04:05Z"}`},
		{cluster.Async{Type: "DriveAdd", Done: true}, `{"status":"complete","result":{},"resultType":"DriveAdd","createTime":"2026-01-02T03:04:05Z","lastUpdateTime":"2026-01-02T03:04:05Z"}`},
		{cluster.Async{Type: "DriveAdd", Done: true, ErrName: "xNoSpace", ErrText: "full"}, `{"status":"complete","error":{"name":"xNoSpace","message":"full"},"resultType":"DriveAdd","createTime":"2026-01-02T03:04:05Z","lastUpdateTime":"2026-01-02T03:04:05Z"}`},
	} {
		c.a.Handle, c.a.Created, c.a.Updated = 3, day, day
		r.async = c.a
		if got := r.post(`{"method":"GetAsyncResult","params":{"asyncHandle":3}}`)["result"]; string(got) != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

func TestListVolumesFilters(t *testing.T) {
	r := newAPIRig(t)
	for params, want := range map[string][]int64{
		`{}`: {7, 8, 9}, `{"volumeIDs":[]}`: {7, 8, 9}, `{"volumeIDs":[9,"7",1]}`: {7, 9},
		`{"accounts":[2]}`: {9}, `{"startVolumeID":8}`: {8, 9}, `{"limit":1}`: {7}, `{"startVolumeID":8,"limit":1}`: {8},
		`{"volumeName":"gone"}`: {8}, `{"volumeStatus":"active"}`: {7, 9}, `{"volumeStatus":"deleted"}`: {8},
		`{"isPaired":true}`: {}, `{"isPaired":false,"includeVirtualVolumes":false}`: {7, 8, 9},
	} {
		var res wire.ListVolumesResult
		if err := json.Unmarshal(r.post(`{"method":"ListVolumes","params":` + params + `}`)["result"], &res); err != nil {
			t.Fatal(err)
		}
		ids := []int64{}
		for _, v := range res.Volumes {
			ids = append(ids, v.VolumeID)
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%s: %v, want %v", params, ids, want)
		}
	}
	for _, bad := range []string{`{"volumeIDs":[7],"limit":1}`, `{"volumeIDs":[7],"accounts":[1]}`, `{"limit":-1}`} {
		r.wantError(bad, r.post(`{"method":"ListVolumes","params":`+bad+`}`), wire.ErrInvalidParameter, "")
	}
}

func TestParametersReachTheCluster(t *testing.T) {
	r := newAPIRig(t)
	for _, c := range []struct {
		method, params string
		want           any
	}{
		{
			"AddDrives", `{"drives":[5,{"driveID":"6","type":"volume"},{"uri":"mem:1G","type":"slice"}]}`,
			[]cluster.AddDrive{{ID: 5}, {ID: 6, Role: cluster.RoleMetadata}, {URI: "mem:1G", Role: cluster.RoleMetadata}},
		},
		{"RemoveDrives", `{"drives":[5,"6"]}`, []int64{5, 6}},
		{
			"CreateVolume", `{"name":"v","totalSize":"1000","accountID":2,"access":"readOnly","driveID":3,"detachedHeader":true,"discard":"pass","sectorSize":512,"recoveryPassphrase":"p","recoveryKDF":"pbkdf2","attributes":{"a":1},"enable512e":false}`,
			cluster.CreateVolume{
				Name: "v", Size: 1000, AccountID: 2, Access: cluster.AccessReadOnly, DriveID: 3, Detached: true,
				Discard: "pass", SectorSize: 512, Passphrase: []byte("p"), PassphraseKDF: "pbkdf2", Attributes: map[string]any{"a": 1.0},
			},
		},
		{
			"ModifyVolume", `{"volumeID":7,"name":"w","totalSize":5,"access":"locked","enable512e":true,"accountID":4,"discard":"off","attributes":{}}`,
			cluster.ModifyVolume{
				Name: new("w"), Size: new(int64(5)), Access: new(cluster.AccessLocked), Emulate512: new(true),
				AccountID: new(int64(4)), Discard: new("off"), Attributes: &map[string]any{},
			},
		},
		{"ModifyVolume", `{"volumeID":7}`, cluster.ModifyVolume{}},
		{"AddVolumeRecoveryKey", `{"volumeID":7,"passphrase":"p","kdf":"pbkdf2"}`, []any{int64(7), "p", "pbkdf2"}},
		{"AddClusterAdmin", `{"username":"u","password":"p","access":["read","administrator"]}`, []cluster.Role{"read", "administrator"}},
		{"RemoveVolumeRecoveryKey", `{"volumeID":7,"slot":1}`, []int64{7, 1}},
	} {
		reply := r.post(`{"method":"` + c.method + `","params":` + c.params + `}`)
		if d := cmp.Diff(c.want, r.last); reply["error"] != nil || d != "" {
			t.Errorf("%s %s: %s\n%s", c.method, c.params, reply["error"], d)
		}
	}
}

func TestValuesAreChecked(t *testing.T) {
	r := newAPIRig(t)
	big := strings.Repeat("x", 1000)
	for _, c := range []struct{ method, params, name, message string }{
		{"CreateVolume", `{"name":"v","totalSize":1,"access":"readwrite"}`, wire.ErrUnrecognizedEnum, "readwrite"},
		{"CreateVolume", `{"name":"v","totalSize":1,"access":"replicationTarget"}`, wire.ErrInvalidParameter, "replicationTarget"},
		{"CreateVolume", `{"name":"v","totalSize":1,"discard":"maybe"}`, wire.ErrUnrecognizedEnum, "maybe"},
		{"CreateVolume", `{"name":"v","totalSize":1,"recoveryKDF":"md5"}`, wire.ErrUnrecognizedEnum, "md5"},
		{"CreateVolume", `{"name":"v","totalSize":1,"attributes":{"a":"` + big + `"}}`, wire.ErrExceededLimit, "attributes"},
		{"CreateVolume", `{"name":"v","totalSize":1,"attributes":[]}`, wire.ErrParameterType, "attributes: must be of type object"},
		{"ModifyVolume", `{"volumeID":7,"access":"x"}`, wire.ErrUnrecognizedEnum, "x"},
		{"ModifyVolume", `{"volumeID":7,"discard":"x"}`, wire.ErrUnrecognizedEnum, "x"},
		{"ModifyVolume", `{"volumeID":7,"attributes":{"a":"` + big + `"}}`, wire.ErrExceededLimit, "attributes"},
		{"ListVolumes", `{"volumeStatus":"x"}`, wire.ErrUnrecognizedEnum, "x"},
		{"AddDrives", `{"drives":[]}`, wire.ErrInvalidParameter, "drives"},
		{"AddDrives", `{"drives":[{}]}`, wire.ErrMissingParameter, "driveID"},
		{"AddDrives", `{"drives":[{"driveID":1,"uri":"mem:1"}]}`, wire.ErrInvalidParameter, "not both"},
		{"AddDrives", `{"drives":[{"driveID":1,"type":"tape"}]}`, wire.ErrUnrecognizedEnum, "tape"},
		{"AddDrives", `{"drives":{"driveID":1}}`, wire.ErrParameterType, "drives: must be of type array"},
		{"RemoveDrives", `{"drives":[]}`, wire.ErrInvalidParameter, "drives"},
		{"CreateCluster", `{"acceptEula":false}`, wire.ErrInvalidParameter, "acceptEula"},
		{"CreateCluster", `{}`, wire.ErrMissingParameter, "Missing member=[acceptEula]"},
		{"CreateCluster", `{"acceptEula":true,"username":"u"}`, wire.ErrMissingParameter, "password"},
		{"CreateCluster", `{"acceptEula":true,"password":"u"}`, wire.ErrMissingParameter, "username"},
		{"AddClusterAdmin", `{"username":"u","password":"p","access":["king"]}`, wire.ErrUnrecognizedEnum, "king"},
		{"ModifyClusterAdmin", `{"clusterAdminID":1,"access":["king"]}`, wire.ErrUnrecognizedEnum, "king"},
		{"AddVolumeRecoveryKey", `{"volumeID":7,"passphrase":""}`, wire.ErrInvalidParameter, "passphrase"},
		{"AddVolumeRecoveryKey", `{"volumeID":7,"passphrase":"p","kdf":"md5"}`, wire.ErrUnrecognizedEnum, "md5"},
		{"RemoveVolumeRecoveryKey", `{"volumeID":7,"slot":0}`, wire.ErrInvalidParameter, "force=true"},
		{"GetStoreBackup", `{"passphrase":""}`, wire.ErrInvalidParameter, "passphrase"},
	} {
		r.wantError(c.method+" "+c.params[:min(60, len(c.params))], r.post(`{"method":"`+c.method+`","params":`+c.params+`}`), c.name, c.message)
	}
	if r.last != nil {
		t.Errorf("a bad value reached the cluster: %#v", r.last)
	}
}

package api

import (
	"strings"

	"lockplate/api/wire"
)

// access says who may call a method, and how.
type access uint8

const (
	adminOnly  access = iota // changes something or shows a secret; POST only, audited
	adminReads               // changes nothing, but is for administrators; GET too
	readers                  // changes nothing; GET too
)

// method is one row of the table.
type method struct {
	name   string
	access access
	run    handler
	// setup allows a caller on this machine who has no credentials, as long
	// as there is no cluster that could have any.
	setup bool
}

// methodTable finds methods by their name in lower case: the documentation
// spells some that way.
type methodTable struct {
	byName map[string]*method
	names  []string // as spelled, in the order of the table
}

func (t methodTable) find(name string) *method { return t.byName[strings.ToLower(name)] }

// newMethodTable declares every method. docs/ELEMENT lists it.
func newMethodTable(s *Server) methodTable {
	rows := []method{
		{name: wire.MethodCreateCluster, access: adminOnly, run: bind(s.createCluster), setup: true},
		{name: wire.MethodGetAPI, access: readers, run: bind(s.getAPI), setup: true},
		{name: wire.MethodGetClusterVersion, access: readers, run: bind(s.getClusterVersionInfo)},
		{name: wire.MethodGetClusterInfo, access: readers, run: bind(s.getClusterInfo)},
		{name: wire.MethodGetSoftwareEncrypt, access: readers, run: bind(s.getSoftwareEncryption)},
		{name: wire.MethodListClusterFaults, access: readers, run: bind(s.listClusterFaults)},
		{name: wire.MethodClearFaults, access: adminOnly, run: bind(s.clearClusterFaults)},
		{name: wire.MethodListEvents, access: readers, run: bind(s.listEvents)},
		{name: wire.MethodGetAsyncResult, access: readers, run: bind(s.getAsyncResult)},
		{name: wire.MethodListAsyncResults, access: readers, run: bind(s.listAsyncResults)},

		{name: wire.MethodListDrives, access: readers, run: bind(s.listDrives)},
		{name: wire.MethodAddDrives, access: adminOnly, run: bind(s.addDrives)},
		{name: wire.MethodRemoveDrives, access: adminOnly, run: bind(s.removeDrives)},
		{name: wire.MethodForgetDrive, access: adminOnly, run: bind(s.forgetDrive)},
		{name: wire.MethodListDriveHardware, access: readers, run: bind(s.listDriveHardware)},
		{name: wire.MethodGetDriveHardware, access: readers, run: bind(s.getDriveHardwareInfo)},
		{name: wire.MethodGetHardwareConfig, access: readers, run: bind(s.getHardwareConfig)},
		{name: wire.MethodSecureErase, access: adminOnly, run: bind(s.secureEraseDrives)},
		{name: wire.MethodEnableEncryption, access: adminOnly, run: bind(s.enableEncryptionAtRest)},
		{name: wire.MethodDisableEncryption, access: adminOnly, run: bind(s.disableEncryptionAtRest)},

		{name: wire.MethodCreateVolume, access: adminOnly, run: bind(s.createVolume)},
		{name: wire.MethodAdoptVolume, access: adminOnly, run: bind(s.adoptVolume)},
		{name: wire.MethodListVolumes, access: readers, run: bind(s.listVolumes)},
		{name: wire.MethodListActiveVolumes, access: readers, run: bind(s.listActiveVolumes)},
		{name: wire.MethodListDeletedVolumes, access: readers, run: bind(s.listDeletedVolumes)},
		{name: wire.MethodModifyVolume, access: adminOnly, run: bind(s.modifyVolume)},
		{name: wire.MethodDeleteVolume, access: adminOnly, run: bind(s.deleteVolume)},
		{name: wire.MethodRestoreDeletedVolume, access: adminOnly, run: bind(s.restoreVolume)},
		{name: wire.MethodPurgeDeletedVolume, access: adminOnly, run: bind(s.purgeVolume)},
		{name: wire.MethodListVolumeStats, access: readers, run: bind(s.listVolumeStats)},
		{name: wire.MethodAddRecoveryKey, access: adminOnly, run: bind(s.addRecoveryKey)},
		{name: wire.MethodListRecoveryKeys, access: readers, run: bind(s.listRecoveryKeys)},
		{name: wire.MethodRemoveRecoveryKey, access: adminOnly, run: bind(s.removeRecoveryKey)},

		{name: wire.MethodAddClusterAdmin, access: adminOnly, run: bind(s.addClusterAdmin)},
		{name: wire.MethodListClusterAdmins, access: adminReads, run: bind(s.listClusterAdmins)},
		{name: wire.MethodModifyClusterAdmin, access: adminOnly, run: bind(s.modifyClusterAdmin)},
		{name: wire.MethodRemoveClusterAdmin, access: adminOnly, run: bind(s.removeClusterAdmin)},

		{name: wire.MethodListAllNodes, access: readers, run: bind(s.listAllNodes)},
		{name: wire.MethodListActiveNodes, access: readers, run: bind(s.listActiveNodes)},
		{name: wire.MethodGetMasterNode, access: readers, run: bind(s.getMasterNode)},
		{name: wire.MethodListNodeStats, access: readers, run: bind(s.listNodeStats)},
		{name: wire.MethodGetNodeStats, access: readers, run: bind(s.getNodeStats)},
		{name: wire.MethodGetClusterCapacity, access: readers, run: bind(s.getClusterCapacity)},
		{name: wire.MethodGetClusterStats, access: readers, run: bind(s.getClusterStats)},
		{name: wire.MethodGetFullThreshold, access: readers, run: bind(s.getFullThreshold)},
		{name: wire.MethodGetLimits, access: readers, run: bind(s.getLimits)},
		{name: wire.MethodGetCurrentAdmin, access: readers, run: bind(s.getCurrentClusterAdmin)},
		{name: wire.MethodListDriveStats, access: readers, run: bind(s.listDriveStats)},
		{name: wire.MethodGetDriveStats, access: readers, run: bind(s.getDriveStats)},
		{name: wire.MethodGetEncryptionAtRest, access: readers, run: bind(s.getEncryptionAtRest)},
		{name: wire.MethodGetVolumeStats, access: readers, run: bind(s.getVolumeStats)},
		{name: wire.MethodGetVolumeCount, access: readers, run: bind(s.getVolumeCount)},
		{name: wire.MethodListForAccount, access: readers, run: bind(s.listVolumesForAccount)},
		{name: wire.MethodGetDefaultQoS, access: readers, run: bind(s.getDefaultQoS)},
		{name: wire.MethodCreateQoSPolicy, access: adminOnly, run: bind(s.createQoSPolicy)},
		{name: wire.MethodModifyQoSPolicy, access: adminOnly, run: bind(s.modifyQoSPolicy)},
		{name: wire.MethodDeleteQoSPolicy, access: adminOnly, run: bind(s.deleteQoSPolicy)},
		{name: wire.MethodGetQoSPolicy, access: readers, run: bind(s.getQoSPolicy)},
		{name: wire.MethodListQoSPolicies, access: readers, run: bind(s.listQoSPolicies)},
		{name: wire.MethodListQoSHistograms, access: readers, run: bind(s.listQoSHistograms)},
		{name: wire.MethodListServices, access: readers, run: bind(s.listServices)},
		{name: wire.MethodListStatsByVolume, access: readers, run: bind(s.listStatsByVolume)},
		{name: wire.MethodListStatsByAccount, access: readers, run: bind(s.listStatsByAccount)},
		{name: wire.MethodGetFeatureStatus, access: readers, run: bind(s.getFeatureStatus)},
		{name: wire.MethodGetSSLCertificate, access: readers, run: bind(s.getSSLCertificate)},
		{name: wire.MethodListAccessGroups, access: readers, run: bind(s.listAccessGroups)},
		{name: wire.MethodListInitiators, access: readers, run: bind(s.listInitiators)},
		{name: wire.MethodListAccounts, access: readers, run: bind(s.listAccounts)},
		{name: wire.MethodGetAccountByID, access: readers, run: bind(s.getAccountByID)},
		{name: wire.MethodGetAccountByName, access: readers, run: bind(s.getAccountByName)},

		{name: wire.MethodCreateKeyPair, access: adminOnly, run: bind(s.createKeyPair)},
		{name: wire.MethodGetSignRequest, access: adminReads, run: bind(s.getSignRequest)},
		{name: wire.MethodCreateKeyServer, access: adminOnly, run: bind(s.createKeyServer)},
		{name: wire.MethodModifyKeyServer, access: adminOnly, run: bind(s.modifyKeyServer)},
		{name: wire.MethodDeleteKeyServer, access: adminOnly, run: bind(s.deleteKeyServer)},
		{name: wire.MethodGetKeyServer, access: adminReads, run: bind(s.getKeyServer)},
		{name: wire.MethodListKeyServers, access: adminReads, run: bind(s.listKeyServers)},
		{name: wire.MethodTestKeyServer, access: adminOnly, run: bind(s.testKeyServer)},
		{name: wire.MethodCreateKeyProvider, access: adminOnly, run: bind(s.createKeyProvider)},
		{name: wire.MethodDeleteKeyProvider, access: adminOnly, run: bind(s.deleteKeyProvider)},
		{name: wire.MethodGetKeyProvider, access: adminReads, run: bind(s.getKeyProvider)},
		{name: wire.MethodListKeyProviders, access: adminReads, run: bind(s.listKeyProviders)},
		{name: wire.MethodTestKeyProvider, access: adminOnly, run: bind(s.testKeyProvider)},
		{name: wire.MethodAddServerToProvider, access: adminOnly, run: bind(s.addServerToProvider)},
		{name: wire.MethodRemoveServer, access: adminOnly, run: bind(s.removeServer)},
		{name: wire.MethodRekey, access: adminOnly, run: bind(s.rekeyMasterKey)},
		{name: wire.MethodListMasterKeys, access: readers, run: bind(s.listMasterKeys)},
		{name: wire.MethodDestroyMasterKey, access: adminOnly, run: bind(s.destroyMasterKey)},
		{name: wire.MethodResealKeys, access: adminOnly, run: bind(s.resealKeys)},
		{name: wire.MethodCreateKeyShares, access: adminOnly, run: bind(s.createKeyShares)},
		{name: wire.MethodGetKeyShares, access: readers, run: bind(s.getKeyShares)},
		{name: wire.MethodVerifyKeyShares, access: adminOnly, run: bind(s.verifyKeyShares)},
		{name: wire.MethodRemoveKeyShares, access: adminOnly, run: bind(s.removeKeyShares)},

		{name: wire.MethodGetStoreBackup, access: adminOnly, run: bind(s.getStoreBackup)},
		{name: wire.MethodCheckStore, access: adminReads, run: bind(s.checkStore)},
		{name: wire.MethodGetGatewayInfo, access: readers, run: bind(s.getGatewayInfo)},
	}
	for _, a := range wire.Absences() {
		rows = append(rows, method{name: a.Method, access: readers, run: bind(s.none(a))})
	}
	t := methodTable{byName: map[string]*method{}}
	for i := range rows {
		t.byName[strings.ToLower(rows[i].name)] = &rows[i]
		t.names = append(t.names, rows[i].name)
	}
	return t
}

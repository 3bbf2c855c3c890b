package wire

// Names of errors. The first group is Element's, the second is ours, where no
// source tells Element's; once shipped a name stays.
const (
	ErrUnknownMethod       = "xUnknownAPIMethod"
	ErrMissingParameter    = "xMissingParameter"
	ErrInvalidParameter    = "xInvalidParameter"
	ErrParameterType       = "xInvalidParameterType"
	ErrUnrecognizedEnum    = "xUnrecognizedEnumString"
	ErrExceededLimit       = "xExceededLimit"
	ErrPermissionDenied    = "xPermissionDenied"
	ErrNotPermitted        = "xAPINotPermitted" // not possible on this system, or not now
	ErrRetry               = "xDBConnectionLoss"
	ErrAsyncNotFound       = "xAsyncHandleDoesNotExist"
	ErrVolumeNotFound      = "xVolumeIDDoesNotExist"
	ErrAccountNotFound     = "xAccountIDDoesNotExist"
	ErrUnknownAccount      = "xUnknownAccount" // by its name
	ErrDriveNotFound       = "xDriveIDDoesNotExist"
	ErrClusterExists       = "xClusterAlreadyCreated"
	ErrClusterAdminGone    = "xClusterAdminIDDoesNotExist"
	ErrJSONParse           = "xJSONParseError"
	ErrNoCluster           = "xClusterDoesNotExist"
	ErrKeyslotNotFound     = "xKeyslotDoesNotExist"
	ErrQoSPolicyNotFound   = "xQoSPolicyDoesNotExist"
	ErrNotFound            = "xDoesNotExist" // any other thing
	ErrInUse               = "xInUse"
	ErrAlreadyExists       = "xAlreadyExists"
	ErrNoSpace             = "xNoSpace"
	ErrReadOnly            = "xReadOnly"
	ErrWrongPassphrase     = "xWrongPassphrase"
	ErrWrongKey            = "xWrongKey"          // the key does not belong to this data
	ErrKeyUnavailable      = "xKeyUnavailable"    // the key cannot be had now
	ErrIntegrity           = "xIntegrityFailure"  // damaged or truncated data
	ErrUnsupportedFormat   = "xUnsupportedFormat" // a container or record we cannot use
	ErrKeyServerNotFound   = "xKeyServerDoesNotExist"
	ErrKeyProviderNotFound = "xKeyProviderDoesNotExist"
	ErrKeyPairNotFound     = "xKeyPairDoesNotExist"
	ErrMasterKeyNotFound   = "xMasterKeyDoesNotExist"
	ErrKeyProviderActive   = "xKeyProviderIsActive"
	ErrKeyServerInUse      = "xKeyServerInUse"
	ErrKeyPairInUse        = "xKeyPairInUse"
	ErrKmipConnection      = "xKmipConnectionFailure"     // the way to the key server
	ErrKmipAuthentication  = "xKmipAuthenticationFailure" // trust, one way or the other
	ErrKmipServer          = "xKmipServerError"           // what the key server says or does
	ErrKmipKeyNotFound     = "xKmipKeyNotFound"
	ErrKmipKeyConflict     = "xKmipKeyConflict"
	ErrRekeyFailed         = "xRekeyFailed" // of a job, for reasons on our side
	ErrRekeyInProgress     = "xRekeyInProgress"
	ErrNotEncrypted        = "xSoftwareEncryptionDisabled"
	ErrInternal            = "xInternalError" // anything else; the message says what
)

// ErrorNames lists every name above: the whole set that an answer may carry.
func ErrorNames() []string {
	return []string{
		ErrUnknownMethod, ErrMissingParameter, ErrInvalidParameter, ErrParameterType,
		ErrUnrecognizedEnum, ErrExceededLimit, ErrPermissionDenied, ErrNotPermitted,
		ErrRetry, ErrAsyncNotFound, ErrVolumeNotFound, ErrAccountNotFound, ErrUnknownAccount,
		ErrDriveNotFound, ErrClusterExists, ErrClusterAdminGone, ErrJSONParse,
		ErrNoCluster, ErrKeyslotNotFound, ErrQoSPolicyNotFound, ErrNotFound, ErrInUse, ErrAlreadyExists,
		ErrNoSpace, ErrReadOnly, ErrWrongPassphrase, ErrWrongKey, ErrKeyUnavailable,
		ErrIntegrity, ErrUnsupportedFormat, ErrKeyServerNotFound, ErrKeyProviderNotFound,
		ErrKeyPairNotFound, ErrMasterKeyNotFound, ErrKeyProviderActive, ErrKeyServerInUse,
		ErrKeyPairInUse, ErrKmipConnection, ErrKmipAuthentication, ErrKmipServer,
		ErrKmipKeyNotFound, ErrKmipKeyConflict, ErrRekeyInProgress, ErrRekeyFailed,
		ErrNotEncrypted,
		ErrInternal,
	}
}

// Names of methods. The second group is lockplate's extension.
const (
	MethodCreateCluster        = "CreateCluster"
	MethodGetAPI               = "GetAPI"
	MethodGetClusterVersion    = "GetClusterVersionInfo"
	MethodGetClusterInfo       = "GetClusterInfo"
	MethodGetSoftwareEncrypt   = "GetSoftwareEncryptionAtRestInfo"
	MethodGetAsyncResult       = "GetAsyncResult"
	MethodListAsyncResults     = "ListAsyncResults"
	MethodListClusterFaults    = "ListClusterFaults"
	MethodListDrives           = "ListDrives"
	MethodAddDrives            = "AddDrives"
	MethodRemoveDrives         = "RemoveDrives"
	MethodCreateVolume         = "CreateVolume"
	MethodListVolumes          = "ListVolumes"
	MethodListActiveVolumes    = "ListActiveVolumes"
	MethodListDeletedVolumes   = "ListDeletedVolumes"
	MethodModifyVolume         = "ModifyVolume"
	MethodDeleteVolume         = "DeleteVolume"
	MethodRestoreDeletedVolume = "RestoreDeletedVolume"
	MethodPurgeDeletedVolume   = "PurgeDeletedVolume"
	MethodListVolumeStats      = "ListVolumeStats"
	MethodAddClusterAdmin      = "AddClusterAdmin"
	MethodListClusterAdmins    = "ListClusterAdmins"
	MethodModifyClusterAdmin   = "ModifyClusterAdmin"
	MethodRemoveClusterAdmin   = "RemoveClusterAdmin"
	MethodListAllNodes         = "ListAllNodes"
	MethodListActiveNodes      = "ListActiveNodes"
	MethodGetMasterNode        = "GetClusterMasterNodeID"
	MethodListNodeStats        = "ListNodeStats"
	MethodGetNodeStats         = "GetNodeStats"
	MethodGetClusterCapacity   = "GetClusterCapacity"
	MethodGetClusterStats      = "GetClusterStats"
	MethodGetFullThreshold     = "GetClusterFullThreshold"
	MethodGetEncryptionAtRest  = "GetEncryptionAtRestInfo"
	MethodGetVolumeStats       = "GetVolumeStats"
	MethodGetVolumeCount       = "GetVolumeCount"
	MethodListForAccount       = "ListVolumesForAccount"
	MethodGetDefaultQoS        = "GetDefaultQoS"
	MethodCreateQoSPolicy      = "CreateQoSPolicy"
	MethodModifyQoSPolicy      = "ModifyQoSPolicy"
	MethodDeleteQoSPolicy      = "DeleteQoSPolicy"
	MethodGetQoSPolicy         = "GetQoSPolicy"
	MethodListQoSPolicies      = "ListQoSPolicies"
	MethodListQoSHistograms    = "ListVolumeQoSHistograms"
	MethodListAccessGroups     = "ListVolumeAccessGroups"
	MethodListInitiators       = "ListInitiators"
	MethodListAccounts         = "ListAccounts"
	MethodGetAccountByID       = "GetAccountByID"
	MethodGetAccountByName     = "GetAccountByName"
	MethodListServices         = "ListServices"
	MethodListStatsByVolume    = "ListVolumeStatsByVolume"
	MethodListStatsByAccount   = "ListVolumeStatsByAccount"
	MethodGetFeatureStatus     = "GetFeatureStatus"
	MethodGetSSLCertificate    = "GetSSLCertificate"
	MethodGetLimits            = "GetLimits"
	MethodGetCurrentAdmin      = "GetCurrentClusterAdmin"
	MethodListDriveStats       = "ListDriveStats"
	MethodGetDriveStats        = "GetDriveStats"
	MethodListEvents           = "ListEvents"
	MethodClearFaults          = "ClearClusterFaults"
	MethodCreateKeyPair        = "CreatePublicPrivateKeyPair"
	MethodGetSignRequest       = "GetClientCertificateSignRequest"
	MethodCreateKeyServer      = "CreateKeyServerKmip"
	MethodModifyKeyServer      = "ModifyKeyServerKmip"
	MethodDeleteKeyServer      = "DeleteKeyServerKmip"
	MethodGetKeyServer         = "GetKeyServerKmip"
	MethodListKeyServers       = "ListKeyServersKmip"
	MethodTestKeyServer        = "TestKeyServerKmip"
	MethodCreateKeyProvider    = "CreateKeyProviderKmip"
	MethodDeleteKeyProvider    = "DeleteKeyProviderKmip"
	MethodGetKeyProvider       = "GetKeyProviderKmip"
	MethodListKeyProviders     = "ListKeyProvidersKmip"
	MethodTestKeyProvider      = "TestKeyProviderKmip"
	MethodAddServerToProvider  = "AddKeyServerToProviderKmip"
	MethodRemoveServer         = "RemoveKeyServerFromProviderKmip"
	MethodRekey                = "RekeySoftwareEncryptionAtRestMasterKey"
	MethodEnableEncryption     = "EnableEncryptionAtRest"
	MethodDisableEncryption    = "DisableEncryptionAtRest"
	MethodSecureErase          = "SecureEraseDrives"
	MethodListDriveHardware    = "ListDriveHardware"
	MethodGetDriveHardware     = "GetDriveHardwareInfo"
	MethodGetHardwareConfig    = "GetHardwareConfig"

	MethodAdoptVolume       = "AdoptVolume"
	MethodAddRecoveryKey    = "AddVolumeRecoveryKey"
	MethodListRecoveryKeys  = "ListVolumeRecoveryKeys"
	MethodRemoveRecoveryKey = "RemoveVolumeRecoveryKey"
	MethodGetStoreBackup    = "GetStoreBackup"
	MethodCheckStore        = "CheckStore"
	MethodGetGatewayInfo    = "GetGatewayInfo"
	MethodForgetDrive       = "ForgetDrive"
	MethodListMasterKeys    = "ListMasterKeys"
	MethodDestroyMasterKey  = "DestroyMasterKey"
	MethodResealKeys        = "ResealKeys"
	MethodCreateKeyShares   = "CreateKeyShares"
	MethodGetKeyShares      = "GetKeyShares"
	MethodVerifyKeyShares   = "VerifyKeyShares"
	MethodRemoveKeyShares   = "RemoveKeyShares"
)

package wire

import (
	"bytes"
	"encoding/json"
)

// Types of drives: Element calls a drive for metadata "volume" (or "slice").
const (
	DriveBlock    = "block"
	DriveMetadata = "volume"
	DriveSlice    = "slice" // only in requests, the same as DriveMetadata
)

// NoKey is the keyID of a drive that no key unlocks.
const NoKey = "00000000-0000-0000-0000-000000000000"

// ListDrivesResult holds drives.
type ListDrivesResult struct {
	Drives []Drive `json:"drives"`
}

// Drive is Element's DriveInfo object.
type Drive struct {
	Attributes               map[string]any `json:"attributes"`
	Capacity                 int64          `json:"capacity"`
	ChassisSlot              string         `json:"chassisSlot"`
	DriveFailureDetail       string         `json:"driveFailureDetail"`
	DriveID                  int64          `json:"driveID"`
	DriveSecurityFaultReason string         `json:"driveSecurityFaultReason"`
	KeyID                    string         `json:"keyID"` // UUID, NoKey for none
	KeyProviderID            int64          `json:"keyProviderID"`
	NodeID                   int64          `json:"nodeID"`
	SegmentFileSize          int64          `json:"segmentFileSize"`
	Serial                   string         `json:"serial"`
	Slot                     int            `json:"slot"`
	Status                   string         `json:"status"` // available, active, erasing, failed, removing
	Type                     string         `json:"type"`   // block, volume
	UsableCapacity           int64          `json:"usableCapacity"`
	Lockplate                DriveDetail    `json:"lockplate"`
}

// DriveDetail is what lockplate knows beyond Element's members (extension).
type DriveDetail struct {
	URI     string  `json:"uri"`
	UUID    string  `json:"uuid"`
	Role    string  `json:"role"`   // block, metadata
	Reason  string  `json:"reason"` // why it is failed
	Free    int64   `json:"free"`
	Model   string  `json:"model"`
	Volumes []int64 `json:"volumes"`
	Added   string  `json:"added"`
}

// AddDrivesParams takes drives into service.
type AddDrivesParams struct {
	Drives []NewDrive `json:"drives" param:"required"`
}

// NewDrive names a drive by its id, or (extension) a new one by its URI. A
// bare integer is read as a driveID.
type NewDrive struct {
	DriveID Int    `json:"driveID,omitempty"`
	URI     string `json:"uri,omitempty"`
	Type    string `json:"type,omitempty"` // block (default), volume or slice
}

// UnmarshalJSON reads an object or a bare id.
func (d *NewDrive) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '{' {
		return d.DriveID.UnmarshalJSON(bytes.TrimSpace(b))
	}
	type plain NewDrive
	return json.Unmarshal(b, (*plain)(d))
}

// RemoveDrivesParams takes drives out of service.
type RemoveDrivesParams struct {
	Drives []Int `json:"drives" param:"required"`
}

// ForgetDriveParams drops an available drive from the list (extension).
type ForgetDriveParams struct {
	DriveID Int `json:"driveID" param:"required"`
}

// AsyncHandleResult is the answer of a method whose work goes on: poll
// GetAsyncResult with the handle.
type AsyncHandleResult struct {
	AsyncHandle int64 `json:"asyncHandle"`
}

// Status of an async result.
const (
	AsyncRunning  = "running"
	AsyncComplete = "complete"
)

// GetAsyncResultParams asks for the state of long work. The handle ends with
// the answer that tells the result, unless KeepResult.
type GetAsyncResultParams struct {
	AsyncHandle Int  `json:"asyncHandle" param:"required"`
	KeepResult  bool `json:"keepResult,omitempty"`
}

// GetAsyncResultResult is the state of long work. When complete it has Result
// or Error; while running it has Details with percentComplete.
type GetAsyncResultResult struct {
	Status         string         `json:"status"`
	Result         map[string]any `json:"result,omitzero"` // not nil after success
	Error          *AsyncError    `json:"error,omitempty"`
	Details        map[string]any `json:"details,omitzero"`
	ResultType     string         `json:"resultType"`
	CreateTime     string         `json:"createTime"`
	LastUpdateTime string         `json:"lastUpdateTime"`
}

// AsyncError is why long work failed.
type AsyncError struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

// ListAsyncResultsParams selects by type of work; none means all.
type ListAsyncResultsParams struct {
	AsyncResultTypes []string `json:"asyncResultTypes,omitempty"`
}

// ListAsyncResultsResult lists long work without consuming anything.
type ListAsyncResultsResult struct {
	AsyncHandles []AsyncHandle `json:"asyncHandles"`
}

// AsyncHandle is Element's object of that name.
type AsyncHandle struct {
	AsyncResultID  int64          `json:"asyncResultID"`
	Completed      bool           `json:"completed"`
	CreateTime     string         `json:"createTime"`
	Data           map[string]any `json:"data"`
	LastUpdateTime string         `json:"lastUpdateTime"`
	ResultType     string         `json:"resultType"`
	Success        bool           `json:"success"`
}

package wire

// EventQueue is the only kind of queue of events there is.
const EventQueue = "clusterEvents"

// ListEventsParams select events.
type ListEventsParams struct {
	MaxEvents        Int    `json:"maxEvents,omitempty"` // the newest so many
	StartEventID     Int    `json:"startEventID,omitempty"`
	EndEventID       Int    `json:"endEventID,omitempty"`
	EventType        string `json:"eventType,omitempty"`
	ServiceID        Int    `json:"serviceID,omitempty"`
	NodeID           Int    `json:"nodeID,omitempty"`
	DriveID          Int    `json:"driveID,omitempty"`
	StartReportTime  string `json:"startReportTime,omitempty"`
	EndReportTime    string `json:"endReportTime,omitempty"`
	StartPublishTime string `json:"startPublishTime,omitempty"` // the same as the report time
	EndPublishTime   string `json:"endPublishTime,omitempty"`
}

// ListEventsResult holds events, oldest first.
type ListEventsResult struct {
	EventQueueType string  `json:"eventQueueType"`
	Events         []Event `json:"events"`
}

// Event is Element's EventInfo object.
type Event struct {
	Details       *string `json:"details"` // text, as the SDK declares it: a JSON object or null
	DriveID       int64   `json:"driveID"`
	DriveIDs      []int64 `json:"driveIDs"`
	EventID       int64   `json:"eventID"`
	EventInfoType string  `json:"eventInfoType"`
	Message       string  `json:"message"`
	NodeID        int64   `json:"nodeID"`
	ServiceID     int64   `json:"serviceID"`
	Severity      int     `json:"severity"`
	TimeOfPublish string  `json:"timeOfPublish"`
	TimeOfReport  string  `json:"timeOfReport"`
}

// ClearClusterFaultsParams select the faults to drop from the list.
type ClearClusterFaultsParams struct {
	FaultTypes string `json:"faultTypes,omitempty"` // current, resolved (default), all
}

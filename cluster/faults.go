package cluster

import (
	"context"
	"fmt"
	"strconv"
	"time"
)

// Severities and types of faults, with Element's spelling.
const (
	sevWarning  = "warning"  // minor
	sevError    = "error"    // some function is lost
	sevCritical = "critical" // service is affected

	aboutNode    = "node"
	aboutDrive   = "drive"
	aboutCluster = "cluster"
	aboutService = "service"
	aboutVolume  = "volume"
)

// Codes of faults. Those marked so are ours, Element has none for them.
const (
	faultDriveFailed     = "driveFailed"
	faultDriveAvailable  = "driveAvailable"
	faultSliceService    = "sliceServiceUnhealthy"
	faultVolumesDegraded = "volumesDegraded"
	faultVolumesOffline  = "volumesOffline"
	faultKmipServer      = "kmipServerFault"
	faultKmipCertificate = "kmipCertificateFault"
	faultServerCert      = "sslCertificateExpiration"
	faultRekeyFailed     = "rekeyFailed"     // ours
	faultStoreUnwritable = "storeUnwritable" // ours
	faultAuditDown       = "auditSinkDown"   // ours
	faultAuditAltered    = "auditLogAltered" // ours
)

// FaultRule declares one fault: all that does not depend on the case at hand.
type FaultRule struct {
	Code     string
	Severity string
	Type     string // node, drive, cluster, service, volume
	// Text is what the administrator reads first, with verbs for what the
	// condition is about. It stays the same while the condition holds, so it
	// has no counters and no times in it: exporters make a label of it.
	Text string
	// Recovery is what to do, in order; it follows the text.
	Recovery string
	// Hold is how long the condition must last before the fault is shown.
	Hold time.Duration
	// Worse is the severity once the condition has lasted for WorseAfter.
	Worse      string
	WorseAfter time.Duration
}

// FaultRules is the table of all faults, in the order in which they are listed.
func FaultRules() []FaultRule {
	return []FaultRule{
		{
			Code: faultKmipServer, Severity: sevError, Type: aboutCluster,
			Text: "%s: %s.",
			Recovery: "Check that the key servers are running and can be reached: TestKeyServerKmip and TestKeyProviderKmip name the step that fails. " +
				"Check that root CA and client certificate are right and that the client certificate is for the present key pair. " +
				"Look at the log of the key server, and that the key still exists there. " +
				"It is tried again for ever; volumes unlock and the fault clears by itself. " +
				"If the key is lost for good: rekey elsewhere while volumes are open; of those that are locked, " +
				"recovery keys and LUKS passphrases (cryptsetup open, AdoptVolume) or a backup from before open the data.",
		},
		{
			Code: faultKmipCertificate, Severity: sevWarning, Type: aboutCluster,
			Text:     "The %s certificate of key server %d (%s) %s. %s.",
			Recovery: "The new one should be valid for 30 days at least.",
		},
		{
			Code: faultServerCert, Severity: sevWarning, Type: aboutNode,
			Text:     "The certificate of the API %s.",
			Recovery: "Put a new one in the place of its files: it is taken up at the next connection. One that lockplate made itself is made anew at a start without the old files; clients that pinned it have to pin it again.",
		},
		{
			Code: faultRekeyFailed, Severity: sevWarning, Type: aboutCluster,
			Text:     "The last rekey %s.",
			Recovery: "ListEvents and the result of the job say why. Mend that and rekey again: the fault clears when the next rekey begins, or this one is confirmed.",
		},
		{
			Code: faultSliceService, Severity: sevWarning, Type: aboutService,
			Text:     "The metadata service is not healthy: metadata drive %d (%s) is out of service, and the volumes with their header on it are offline.",
			Recovery: "See that the drive is connected and mounted, then add it again: AddDrives, or 'lockplate drive add'. The fault clears by itself within seconds.",
			Worse:    sevError, WorseAfter: 6 * time.Minute,
		},
		{
			Code: faultDriveFailed, Severity: sevError, Type: aboutDrive,
			Text:     "Drive %d (%s) cannot be used: %s.",
			Recovery: "Check that it is connected and mounted; it is tried again by itself.",
		},
		{
			Code: faultDriveAvailable, Severity: sevWarning, Type: aboutDrive,
			Text:     "Node ID %d has %d available drive(s).",
			Recovery: "Add them with AddDrives ('lockplate drive add'), or drop them from the list with 'lockplate drive forget'.",
		},
		{
			Code: faultVolumesDegraded, Severity: sevWarning, Type: aboutVolume,
			Text: "Volume %q: %s.",
		},
		{
			Code: faultVolumesOffline, Severity: sevError, Type: aboutVolume,
			Text:     "Volume %q is %s: %s.",
			Recovery: "It is tried again by itself.",
		},
		{
			Code: faultStoreUnwritable, Severity: sevCritical, Type: aboutNode,
			Text:     "The store cannot be written: %s.",
			Recovery: "Make room on, or remount, the file system of the state directory. Volumes go on serving; what changes them is refused meanwhile.",
		},
		{
			Code: faultAuditDown, Severity: sevCritical, Type: aboutNode,
			Text: "The audit log's %s cannot be written: %s.",
			Recovery: "Make room on, or remount, the file system, or bring the syslog server back; it is tried again every second and then gets what it lacks. " +
				"Volumes go on serving; administrative changes are refused only while no sink of the audit log works.",
		},
		{
			Code: faultAuditAltered, Severity: sevCritical, Type: aboutNode,
			Text:     "The audit log is not as it was left: %s.",
			Recovery: "Keep a copy of audit.log and audit.head, run 'lockplate audit verify' on it, and find out who changed them. New records are added meanwhile; the fault clears at the next start.",
		},
	}
}

// condition is a fault's condition that holds now. Key tells conditions of one
// code apart.
type condition struct {
	code, key       string
	severity        string // "" takes the rule's
	args            []any  // of the rule's text
	drive, volumeID int64
}

// fault is the condition as it is shown; id and times are the table's.
func (c *condition) fault(r *FaultRule, since, now time.Time) Fault {
	f := Fault{
		Code: c.code, Severity: r.Severity, Type: r.Type, Text: fmt.Sprintf(r.Text, c.args...),
		DriveID: c.drive, VolumeID: c.volumeID, Since: since,
	}
	switch {
	case c.severity != "":
		f.Severity = c.severity
	case r.Worse != "" && now.Sub(since) >= r.WorseAfter:
		f.Severity = r.Worse
	}
	if r.Recovery != "" {
		f.Text += " " + r.Recovery
	}
	return f
}

func idString(id int64) string { return strconv.FormatInt(id, 10) }

// conditions finds all that hold now. They are derived from the state of
// the parts, so faults clear by themselves.
func (c *Cluster) conditions(ctx context.Context) []condition {
	out := c.driveConditions(ctx)
	out = append(out, c.volumeConditions()...)
	out = append(out, c.keyConditions(ctx)...)
	out = append(out, c.serverCertConditions()...)
	return append(out, c.auditConditions()...)
}

// auditConditions tell of sinks of the audit log that do not work: a warning
// while another one does, since nothing is refused then.
func (c *Cluster) auditConditions() []condition {
	var out []condition
	down, all := c.audit.down()
	for _, s := range down {
		bad := condition{code: faultAuditDown, key: s.name, args: []any{s.name, s.err}}
		if !all {
			bad.severity = sevWarning
		}
		out = append(out, bad)
	}
	for _, damage := range c.audit.damages() {
		out = append(out, condition{code: faultAuditAltered, key: damage, args: []any{damage}})
	}
	return out
}

func (c *Cluster) driveConditions(ctx context.Context) []condition {
	var out []condition
	available := 0
	for _, d := range c.liveDrives() {
		s := d.status(ctx)
		if d.record().Lost {
			out = append(out, condition{
				code: faultSliceService, key: idString(s.ID), drive: s.ID, args: []any{s.ID, s.URI},
			})
		}
		switch s.Status {
		case DriveFailed:
			out = append(out, condition{
				code: faultDriveFailed, key: idString(s.ID), drive: s.ID, args: []any{s.ID, s.URI, s.Reason},
			})
		case DriveAvailable:
			available++
		}
	}
	if available > 0 {
		out = append(out, condition{code: faultDriveAvailable, args: []any{c.record().NodeID, available}})
	}
	return out
}

func (c *Cluster) volumeConditions() []condition {
	var out []condition
	for _, v := range c.liveVolumes() {
		s := v.status()
		cond := condition{key: idString(s.ID), volumeID: s.ID, drive: s.DriveID}
		switch {
		case s.State == VolumeOnline && s.Reason != "":
			cond.code, cond.args = faultVolumesDegraded, []any{s.Name, s.Reason}
		case s.State == VolumeOffline || s.State == VolumeLocked && s.Access != AccessLocked:
			cond.code, cond.args = faultVolumesOffline, []any{s.Name, s.State, s.Reason}
		default:
			continue
		}
		out = append(out, cond)
	}
	return out
}

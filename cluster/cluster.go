package cluster

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockplate/blockdev"
	"lockplate/keymgr"
)

// Config is what a Cluster needs to run.
type Config struct {
	State      string // state directory, made (0700) if missing
	Sealer     keymgr.SealerOptions
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time // nil: time.Now
	Rand       io.Reader        // nil: crypto/rand
}

// Cluster is one running gateway. All methods may be called concurrently.
type Cluster struct{}

var errSkeleton = errors.New("skeleton")

// Open takes the state directory for this process, opens the store and, if a cluster exists, boots it.
func Open(ctx context.Context, cfg Config) (*Cluster, error) { return nil, errSkeleton }

// Close …
func (c *Cluster) Close(ctx context.Context) error { return nil }

func (c *Cluster) Exists() bool                                     { return false }
func (c *Cluster) Create(ctx context.Context, p CreateParams) error { return errSkeleton }
func (c *Cluster) Info(ctx context.Context) (Info, error)           { return Info{}, errSkeleton }
func (c *Cluster) Encryption(ctx context.Context) (Encryption, error) {
	return Encryption{}, errSkeleton
}
func (c *Cluster) Faults(ctx context.Context) ([]Fault, error)                { return nil, errSkeleton }
func (c *Cluster) Drives(ctx context.Context) ([]Drive, error)                { return nil, errSkeleton }
func (c *Cluster) AddDrives(ctx context.Context, d []AddDrive) (int64, error) { return 0, errSkeleton } // async handle
func (c *Cluster) RemoveDrives(ctx context.Context, ids []int64) (int64, error) {
	return 0, errSkeleton
}                                                                       // async handle
func (c *Cluster) ForgetDrive(ctx context.Context, id int64) error      { return errSkeleton }
func (c *Cluster) Volumes(ctx context.Context) ([]Volume, error)        { return nil, errSkeleton } // live and deleted, by ID
func (c *Cluster) Volume(ctx context.Context, id int64) (Volume, error) { return Volume{}, errSkeleton }
func (c *Cluster) CreateVolume(ctx context.Context, p CreateVolume) (Volume, error) {
	return Volume{}, errSkeleton
}
func (c *Cluster) AdoptVolume(ctx context.Context, p AdoptVolume) (Volume, error) {
	return Volume{}, errSkeleton
}
func (c *Cluster) ModifyVolume(ctx context.Context, id int64, m ModifyVolume) (Volume, error) {
	return Volume{}, errSkeleton
}
func (c *Cluster) DeleteVolume(ctx context.Context, id int64) (Volume, error) {
	return Volume{}, errSkeleton
}
func (c *Cluster) RestoreVolume(ctx context.Context, id int64) (Volume, error) {
	return Volume{}, errSkeleton
}
func (c *Cluster) PurgeVolume(ctx context.Context, id int64) error        { return errSkeleton }
func (c *Cluster) VolumeStats(ctx context.Context) ([]VolumeStats, error) { return nil, errSkeleton }
func (c *Cluster) AddRecoveryKey(ctx context.Context, id int64, passphrase []byte, kdf string) (int, error) {
	return 0, errSkeleton
}
func (c *Cluster) RecoveryKeys(ctx context.Context, id int64) ([]RecoveryKey, error) {
	return nil, errSkeleton
}
func (c *Cluster) RemoveRecoveryKey(ctx context.Context, id int64, slot int) error {
	return errSkeleton
}
func (c *Cluster) Async(ctx context.Context, handle int64, keep bool) (Async, error) {
	return Async{}, errSkeleton
}
func (c *Cluster) Asyncs(ctx context.Context) ([]Async, error) { return nil, errSkeleton }
func (c *Cluster) Backup(ctx context.Context, w io.Writer, passphrase []byte) error {
	return errSkeleton
}
func (c *Cluster) CheckStore(ctx context.Context) ([]string, error) { return nil, errSkeleton } // problems found
// Exports gives a front end ("nbd", "fuse") its view: online volumes by name.
func (c *Cluster) Exports(frontend string) *Exports { return nil }

// Exports satisfies nbd.Exports.
type Exports struct{}

func (e *Exports) Open(ctx context.Context, name string) (blockdev.Device, error) {
	return nil, errSkeleton
}
func (e *Exports) Names(ctx context.Context) ([]string, error) { return nil, errSkeleton }

// Users (bodies in users.go, owner: api helper). Authenticate is rate-limited per caller address and name.
func (c *Cluster) AddUser(ctx context.Context, name string, password []byte, roles []Role, attrs map[string]any) (User, error) {
	return User{}, errSkeleton
}
func (c *Cluster) Users(ctx context.Context) ([]User, error) { return nil, errSkeleton }
func (c *Cluster) ModifyUser(ctx context.Context, id int64, password []byte, roles []Role) (User, error) {
	return User{}, errSkeleton
}
func (c *Cluster) RemoveUser(ctx context.Context, id int64) error { return errSkeleton }
func (c *Cluster) Authenticate(ctx context.Context, name string, password []byte, from string) (User, error) {
	return User{}, errSkeleton
}

// Errors. Each carries its text; callers branch on the kind.
var (
	ErrNoCluster     = errors.New("no cluster yet: run 'lockplate init' first")
	ErrClusterExists = errors.New("a cluster exists already")
	ErrInUse         = errors.New("in use")
	ErrDenied        = errors.New("wrong user name or password")
	ErrRateLimited   = errors.New("too many failed logins, try again later")
	ErrState         = errors.New("not possible in the present state")
	ErrLimit         = errors.New("limit exceeded")
	ErrStateBusy     = errors.New("state directory is in use by another lockplate process")
)

// NotFoundError says that an object with this id or name does not exist.
type NotFoundError struct {
	Kind string // volume, drive, async, user, account, slot
	ID   string
}

func (e *NotFoundError) Error() string { return e.Kind + " " + e.ID + " does not exist" }

// InvalidError says which parameter has a value that cannot be used, and why.
type InvalidError struct{ Param, Reason string }

func (e *InvalidError) Error() string { return e.Param + ": " + e.Reason }

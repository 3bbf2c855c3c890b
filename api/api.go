// Package api serves the management API: NetApp Element's JSON-RPC over HTTPS
// and over a Unix socket, in the shapes that Element's own clients expect.
//
// A request passes, in this order: the connection limit, the credentials (a
// password, or on the socket who the peer is), the envelope (bounded size and
// depth), the method table, the role, the parameters, the handler. Every
// failure from the envelope on is an HTTP 200 with an error object, as on the
// product; before it, an HTTP status.
//
// What the API manages is a Backend, which *cluster.Cluster satisfies.
package api

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lockplate/api/wire"
	"lockplate/cluster"
	"lockplate/keymgr"
)

// Backend is what the API manages. All methods may be called concurrently.
type Backend interface {
	Exists() bool
	Create(context.Context, cluster.CreateParams) error
	Info(context.Context) (cluster.Info, error)
	Encryption(context.Context) (cluster.Encryption, error)
	Faults(context.Context) ([]cluster.Fault, error)
	FaultHistory(context.Context) ([]cluster.Fault, error)
	ClearFaults(context.Context, cluster.FaultSet) error
	WatchServerCertificate(current func() *x509.Certificate)
	Events(context.Context, cluster.EventFilter) ([]cluster.Event, error)

	Drives(context.Context) ([]cluster.Drive, error)
	AddDrives(context.Context, []cluster.AddDrive) (int64, error)
	RemoveDrives(ctx context.Context, ids []int64) (int64, error)
	ForgetDrive(ctx context.Context, id int64) error
	DriveHardware(context.Context) ([]cluster.DriveHardware, error)
	EraseDrives(ctx context.Context, ids []int64) (handle int64, err error)
	EnableDriveEncryption(ctx context.Context, provider int64) error
	DisableDriveEncryption(context.Context) error

	Volumes(context.Context) ([]cluster.Volume, error)
	Volume(ctx context.Context, id int64) (cluster.Volume, error)
	CreateVolume(context.Context, cluster.CreateVolume) (cluster.Volume, error)
	AdoptVolume(context.Context, cluster.AdoptVolume) (cluster.Volume, error)
	ModifyVolume(ctx context.Context, id int64, m cluster.ModifyVolume) (cluster.Volume, error)
	DeleteVolume(ctx context.Context, id int64) (cluster.Volume, error)
	RestoreVolume(ctx context.Context, id int64) (cluster.Volume, error)
	PurgeVolume(ctx context.Context, id int64) error
	VolumeStats(context.Context) ([]cluster.VolumeStats, error)
	CreateQoSPolicy(ctx context.Context, name string, q cluster.QoSChange) (cluster.QoSPolicy, error)
	ModifyQoSPolicy(ctx context.Context, id int64, name *string, q *cluster.QoSChange) (cluster.QoSPolicy, error)
	DeleteQoSPolicy(ctx context.Context, id int64) error
	QoSPolicy(ctx context.Context, id int64) (cluster.QoSPolicy, error)
	QoSPolicies(context.Context) ([]cluster.QoSPolicy, error)
	AddRecoveryKey(ctx context.Context, id int64, passphrase []byte, kdf string) (slot int, err error)
	RecoveryKeys(ctx context.Context, id int64) ([]cluster.RecoveryKey, error)
	RemoveRecoveryKey(ctx context.Context, id int64, slot int) error

	Async(ctx context.Context, handle int64, keep bool) (cluster.Async, error)
	Asyncs(context.Context) ([]cluster.Async, error)
	Backup(ctx context.Context, w io.Writer, passphrase []byte) error
	CheckStore(context.Context) ([]string, error)

	CreateKeyPair(context.Context, keymgr.Subject) error
	SigningRequest(context.Context) (pem string, err error)
	CreateKeyServer(context.Context, keymgr.KeyServer) (keymgr.KeyServer, error)
	ModifyKeyServer(ctx context.Context, id int64, c keymgr.KeyServerChange) (keymgr.KeyServer, error)
	DeleteKeyServer(ctx context.Context, id int64) error
	KeyServer(ctx context.Context, id int64) (keymgr.KeyServer, error)
	KeyServers(context.Context) ([]keymgr.KeyServer, error)
	TestKeyServer(ctx context.Context, id int64) error
	CreateKeyProvider(ctx context.Context, name string) (keymgr.KeyProvider, error)
	DeleteKeyProvider(ctx context.Context, id int64) error
	KeyProvider(ctx context.Context, id int64) (keymgr.KeyProvider, error)
	KeyProviders(context.Context) ([]keymgr.KeyProvider, error)
	TestKeyProvider(ctx context.Context, id int64) error
	AddServerToProvider(ctx context.Context, provider, server int64) error
	RemoveServerFromProvider(ctx context.Context, server int64) error
	Rekey(context.Context, keymgr.RekeyTarget) (handle int64, err error)
	MasterKeys(context.Context) ([]keymgr.MasterKey, error)
	DestroyKey(ctx context.Context, id string) error
	ForgetKey(ctx context.Context, id string) (mayExistAt []string, err error)
	Reseal(ctx context.Context, spec string, passphrase []byte) error
	CreateShares(ctx context.Context, threshold, shares int, replace bool) (texts [][]byte, err error)
	VerifyShares(ctx context.Context, texts [][]byte) error
	RemoveShares(context.Context) error

	Audit(context.Context, cluster.AuditEntry) error

	AddUser(ctx context.Context, name string, password []byte, roles []cluster.Role, attrs map[string]any) (cluster.User, error)
	Users(context.Context) ([]cluster.User, error)
	ModifyUser(ctx context.Context, id int64, password []byte, roles []cluster.Role) (cluster.User, error)
	RemoveUser(ctx context.Context, id int64) error
	Authenticate(ctx context.Context, name string, password []byte, from string) (cluster.User, error)
}

var _ Backend = (*cluster.Cluster)(nil)

// Config is what a Server needs.
type Config struct {
	Cluster    Backend
	Logger     *slog.Logger          // nil: discard
	Registerer prometheus.Registerer // nil: metrics go nowhere
	// Info describes the gateway as it is now, but for ClusterExists, which
	// the server fills in. nil: nothing is known.
	Info func() wire.GetGatewayInfoResult

	// CertFile and KeyFile are PEM files for HTTPS. Both empty: a certificate
	// is made in StateDir at first use and kept.
	CertFile, KeyFile string
	StateDir          string

	Now func() time.Time // nil: time.Now
}

// Server serves the API. Make it with NewServer, start it with ServeTLS and
// ServeUnix, end it with Shutdown.
type Server struct {
	cluster Backend
	log     *slog.Logger
	info    func() wire.GetGatewayInfoResult
	now     func() time.Time
	certs   *certificates
	metrics *metrics
	methods methodTable
	host    func() hostUsage
	working chan struct{}            // a slot per request at work
	trusted func(*http.Request) bool // may make the cluster without credentials
	secure  *front                   // HTTPS
	local   *front                   // Unix socket
}

// NewServer makes a server. It opens nothing and starts nothing.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Cluster == nil {
		return nil, errors.New("api: no cluster given")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	if cfg.Info == nil {
		cfg.Info = func() wire.GetGatewayInfoResult { return wire.GetGatewayInfoResult{} }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{
		cluster: cfg.Cluster, log: cfg.Logger, info: cfg.Info, now: cfg.Now,
		working: make(chan struct{}, maxWorking), trusted: localRoot, host: readHost,
	}
	s.methods = newMethodTable(s)
	var err error
	if s.metrics, err = newMetrics(cfg.Registerer, s.methods); err != nil {
		return nil, err
	}
	s.certs = newCertificates(cfg)
	s.cluster.WatchServerCertificate(s.certs.leaf)
	s.secure = newFront(s, maxSecureConns)
	s.local = newFront(s, maxLocalConns)
	return s, nil
}

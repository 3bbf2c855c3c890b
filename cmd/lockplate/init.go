package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"lockplate/api/wire"
	"lockplate/cluster"
	"lockplate/keymgr"
)

// initFlags are the flags of init.
type initFlags struct {
	name, seal, admin string
	plain             bool
	passphrase        secretFlags
	adminPassword     secretFlags
}

const initLong = `Make a cluster: its master key, and with --admin the first user of the HTTPS
API. Works before 'lockplate serve' is started, and on a running daemon that
has no cluster yet. --seal says what protects the master key at rest:

  file:PATH        a key file, made now; keep it on other media than the data
  passphrase       Argon2id; 'lockplate serve' asks for it at each start
  credential:NAME  a credential that systemd hands to the service
  tpm2             the TPM of this machine, in the state that it is in now

tpm2 takes options: tpm2:/DEVICE,pcrs=7+11,pin. DEVICE is /dev/tpmrm0, or the
socket of an emulator; pcrs are the PCRs that must be as they are now, 7 (Secure
Boot) if none are named, or none; with pin, 'lockplate serve' asks for a PIN.

Whether volumes are encrypted is decided here and cannot be changed later.`

// initCommand is CreateCluster, sent to a daemon that runs or done here.
func (a *app) initCommand() *cobra.Command {
	var f initFlags
	c := &cobra.Command{
		Use: "init --seal SEALER", Short: "Make a cluster and its master key", Long: initLong, Args: cobra.NoArgs,
		Example: "  lockplate init --seal file:/media/usb/lockplate.key\n  lockplate init --seal passphrase --admin root",
		RunE: func(c *cobra.Command, _ []string) error {
			p, err := a.initParams(c.Context(), &f)
			if err != nil {
				return err
			}
			defer p.Password.Wipe()
			defer p.SealPassphrase.Wipe()
			if a.daemonRuns(c.Context()) {
				return a.initThere(c.Context(), p)
			}
			return a.initHere(c.Context(), p)
		},
	}
	fs := c.Flags()
	fs.StringVar(&f.name, "name", "", "name of the cluster (default the host's)")
	fs.StringVar(&f.seal, "seal", "", sealUsage)
	fs.BoolVar(&f.plain, "no-software-encryption", false, "do not encrypt any volume of this cluster, ever")
	fs.StringVar(&f.admin, "admin", "", "name of the first user of the HTTPS API")
	f.passphrase.register(fs, "passphrase", "passphrase of --seal passphrase, or PIN of --seal tpm2:pin")
	f.adminPassword.register(fs, "admin-password", "password of --admin")
	completeFlag(c, "seal", sealers())
	return c
}

// initParams reads flags and secrets. The caller wipes the secrets.
func (a *app) initParams(ctx context.Context, f *initFlags) (wire.CreateClusterParams, error) {
	encrypt := !f.plain
	p := wire.CreateClusterParams{
		Name: f.name, Username: f.admin, AcceptEula: true, SoftwareEncryption: &encrypt, Seal: a.localSeal(f.seal),
	}
	if encrypt && f.seal == "" {
		return p, hint(usagef("--seal is missing: what protects the master key"), "see 'lockplate init --help'")
	}
	if !encrypt && f.seal != "" {
		return p, usagef("--seal and --no-software-encryption exclude each other")
	}
	var err error
	if f.seal != "" {
		if p.SealPassphrase, err = a.sealSecret(ctx, f.seal, &f.passphrase); err != nil {
			return p, err
		}
	}
	if f.admin != "" {
		p.Password, err = a.secret(ctx, &f.adminPassword, "password for "+f.admin, true)
	}
	return p, err
}

// localSeal makes the path of a key file absolute, as the daemon may run in
// another directory. A daemon elsewhere has paths of its own.
func (a *app) localSeal(spec string) string {
	path, ok := strings.CutPrefix(spec, "file:")
	if !ok || path == "" || a.opt.server != "" {
		return spec
	}
	if abs, err := filepath.Abs(path); err == nil {
		return "file:" + abs
	}
	return spec
}

// daemonRuns says whether a daemon answers. With --server the user said so.
func (a *app) daemonRuns(ctx context.Context) bool {
	if a.opt.server != "" {
		return true
	}
	_, err := call[wire.GetGatewayInfoResult](ctx, a, wire.MethodGetGatewayInfo, wire.Empty{})
	return err == nil || apiName(err) != ""
}

// initThere makes the cluster through the API.
func (a *app) initThere(ctx context.Context, p wire.CreateClusterParams) error {
	if _, err := call[wire.Empty](ctx, a, wire.MethodCreateCluster, p); err != nil {
		return fmt.Errorf("make cluster: %w", err)
	}
	info, err := call[wire.GetClusterInfoResult](ctx, a, wire.MethodGetClusterInfo, wire.Empty{})
	if err != nil {
		return err
	}
	enc, err := call[wire.GetSoftwareEncryptionAtRestInfoResult](ctx, a, wire.MethodGetSoftwareEncrypt, wire.Empty{})
	if err != nil {
		return err
	}
	m := madeCluster{Name: info.Value.ClusterInfo.Name, UUID: info.Value.ClusterInfo.UUID}
	if k := enc.Value.MasterKeyInfo; k != nil {
		m.MasterKey = k.KeyID
	}
	if l := enc.Value.Lockplate; l != nil {
		m.Sealed, m.Warning = l.Sealed, l.Warning
	}
	return a.show(m, m.text)
}

// initHere makes the cluster in this process.
func (a *app) initHere(ctx context.Context, p wire.CreateClusterParams) error {
	if err := keymgr.HardenProcess(); err != nil {
		return err
	}
	c, err := cluster.Open(ctx, cluster.Config{State: a.state(), Sealer: a.sealerOptions(ctx, &secretFlags{fd: -1})})
	if err != nil {
		return err
	}
	m, err := create(ctx, c, p)
	if cerr := c.Close(ctx); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("make cluster: %w", err)
	}
	return a.show(m, m.text)
}

// create does what CreateCluster does, without a daemon, and reads back what came
// of it.
func create(ctx context.Context, c *cluster.Cluster, p wire.CreateClusterParams) (*madeCluster, error) {
	err := c.Create(ctx, cluster.CreateParams{
		Name: p.Name, Seal: p.Seal, SealPassphrase: p.SealPassphrase,
		SoftwareEncryption: *p.SoftwareEncryption, Username: p.Username, Password: p.Password,
	})
	if err != nil {
		return nil, err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return nil, err
	}
	m := &madeCluster{Name: info.Name, UUID: info.UUID}
	enc, err := c.Encryption(ctx)
	if k := enc.Master; k != nil {
		m.MasterKey, m.Sealed, m.Warning = k.ID, k.Sealed, k.Warning
	}
	return m, err
}

// madeCluster is what init prints.
type madeCluster struct {
	Name      string `json:"name"`
	UUID      string `json:"uuid"`
	MasterKey string `json:"masterKeyID,omitempty"` // none without encryption
	Sealed    bool   `json:"sealed"`
	Warning   string `json:"warning,omitempty"` // why it is not sealed
}

func (m madeCluster) text(w io.Writer) {
	sealed := ""
	if m.MasterKey != "" {
		sealed = yesNo(m.Sealed)
	}
	pairs(w, "cluster", m.Name, "uuid", m.UUID, "master key", firstOf(m.MasterKey, "none: volumes are not encrypted"), "sealed", sealed)
	if m.Warning != "" {
		fmt.Fprintf(w, "warning: %s\n", m.Warning)
	}
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"lockplate/api"
	"lockplate/api/wire"
	"lockplate/cluster"
	"lockplate/keymgr"
	"lockplate/nbd"
)

// drainTime bounds a graceful stop: requests that take longer are cut. It is
// well below systemd's TimeoutStopSec of 90 s.
const drainTime = 30 * time.Second

// daemon is a running gateway: the cluster and everything that listens.
type daemon struct {
	cfg     *config
	log     *slog.Logger
	started time.Time
	reload  *reloadMetrics

	cluster *cluster.Cluster
	certs   *certWatch
	nbd     *nbd.Server
	api     *api.Server
	metrics *http.Server
	pprof   *http.Server

	listening []wire.Listener
	serving   sync.WaitGroup
	failed    chan error // of a server that ended by itself
}

// startDaemon takes the state directory, boots the cluster and listens. When
// it returns the gateway is ready; when it fails nothing is left open.
func startDaemon(ctx context.Context, cfg *config, so keymgr.SealerOptions, handed map[string][]net.Listener, log *slog.Logger) (*daemon, error) {
	d := &daemon{cfg: cfg, log: log, started: time.Now(), failed: make(chan error, 1)}
	plan, err := d.plan(handed)
	if err != nil {
		return nil, err
	}
	if d.certs, err = newCertWatch(cfg, log); err != nil {
		return nil, err
	}
	audit, err := cfg.auditOptions()
	if err != nil {
		return nil, err
	}
	unix.Umask(0o077) // what is made from here on is for this user alone
	reg := newRegistry()
	d.reload = newReloadMetrics(reg)
	d.cluster, err = cluster.Open(ctx, cluster.Config{State: cfg.State, Sealer: so, Audit: audit, Logger: log, Registerer: reg})
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := d.listen(ctx, plan, handed, reg); err != nil {
		return nil, errors.Join(err, d.stop())
	}
	return d, nil
}

// plan is what to listen on, by use, before anything is opened.
func (d *daemon) plan(handed map[string][]net.Listener) (map[string][]address, error) {
	plan := map[string][]address{}
	for use, list := range map[string][]string{useNBD: d.cfg.NBD, useAPI: d.cfg.API, useMetrics: {d.cfg.Metrics}, usePprof: {d.cfg.Pprof}} {
		if len(handed[use]) > 0 {
			continue // systemd says where
		}
		addrs, err := parseAddresses(list)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", use, err)
		}
		plan[use] = addrs
	}
	nbdAddrs := plan[useNBD]
	for _, ln := range handed[useNBD] {
		nbdAddrs = append(nbdAddrs, addressOf(ln))
	}
	for _, a := range nbdAddrs {
		if err := checkPlaintext(a, d.cfg.NBDCert != "", d.cfg.AllowPlaintext); err != nil {
			return nil, err
		}
	}
	for _, a := range plan[usePprof] {
		if err := checkPprof(a); err != nil {
			return nil, err
		}
	}
	own, err := unixAddress(filepath.Join(d.cfg.State, apiSocket))
	plan[useAPI] = append(plan[useAPI], own)
	return plan, err
}

// listen makes the servers and opens every listener before any is served, so
// that a taken port stops the start as a whole.
func (d *daemon) listen(ctx context.Context, plan map[string][]address, handed map[string][]net.Listener, reg *prometheus.Registry) (err error) {
	if err := d.makeServers(reg); err != nil {
		return err
	}
	open, err := listenEverywhere(plan, handed)
	if err != nil {
		return err
	}
	for use, list := range open {
		for _, ln := range list {
			d.listening = append(d.listening, d.describe(use, ln))
		}
	}
	slices.SortFunc(d.listening, func(a, b wire.Listener) int {
		return cmp.Or(strings.Compare(b.Kind, a.Kind), strings.Compare(a.Address, b.Address))
	})
	// Now, so that a certificate that cannot be used stops the start, and one
	// that is made is there when the gateway is ready.
	if err := d.reloadAPI(); err != nil {
		for _, list := range open {
			closeAll(list)
		}
		return usage(err)
	}
	for use, list := range open {
		for _, ln := range list {
			d.serve(ctx, use, ln)
		}
	}
	return nil
}

// makeServers makes what serves, without listening yet.
func (d *daemon) makeServers(reg *prometheus.Registry) (err error) {
	secure := d.certs.config()
	d.nbd, err = nbd.NewServer(nbd.Config{
		Exports: d.cluster.Exports("nbd"), TLS: secure,
		RequireTLS: secure != nil && !d.cfg.AllowPlaintext, AllowPlainUnix: true,
		Logger: d.log, Registerer: reg,
	})
	if err != nil {
		return err
	}
	d.api, err = api.NewServer(api.Config{
		Cluster: d.cluster, Logger: d.log, Registerer: reg, Info: d.info,
		CertFile: d.cfg.APICert, KeyFile: d.cfg.APIKey, StateDir: d.cfg.State,
	})
	if err != nil {
		return err
	}
	d.metrics = newMetricsServer(reg, d.health, d.log)
	d.pprof = newPprofServer(d.log)
	return nil
}

// describe tells of a listener as the API does.
func (d *daemon) describe(use string, ln net.Listener) wire.Listener {
	a := addressOf(ln)
	secure := a.network == "tcp" && (use == useAPI || use == useNBD && d.certs != nil)
	return wire.Listener{Kind: use, Address: a.String(), TLS: secure}
}

// serve runs one listener in the background.
func (d *daemon) serve(ctx context.Context, use string, ln net.Listener) {
	a := addressOf(ln)
	run := func() error { return d.nbd.Serve(context.WithoutCancel(ctx), ln) }
	switch {
	case use == useAPI && a.network == "unix":
		run = func() error { return d.api.ServeUnix(ln) }
	case use == useAPI:
		run = func() error { return d.api.ServeTLS(ln) }
	case use == useMetrics:
		run = func() error { return d.metrics.Serve(ln) }
	case use == usePprof:
		run = func() error { return d.pprof.Serve(ln) }
	}
	d.serving.Go(func() {
		err := run()
		if err == nil || errors.Is(err, http.ErrServerClosed) {
			return
		}
		select {
		case d.failed <- fmt.Errorf("serve %s on %s: %w", use, a, err):
		default: // one reason to stop is enough
		}
	})
}

// stop answers what was asked, refuses what comes, flushes and closes.
func (d *daemon) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	var drain sync.WaitGroup
	var nbdErr, apiErr, metricsErr, pprofErr error
	d.cluster.LiftLimits()
	if d.nbd != nil {
		drain.Go(func() { nbdErr = d.nbd.Shutdown(ctx) })
	}
	if d.api != nil {
		drain.Go(func() { apiErr = d.api.Shutdown(ctx) })
	}
	drain.Wait()
	if d.metrics != nil {
		metricsErr = d.metrics.Shutdown(ctx)
	}
	if d.pprof != nil {
		pprofErr = d.pprof.Close() // a profile may have a minute to go
	}
	d.serving.Wait()
	return errors.Join(nbdErr, apiErr, metricsErr, pprofErr, d.cluster.Close(context.WithoutCancel(ctx)))
}

// info describes this process to the API.
func (d *daemon) info() wire.GetGatewayInfoResult {
	v := readVersion()
	return wire.GetGatewayInfoResult{
		Version: v.Version, GoVersion: v.Go, Engine: v.Engine, StartTime: wire.FormatTime(d.started),
		StateDir: d.cfg.State, Listeners: d.listening,
	}
}

// reloadCerts reads the certificates again. Those that cannot be used leave
// the old ones in place.
func (d *daemon) reloadCerts() {
	err := errors.Join(d.certs.reload(), d.reloadAPI())
	d.reload.done(err == nil)
	if err != nil {
		d.log.Error("certificates not reloaded, the old ones stay", "err", err)
		return
	}
	d.log.Info("certificates reloaded")
}

// reloadAPI reloads the certificate of HTTPS if there is a listener for it.
func (d *daemon) reloadAPI() error {
	for _, l := range d.listening {
		if l.Kind == useAPI && l.TLS {
			return d.api.Reload()
		}
	}
	return nil
}
